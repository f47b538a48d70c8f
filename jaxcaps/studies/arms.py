"""The arms of a study: how a classifier is initialised, or what it is compared with.

An arm is two lists of the flags of `jaxcaps.train`, one for pre-training and one for fine-tuning. All arms share the
rest: data, preset, seeds, length of fine-tuning. `NAME+flag=value` is a named arm with another flag of its
pre-training, as in `inpaint+epochs=200`; `NAME@flag=value` has another architecture, in both stages, and is compared
with `random@flag=value`.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

from jaxcaps.errors import UserError, nearest

# The flags of `jaxcaps.train` that a study gives itself.
OWN_FLAGS = (
    "stage", "task", "restore", "out", "seed", "data", "preset", "config", "folds", "fold", "label-fraction",
    "minority", "vgg-weights",
)  # fmt: skip
# Stands in an arm's flags for how many classes the data has; `plan.with_classes` fills it in.
CLASSES = "{classes}"
# The baseline that is trained for as many epochs, or as many seconds, as pre-training and fine-tuning take together.
Longer = Literal["", "epochs", "seconds"]


@dataclass(frozen=True)
class Arm:
    """
    Attributes:
        name: unique in a study.
        about: a few words for the table.
        pretrain: flags of the pre-training, or None without one.
        finetune: flags of the fine-tuning.
        network: flags of both, which change the architecture.
        reference: the arm it is compared with.
        baseline: declared to differ from the others in architecture or number of steps.
        pixels: a classifier of scikit-learn on small pictures, in place of a network.
        longer: how much longer it is fine-tuned.
        imagenet: whether its stem starts from the VGG-16 of the study's `--vgg-weights`.
    """

    name: str
    about: str
    pretrain: tuple[str, ...] | None = None
    finetune: tuple[str, ...] = ()
    network: tuple[str, ...] = ()
    reference: str = "random"
    baseline: bool = False
    pixels: Literal["", "logistic-regression", "extra-trees"] = ""
    longer: Longer = ""
    imagenet: bool = False


RANDOM = Arm("random", "random initialisation")

_NAMED = (
    RANDOM,
    Arm("inpaint", "contrast and in-painting together, the study's", ()),
    Arm("contrast", "contrast alone (NT-Xent)", ("--inpaint-weight=0", "--masked-views=none")),
    Arm("inpaint-only", "in-painting alone", ("--contrast-weight=0",)),
    Arm("sequence", "contrast first, then in-painting", ("--ssl-stages=contrast-then-inpaint",)),
    Arm("colourise", "colourisation, absolute error and perceptual loss", ("--task=colourise",)),
    Arm("colourise-bins", "colourisation as classification of bins", ("--task=colourise", "--colour-loss=bins")),
    Arm("skips", "contrast and in-painting, decoder with skips", ("--decoder-skips",)),
    Arm(
        "masked-capsules",
        "contrast and in-painting, half of the primary capsules hidden and to be predicted",
        ("--hidden-capsules=0.5", "--capsule-weight=1"),
    ),
    Arm("balanced", "contrast and in-painting, class-balanced (uses labels)", ("--sampling=balanced",)),
    Arm(
        "frozen-capsules",
        "contrast and in-painting, primary and latent capsules as initialised",
        ("--lr-mult=primary:0,routing:0",),
    ),
    Arm(
        "few-latent",
        "contrast and in-painting through one latent capsule per class",
        (f"--ssl-capsules={CLASSES}",),
    ),
    Arm(
        "transfer-latent",
        "as few-latent, its latent capsules handed on as class capsules",
        (f"--ssl-capsules={CLASSES}",),
        finetune=("--transfer-latent",),
    ),
    Arm(
        "lr-mult",
        "contrast and in-painting, then faster capsules than stem",
        (),
        finetune=("--lr-mult=stem:0.3,primary:1,routing:3",),
    ),
    Arm("freeze", "contrast and in-painting, the encoder kept for five epochs", (), finetune=("--freeze-epochs=5",)),
    Arm("imagenet", "stem of VGG-16's kernels (--preset=vgg --vgg-weights=FILE)", imagenet=True),
    Arm(
        "random-epochs",
        "random initialisation, as many epochs as pre-training and fine-tuning",
        baseline=True,
        longer="epochs",
    ),
    Arm(
        "random-seconds",
        "random initialisation, as many seconds as pre-training and fine-tuning",
        baseline=True,
        longer="seconds",
    ),
    Arm(
        "convnet",
        "plain convolutional network with as many parameters, cross-entropy",
        network=("--architecture=convnet",),
        baseline=True,
    ),
    Arm("uniform", "random initialisation, votes averaged", network=("--routing=uniform",), baseline=True),
    Arm("logistic-regression", "logistic regression on 24x24 pixels", baseline=True, pixels="logistic-regression"),
    Arm("extra-trees", "extremely randomised trees on 24x24 pixels", baseline=True, pixels="extra-trees"),
)
ARMS = {arm.name: arm for arm in _NAMED}


def check_not_own(flag: str, where: str) -> None:
    """
    Args:
        flag: a flag of `jaxcaps.train`, with or without its dashes and its value.
        where: the flag of the study in which it stands, for the error.

    Raises:
        UserError: it is one that the study gives itself.
    """
    name = flag.removeprefix("--").partition("=")[0].replace("_", "-")
    if name in OWN_FLAGS:
        raise UserError(f"{where}: --{name} is the study's to give; see --help for its own flag")


def arm(text: str) -> Arm:
    """The arm that a name and its flags stand for: `inpaint`, `inpaint+epochs=100+lr=0.002`, `inpaint@capsule-dim=8`.

    Raises:
        UserError: no such arm (the nearest is named), flags for an arm that does not pre-train, or one that the study
            gives itself.
    """
    parts = re.split(r"([+@])", text)
    name, marks, flags = parts[0], parts[1::2], parts[2::2]
    if name not in ARMS:
        raise UserError(f"--inits={text}: unknown initialisation {name!r}{nearest(name, tuple(ARMS))}")
    found = ARMS[name]
    if not all(flags):
        raise UserError(f"--inits={text}: expected a flag after each + and @, as in inpaint+epochs=100")
    for flag in flags:
        check_not_own(flag, f"--inits={text}")
    pretrain = tuple(f"--{flag}" for mark, flag in zip(marks, flags, strict=True) if mark == "+")
    network = tuple(f"--{flag}" for mark, flag in zip(marks, flags, strict=True) if mark == "@")
    if pretrain and found.pretrain is None:
        raise UserError(f"--inits={text}: {name} does not pre-train, so {pretrain[0]} has nothing to act on")
    if network and found.pixels:
        raise UserError(f"--inits={text}: {name} is no network")
    return replace(
        found,
        name=text,
        about=", ".join([found.about, *flags]),
        pretrain=None if found.pretrain is None else (*found.pretrain, *pretrain),
        network=(*found.network, *network),
        reference="@".join(["random", *(flag.removeprefix("--") for flag in network)]),
    )
