"""Where outputs go: a folder that is safe to write to, and a path in it for each frame."""

import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import UserError
from data_prep.pipeline.record import FILE
from data_prep.pipeline.writing import PARTIAL
from data_prep.sources.listing import RawFrame

IMAGES = "images"
# Linux and macOS allow names of 255 bytes; the rest is for an ending that distinguishes two frames.
LONGEST_NAME = 240


def check_place(out: Path, root: Path, flag: str) -> None:
    """Checks that the output folder `out` may be written to; `root` is the source folder, `flag` names `out` in errors.

    Raises:
        UserError: the folder is the source, lies in it or contains it, is a file, or already holds something else.
    """
    place, source = out.resolve(), root.resolve()
    if place == source:
        raise UserError(f"{flag}: it is the source folder, which is only read; give a folder elsewhere")
    if place.is_relative_to(source):
        raise UserError(f"{flag}: it lies in the source folder {root}, which is only read; give a folder elsewhere")
    if source.is_relative_to(place):
        raise UserError(f"{flag}: it contains the source folder {root}; give a folder elsewhere")
    existing = next(above for above in (place, *place.parents) if above.exists())
    if not existing.is_dir():
        raise UserError(f"{flag}: {existing} is a file; give another folder")
    if place.is_dir() and not (place / FILE).is_file() and any(place.iterdir()):
        raise UserError(f"{flag}: the folder already holds something else; give a new or an empty one")


def open_place(out: Path) -> None:
    """Makes the folder, and removes unfinished files of a killed run.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(out / PARTIAL, ignore_errors=True)
        (out / PARTIAL).mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"--out={out}: it cannot be written: {error.strerror}; give another folder") from error


def targets(frames: Sequence[RawFrame]) -> dict[str, str]:
    """The path of each frame's picture in the output folder, by the name of the frame.

    Paths are unique even on file systems that ignore case or the form of an accent. They stay inside the folder
    whatever the name. Characters that break tables or shells become underscores.
    """
    taken: set[str] = set()
    result = {}
    for frame in frames:
        stem, suffix = os.path.splitext(frame.name)
        stem = frame.short or stem
        parts = [_plain(part) for part in stem.split("/")]
        path = "/".join([IMAGES, *(part for part in parts if part)])
        attempt, number = f"{path}.png", 1
        while _folded(attempt) in taken:
            number += 1
            # cat.jpg beside cat.png first becomes cat-jpg.
            ending = _plain(suffix[1:]) if number == 2 and suffix else str(number)
            attempt = f"{path}-{ending}.png"
        taken.add(_folded(attempt))
        result[frame.name] = attempt
    return result


def _plain(part: str) -> str:
    """One part of a path, without control characters, backslashes, bad bytes, or blanks and dots at its ends."""
    part = re.sub(r"[\x00-\x1f\x7f\\]|[\ud800-\udfff]", "_", part)
    part = re.sub(r"^[\s.]+|[\s.]+$", lambda found: "_" * len(found[0]), part)
    while len(part.encode()) > LONGEST_NAME:
        part = part[:-1]
    return part


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
