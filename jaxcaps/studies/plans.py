"""Ready-made studies: which arms, how many seeds, and what each of them asks."""

from dataclasses import dataclass

from jaxcaps.errors import UserError, nearest


@dataclass(frozen=True)
class Named:
    """The flags of a ready-made study; what the user gives goes before them."""

    about: str
    inits: str
    seeds: str = "0,1,2"


PLANS = {
    "paper": Named(
        "the study's table: random initialisation, both self-supervised tasks, budgets, floors",
        "random,inpaint,colourise,random-epochs,random-seconds,convnet,uniform,logistic-regression,extra-trees",
        "0,1,2,3,4",
    ),
    "components": Named(
        "each part of the pre-training alone, and what is transferred",
        "random,inpaint,contrast,inpaint-only,sequence,colourise,masked-capsules,skips,frozen-capsules,few-latent,"
        "transfer-latent,random-epochs,random-seconds,convnet,uniform,logistic-regression,extra-trees",
    ),
    "open-questions": Named(
        "balanced pre-training, learning rates by depth, longer pre-training, frozen encoders",
        "random,inpaint,balanced,lr-mult,freeze,inpaint+epochs=50,inpaint+epochs=100,inpaint+epochs=200,"
        "inpaint+epochs=500",
    ),
    "architecture": Named(
        "three to seven convolutions, dimensions of capsules, iterations of routing",
        ",".join(
            f"random@{change},inpaint@{change}"
            for change in (
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
        ),
    ),
}


def named_plan(name: str) -> Named:
    """
    Raises:
        UserError: no such plan; the nearest is named.
    """
    if name not in PLANS:
        raise UserError(f"--plan={name}: unknown plan{nearest(name, tuple(PLANS))}")
    return PLANS[name]
