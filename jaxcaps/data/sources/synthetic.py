"""`--data=synthetic`: the built-in set, drawn by `data_prep.synthetic`."""

import numpy as np

from data_prep import synthetic
from data_prep.pipeline.applying import FittedSteps
from jaxcaps.data.items import Item
from jaxcaps.data.source import SourceKind
from jaxcaps.errors import UserError


class Synthetic:
    """Endoscopy-like frames, drawn when they are read. The frames of one lesion form a group."""

    prepared: FittedSteps | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, *, count: int, seed: int, size: int):
        if count < 1:
            raise UserError(f"--synthetic-count={count}: give a number of at least 1")
        self._count, self._seed, self._size = count, seed, size
        # The name contains the seed, so that names of different seeds differ.
        self.items = tuple(
            Item(f"synthetic-{seed}/{index:05d}", str(description.label), str(description.group), None)
            for index, description in enumerate(synthetic.describe(count, seed))
        )

    def read(self, index: int) -> np.ndarray:
        """uint8 RGB [size, size, 3]."""
        return synthetic.draw(index, count=self._count, seed=self._seed, size=self._size).image


SOURCE = SourceKind(
    about="the built-in set of drawn endoscopy frames",
    open=lambda spec, settings: Synthetic(
        count=settings.synthetic_count, seed=settings.synthetic_seed, size=settings.image_size
    ),
)
