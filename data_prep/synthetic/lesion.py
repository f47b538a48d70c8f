"""The parameters of a lesion of each class, which all its frames share.

The classes differ as they do for an endoscopist (the pit patterns of Kudo, NICE): mainly in the pattern of the surface,
and on average in size, height, redness and outline. The ranges overlap on purpose, so that neither size nor colour
reveals the class. The tests measure how much pixels alone reveal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.synthetic.fields import Waves, branching


@dataclass(frozen=True)
class Lesion:
    """Lengths are in half pictures at the middle distance of a frame. Positions are in units of the radius."""

    radius: float
    elongation: float
    """The long axis over the short axis."""
    outline: np.ndarray
    """[orders, 2]: cosine and sine terms of the radius as a function of the angle, from the second order on."""
    height: float
    shoulder: float
    """The exponent of the dome: below 1 plump, above 1 pointed."""
    redness: float
    """Blood in its surface in addition to that of the mucosa."""
    pattern: Waves
    pattern_blood: float
    """How much the pattern darkens the surface; below 0 it brightens it."""
    pattern_relief: float
    bend: float
    """How much the pattern differs from a regular one."""
    irregularity: Waves
    mucus: float
    """How much of the surface lies under a yellowish cap of mucus: 0 to about 1."""
    crater: float = 0.0
    """Radius of the ulcer in the middle; 0 for none."""
    crater_middle: tuple[float, float] = (0.0, 0.0)
    bleeding: float = 0.0
    """How much of the surface bleeds: 0 to about 1."""
    vessels: Sequence[list[np.ndarray]] = ()
    vessel_width: float = 0.0


def make_lesion(label: str, rng: np.random.Generator) -> Lesion:
    """A lesion of the class `label`."""
    make = {"hyperplastic": _hyperplastic, "adenoma": _adenoma, "adenocarcinoma": _adenocarcinoma}
    return make[label](rng)


def _outline(rng: np.random.Generator, lobedness: float, orders: int) -> np.ndarray:
    falling = np.arange(2, orders + 2)[:, None] ** -0.8
    return rng.normal(0, lobedness, (orders, 2)) * falling


def _trees(rng: np.random.Generator, count: int, length: float, wander: float) -> list[list[np.ndarray]]:
    trees = []
    for _ in range(count):
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.9)
        start = (distance * np.cos(angle), distance * np.sin(angle))
        trees.append(branching(rng, start, angle + np.pi + rng.normal(0, 0.8), length, wander))
    return trees


def _hyperplastic(rng: np.random.Generator) -> Lesion:
    """Flat and pale, with fine round pits of one size and no vessels (Kudo II, NICE 1)."""
    radius = rng.uniform(0.30, 0.52)
    return Lesion(
        radius=radius,
        elongation=rng.uniform(1.0, 1.4),
        outline=_outline(rng, rng.uniform(0.01, 0.06), 4),
        height=rng.uniform(0.06, 0.22),
        shoulder=rng.uniform(0.7, 1.2),
        redness=rng.normal(-0.02, 0.13),
        pattern=Waves.dots(rng, rng.uniform(0.14, 0.18) / radius),
        pattern_blood=rng.uniform(0.14, 0.24) * float(rng.choice((-1, 1))),
        pattern_relief=rng.uniform(-0.006, -0.002),
        bend=rng.uniform(0.02, 0.045),
        irregularity=Waves.irregular(rng, 0.5, 1.2),
        mucus=max(0.0, rng.uniform(-0.6, 0.5)),
    )


def _adenoma(rng: np.random.Generator) -> Lesion:
    """Raised and redder, with tubes or a brain-like maze of pale ridges between brown vessels (Kudo III-IV, NICE 2)."""
    radius = rng.uniform(0.33, 0.62)
    return Lesion(
        radius=radius,
        elongation=rng.uniform(1.0, 1.5),
        outline=_outline(rng, rng.uniform(0.03, 0.09), 5),
        height=rng.uniform(0.12, 0.34),
        shoulder=rng.uniform(0.6, 1.2),
        redness=rng.normal(0.14, 0.16),
        pattern=Waves.ridges(rng, rng.uniform(0.16, 0.23) / radius, rng.uniform(0.5, 1.0)),
        pattern_blood=rng.uniform(0.14, 0.26),
        pattern_relief=rng.uniform(0.006, 0.014),
        bend=rng.uniform(0.06, 0.12),
        irregularity=Waves.irregular(rng, 0.5, 1.2),
        mucus=max(0.0, rng.uniform(-0.9, 0.4)),
        bleeding=max(0.0, rng.uniform(-0.9, 0.3)),
        vessels=_trees(rng, int(rng.integers(0, 3)), 0.5, 0.3),
        vessel_width=0.025,
    )


def _adenocarcinoma(rng: np.random.Generator) -> Lesion:
    """Large and lobed, with a destroyed pattern, an ulcer, irregular vessels and blood (Kudo V, NICE 3)."""
    radius = rng.uniform(0.40, 0.72)
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.35)
    return Lesion(
        radius=radius,
        elongation=rng.uniform(1.0, 1.5),
        outline=_outline(rng, rng.uniform(0.06, 0.12), 8),
        height=rng.uniform(0.12, 0.36),
        shoulder=rng.uniform(0.6, 1.2),
        redness=rng.normal(0.16, 0.18),
        pattern=Waves.irregular(rng, 0.2 / radius, 0.7 / radius),
        pattern_blood=rng.uniform(0.15, 0.35),
        pattern_relief=rng.uniform(0.012, 0.025),
        bend=rng.uniform(0.05, 0.15),
        irregularity=Waves.irregular(rng, 0.25, 0.8),
        crater=rng.uniform(0.25, 0.6),
        crater_middle=(distance * np.cos(angle), distance * np.sin(angle)),
        mucus=max(0.0, rng.uniform(-0.9, 0.3)),
        bleeding=rng.uniform(0.1, 0.6),
        vessels=_trees(rng, int(rng.integers(3, 6)), 0.7, 0.6),
        vessel_width=0.045,
    )
