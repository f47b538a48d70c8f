"""Pictures prepared as those that a model learnt from."""

from collections.abc import Sequence

import numpy as np

from data_prep.pipeline.applying import FittedSteps
from jaxcaps.data.items import Item
from jaxcaps.data.source import Source
from jaxcaps.errors import UserError


class Prepared:
    """A source whose pictures go through the steps of `data_prep` when they are read."""

    def __init__(self, source: Source, steps: FittedSteps):
        self._source, self._steps = source, steps
        self.prepared: FittedSteps | None = steps
        self.notes = (*source.notes, "The pictures are prepared as those that the model learnt from.")

    @property
    def items(self) -> Sequence[Item]:
        return self._source.items

    def read(self, index: int) -> np.ndarray:
        """uint8 RGB [height, width, 3]. Raises BadImage."""
        return self._steps.apply(self._source.read(index))


def as_in_training(source: Source, wanted: FittedSteps | None, where: str) -> Source:
    """Prepares the pictures of a source as the training pictures were, unless `data_prep` already has.

    Args:
        source: any pictures.
        wanted: the steps that made the training pictures; None if the model learnt from pictures as they were.
        where: what names the source in errors, such as "--images=DIR".

    Raises:
        UserError: the pictures were prepared otherwise, or the steps cannot be applied.
    """
    if source.prepared == wanted:
        return source
    if wanted is None:
        raise UserError(
            f"{where}: data_prep made these pictures, but the model learnt from pictures that it did not make; give "
            "the raw pictures"
        )
    if source.prepared is not None:
        raise UserError(
            f"{where}: data_prep made these pictures with other steps or another reference histogram than those that "
            "the model learnt from; give the raw pictures, which are then prepared as in training"
        )
    try:
        wanted.check()
    except UserError as error:
        raise UserError(f"{where}: these pictures cannot be prepared as in training: {error}") from None
    return Prepared(source, wanted)
