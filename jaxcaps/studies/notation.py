"""The notation of studies: arms with their own flags, a grid of recipes, and lists of numbers."""

import itertools
import re
import shlex
from dataclasses import dataclass
from functools import cache
from typing import Any

from jaxcaps.errors import UserError
from jaxcaps.studies.arms import ARMS, Arm

# The flags of a run that a study sets itself, or takes as flags of its own.
OWN_FLAGS = (
    "stage", "task", "restore", "out", "seed", "data", "preset", "config", "folds", "fold", "label-fraction",
    "labels-per-class", "minority", "vgg-weights",
)  # fmt: skip
# A choice of visible labels is a share of each class, such as "0.1", or "10-per-class".
PER_CLASS = "-per-class"
ALL_SHOWN = "1"


@dataclass(frozen=True)
class StudyArm:
    """An arm of the table, perhaps with flags that the user added to it.

    Attributes:
        name: what the user typed, such as `inpaint+epochs=100`.
        kind: the arm of the table.
        pretrain: flags of the pre-training alone.
        network: flags of both stages, which change the architecture.
    """

    name: str
    kind: Arm
    pretrain: tuple[str, ...] = ()
    network: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        return ", ".join([self.kind.about, *re.split(r"[+@]", self.name)[1:]])

    @property
    def reference(self) -> str:
        """The arm that this one is compared with. It has the same architecture."""
        return "@".join([self.kind.reference, *(flag.removeprefix("--") for flag in self.network)])


@dataclass(frozen=True)
class Recipe:
    """A point of the grid of fine-tuning: its flags, such as ("--lr=0.001", "--freeze-epochs=5")."""

    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return "+".join(flag.removeprefix("--") for flag in self.flags) or "as-given"


@cache
def study_arm(text: str) -> StudyArm:
    """Reads `inpaint`, `inpaint+epochs=100+lr=0.002` or `inpaint@capsule-dim=8`.

    Raises:
        UserError: an unknown arm (the nearest is named), flags for an arm that does not pre-train, or flags that the
            study sets itself.
    """
    parts = re.split(r"([+@])", text)
    name, marks, flags = parts[0], parts[1::2], parts[2::2]
    kind = ARMS.find(name, "--inits")
    if not all(flags):
        raise UserError(f"--inits={text}: expected a flag after each + and @, as in inpaint+epochs=100")
    for flag in flags:
        _check_not_own(flag, f"--inits={text}")
    pretrain, network = (
        tuple(f"--{flag}" for mark, flag in zip(marks, flags, strict=True) if mark == wanted) for wanted in "+@"
    )
    if pretrain and kind.pretrain is None:
        raise UserError(f"--inits={text}: {name} does not pre-train; drop {pretrain[0]}")
    if network and kind.pixels:
        raise UserError(f"--inits={text}: {name} is not a network; drop {network[0]}")
    return StudyArm(text, kind, pretrain, network)


def parse_arms(text: str) -> tuple[str, ...]:
    """Splits arms at commas. References that are missing come first.

    Raises:
        UserError: no arm, an unknown one, or one twice.
    """
    arms = [study_arm(part.strip()) for part in text.split(",") if part.strip()]
    if not arms:
        raise UserError(f"--inits={text} names no initialisation; try --inits=random,inpaint")
    names = [each.name for each in arms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"--inits={text}: {', '.join(twice)} is listed twice; remove one")
    return (*dict.fromkeys(each.reference for each in arms if each.reference not in names), *names)


def parse_numbers(flag: str, text: str, kind: type) -> tuple[Any, ...]:
    """Reads `0,1,2`.

    Raises:
        UserError: no number, something else, or one number twice.
    """
    try:
        values = tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError:
        values = ()
    if not values or len(set(values)) < len(values):
        raise UserError(f"{flag}={text}: expected numbers separated by commas, each once")
    return values


def parse_labels(fractions: str, per_class: str | None) -> tuple[str, ...]:
    """The choices of visible labels, fewest first, of `--label-fractions` or, if given, `--labels-per-class`.

    Raises:
        UserError: as `parse_numbers`, or both are given.
    """
    if per_class is None:
        return tuple(f"{share:g}" for share in sorted(parse_numbers("--label-fractions", fractions, float)))
    if fractions != ALL_SHOWN:
        raise UserError(f"--label-fractions={fractions} and --labels-per-class={per_class}: give one")
    parts = per_class.split(",")
    counted = ",".join(part for part in parts if part != "all")
    counts = () if parts == ["all"] else parse_numbers("--labels-per-class", counted, int)
    chosen = tuple(f"{count}{PER_CLASS}" for count in sorted(counts))
    return (*chosen, ALL_SHOWN) if "all" in parts else chosen


def labels_in_words(labels: str) -> str:
    """A choice of visible labels as tables and errors name it."""
    if labels == ALL_SHOWN:
        return "all labels"
    if labels.endswith(PER_CLASS):
        return f"{labels.removesuffix(PER_CLASS)} labels per class"
    return f"{labels} of the labels"


def parse_grid(text: str) -> tuple[Recipe, ...]:
    """Reads `lr=0.001,0.003 freeze-epochs=0,5` as the product of its axes.

    Values that hold commas are separated by semicolons: `lr-mult=stem:1;stem:0.1,primary:0.1`.

    Raises:
        UserError: text of another form, or a flag that the study sets itself.
    """
    axes = []
    for part in text.split():
        name, separator, listed = part.partition("=")
        values = listed.split(";" if ";" in listed else ",")
        if not separator or not all(values):
            raise UserError(f"--grid={text!r}: expected flag=value,value for each axis, as in 'lr=0.001,0.003'")
        _check_not_own(name, f"--grid={text!r}")
        axes.append([f"--{name.removeprefix('--')}={value}" for value in values])
    return tuple(Recipe(flags) for flags in itertools.product(*axes))


def parse_flags(flag: str, text: str) -> tuple[str, ...]:
    """Splits the flags of a run that stand in one string.

    Raises:
        UserError: something that is not a flag, or a flag that the study sets itself.
    """
    flags = tuple(shlex.split(text))
    if flags and not flags[0].startswith("--"):
        raise UserError(f"{flag}={text!r}: expected flags of jaxcaps.train such as --lr=0.001, found {flags[0]!r}")
    for each in flags:
        if each.startswith("--"):
            _check_not_own(each, f"{flag}={text!r}")
    return flags


def _check_not_own(flag: str, where: str) -> None:
    name = flag.removeprefix("--").partition("=")[0].replace("_", "-")
    if name in OWN_FLAGS:
        raise UserError(
            f"{where}: the study sets --{name} itself; python -m jaxcaps.study --help shows its flag for it"
        )
