"""Ready-made studies for `--plan`: their arms, their seeds, and the question that each answers."""

from dataclasses import dataclass

from jaxcaps.errors import UserError, nearest


@dataclass(frozen=True)
class ReadyMade:
    """The flags of a ready-made study. Flags that the user gives override them."""

    about: str
    inits: str
    seeds: str = "0,1,2"


_CHANGES = (
    "extra-convs=3",
    "extra-convs=5",
    "extra-convs=7",
    "capsule-dim=8",
    "capsule-dim=32",
    "primary-dim=4",
    "primary-dim=16",
    "routing-iterations=1",
    "routing-iterations=2",
    "routing=uniform",
)

READY_MADE = {
    "paper": ReadyMade(
        "the reference study's table: random initialisation, both self-supervised tasks, budgets, floors",
        "random,inpaint,colourise,random-epochs,random-seconds,convnet,uniform,logistic-regression,extra-trees",
        "0,1,2,3,4",
    ),
    "components": ReadyMade(
        "each part of the pre-training alone, and what is transferred",
        "random,inpaint,contrast,inpaint-only,sequence,colourise,masked-capsules,skips,frozen-capsules,few-latent,"
        "transfer-latent,random-epochs,random-seconds,convnet,uniform,logistic-regression,extra-trees",
    ),
    "open-questions": ReadyMade(
        "balanced pre-training, learning rates by depth, longer pre-training, frozen encoders",
        "random,inpaint,balanced,lr-mult,freeze,inpaint+epochs=50,inpaint+epochs=100,inpaint+epochs=200,"
        "inpaint+epochs=500",
    ),
    "architecture": ReadyMade(
        "three to seven convolutions, dimensions of capsules, iterations of routing",
        ",".join(f"random@{change},inpaint@{change}" for change in _CHANGES),
    ),
}


def ready_made(name: str) -> ReadyMade:
    """
    Raises:
        UserError: no such study; the nearest name is given.
    """
    if name not in READY_MADE:
        raise UserError(f"--plan={name}: unknown plan{nearest(name, READY_MADE)}")
    return READY_MADE[name]
