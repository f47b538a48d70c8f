"""What a listing of raw images brings: a row for each, before any is opened."""

from pathlib import Path
from typing import NamedTuple


class RawFrame(NamedTuple):
    """One image file of a source.

    Attributes:
        name: unique within the source, and the same wherever the data lies.
        path: the file.
        label: the name of its class, or None.
        group: what must not straddle two splits (patient, lesion, slide), or None for an image on its own.
        split: "train", "validation" or "test" where the data says so, else None.
        modality: "WL" (white light) or "NBI" (narrow band) where the data says so, else None.
        void: a file whose non-zero pixels are border, or None.
        short: a shorter name that is unique too, for what is written; None where `name` is good enough.
    """

    name: str
    path: Path
    label: str | None = None
    group: str | None = None
    split: str | None = None
    modality: str | None = None
    void: Path | None = None
    short: str | None = None


class Skipped(NamedTuple):
    """A file that is left out, and why."""

    name: str
    reason: str
