"""What a source lists: one row for each raw picture, before any is opened."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

Modality = Literal["NBI", "WL"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)


class RawFrame(NamedTuple):
    """One picture file of a source.

    Attributes:
        name: unique within the source, and the same wherever the data lies.
        path: the file.
        label: the name of its class, or None.
        group: what must not lie in two splits (patient, lesion, slide), or None for a picture on its own.
        split: "train", "validation" or "test" if the data says so, else None.
        modality: "WL" (white light), "NBI" (narrow band) or another if the data says so, else None.
        void: a mask file whose non-zero pixels are border, or None.
        short: a shorter unique name for the prepared picture, or None if `name` is good enough.
    """

    name: str
    path: Path
    label: str | None = None
    group: str | None = None
    split: str | None = None
    modality: str | None = None
    void: Path | None = None
    short: str | None = None


def in_utf8(name: str) -> str:
    """A name in valid UTF-8, as files and messages need it: undecodable bytes become `\\xff` and the like."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Skipped(NamedTuple):
    """A file that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        root: the source folder, which is only read.
        frames: in order, with unique names.
        skipped: files that are left out.
        notes: sentences for the report.
        official: the split is the publisher's: it is kept even if groups lie in two splits.
    """

    root: Path
    frames: tuple[RawFrame, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    official: bool = False


@dataclass(frozen=True)
class Source:
    """One kind of `--source`.

    Attributes:
        place: what follows the kind: "DIR" or "FILE".
        list: takes the path and what names it in errors ("--source=folder:DIR"); raises `UserError`.
        takes_root: the pictures may lie below another folder, given by `--root`.
        preset: the settings of the steps, where `--preset` is not given.
    """

    place: str
    list: Callable[[Path, str], Listing]
    takes_root: bool = False
    preset: str = "plain"
