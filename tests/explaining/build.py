"""An explanation made by hand: no network is run."""

import numpy as np

from jaxcaps.explaining import CouplingMaps, Erasure, Explanation, Perturbed
from jaxcaps.explaining.maps import KINDS

SIZE, POINTS, DIMENSIONS, STEPS, ITERATIONS = 16, 21, 6, 5, 3
HOSTILE = ("<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>", "normal")


def explanation(names=HOSTILE, *, classes=True, capsules=True, decoder=True):
    numbers = np.random.default_rng(0)

    def random(*shape, low=0.0):
        return numbers.uniform(low, 1, shape).astype(np.float32)

    shown = tuple(range(len(names)))
    couplings = None
    maps = {}
    if capsules:
        stack = (ITERATIONS, len(names), SIZE, SIZE)
        couplings = CouplingMaps(
            random(*stack), random(*stack, low=-1), random(ITERATIONS), random(ITERATIONS, len(names))
        )
        maps = {name: getattr(couplings, kind.field)[-1] for name, kind in KINDS.items() if kind.field}
    if classes:
        maps |= {name: random(len(names), SIZE, SIZE, low=-1) for name, kind in KINDS.items() if not kind.field}
    frames = {}
    if decoder:
        moved = random(DIMENSIONS, STEPS, SIZE, SIZE, 3)
        offsets = np.linspace(-0.25, 0.25, STEPS, dtype=np.float32)
        frames = {0: Perturbed(moved, offsets, random(DIMENSIONS), 0)}
    return Explanation(
        image=random(SIZE, SIZE, 3),
        names=tuple(names),
        shown=shown,
        scores=np.array([0.6, 0.3, 0.1], np.float32)[: len(names)],
        couplings=couplings,
        maps=maps,
        erasures={
            kind: Erasure(random(len(names), POINTS), random(len(names), POINTS))
            for kind in ((*maps, "random") if classes else ())
        },
        frames=frames,
    )
