"""One image of a source, before it is decoded."""

from collections.abc import Sequence
from typing import NamedTuple

from data_prep.splits import SPLIT_NAMES, SPLITS

__all__ = ["SPLITS", "SPLIT_NAMES", "Item"]


class Item(NamedTuple):
    """One image of a source, before it is decoded.

    Attributes:
        name: unique within the source, and the same wherever the data lies.
        label: the name of its class, or None.
        group: what must stay in one split (patient, lesion, slide), or None for an image on its own.
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
