"""One image of a source, before it is decoded."""

from collections.abc import Sequence
from typing import NamedTuple

from data_prep.sources.listing import in_utf8
from data_prep.splits import SPLIT_NAMES, SPLITS

__all__ = ["SPLITS", "SPLIT_NAMES", "Item"]


class Item(NamedTuple):
    """One image of a source, before it is decoded.

    Attributes:
        name: unique within the source, and independent of where the data is stored.
        label: name of the class, or None.
        group: patient, lesion or slide, whose images must stay in one split; None for an image without a group.
        split: one of `SPLITS` if the data names it, else None.
    """

    name: str
    label: str | None
    group: str | None
    split: str | None


def with_names_in_utf8(items: Sequence[Item]) -> tuple[Item, ...]:
    """The items with names and labels that tables can hold: those of files and folders may be no valid UTF-8."""
    return tuple(
        item._replace(name=in_utf8(item.name), label=None if item.label is None else in_utf8(item.label))
        for item in items
    )


def class_names(items: Sequence[Item]) -> tuple[str, ...]:
    """Returns the distinct labels, sorted, numerically if all are numbers; empty without labels."""
    names = {item.label for item in items if item.label is not None}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
