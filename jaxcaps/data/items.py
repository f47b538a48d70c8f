"""What a source of images offers: a list of items, and each item's picture on demand."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from data_prep.splits import SPLIT_NAMES, SPLITS

__all__ = ["SPLITS", "SPLIT_NAMES", "Item", "Source"]


class Item(NamedTuple):
    """One image of a source, before it is decoded.

    Attributes:
        name: unique within the source, and the same wherever the data lies.
        label: the name of its class, or None.
        group: what must not straddle two splits (patient, lesion, slide), or None for an image on its own.
        split: one of `SPLITS` where the data says so, else None.
    """

    name: str
    label: str | None
    group: str | None
    split: str | None


def class_names(items: Sequence[Item]) -> tuple[str, ...]:
    """The labels, sorted, by number where all are numbers; empty without labels."""
    names = {item.label for item in items if item.label is not None}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


class Source(Protocol):
    """Random access to images. `read` is called from several threads at once.

    Attributes:
        fitted: steps of the preparation that learnt something from the training split that the data names; with
            another split their pictures would carry what they learnt from test pictures.
    """

    fitted: tuple[str, ...]

    @property
    def items(self) -> Sequence[Item]: ...

    def read(self, index: int) -> np.ndarray:
        """The picture of `items[index]`: uint8 RGB [height, width, 3] of any size.

        Raises:
            BadImage: it cannot be read.
        """
        ...
