"""The second pass over a frame: the finished picture as a PNG; and files that are there whole or not at all."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2

from data_prep.config import Steps
from data_prep.images.decoding import BadImage
from data_prep.images.reading import read_picture
from data_prep.images.statistics import ChannelStatistics
from data_prep.pipeline.inspecting import Inspection, field_of
from data_prep.pipeline.sequence import finish, last, reveal
from data_prep.steps.match import ReferenceHistogram

# Beside the outputs, so that a finished file only has to change its name; emptied when a run begins and when it ends.
PARTIAL = ".partial"


class ToWrite(NamedTuple):
    """A frame as it was inspected, and where its picture goes.

    Attributes:
        inspection, masks: what the first pass found.
        path: the source file.
        matched: whether its histogram is matched to the reference.
        out: folder of the outputs.
        target: path of the picture in it, with slashes.
    """

    inspection: Inspection
    masks: bytes
    path: Path
    matched: bool
    out: Path
    target: str


class Written(NamedTuple):
    """A finished picture.

    Attributes:
        name: of the frame.
        sha256, size, mtime_ns: of the PNG.
        height, width: of the picture.
        pixels, sums, squares: of its channel statistics.
        bad: why nothing was written; the rest is then empty.
    """

    name: str
    sha256: str = ""
    size: int = 0
    mtime_ns: int = 0
    height: int = 0
    width: int = 0
    pixels: int = 0
    sums: tuple[int, ...] = ()
    squares: tuple[int, ...] = ()
    bad: str = ""


def write(task: ToWrite, steps: Steps, max_pixels: int, reference: ReferenceHistogram | None) -> Written:
    """Prepares one frame and writes it.

    Raises:
        OSError: the picture cannot be written.
    """
    try:
        picture = read_picture(task.path, max_pixels)
    except (BadImage, OSError) as error:
        return Written(task.inspection.name, bad=f"it could be read at first, but no longer: {error}")
    if picture.sha256 != task.inspection.sha256:
        return Written(task.inspection.name, bad="it changed while it was being prepared; repeat the command")
    field = field_of(task.inspection, task.masks)
    image = last(reveal(picture.image, field, steps))
    image = last(finish(image, field, steps, reference if task.matched else None))
    done, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done, "a PNG holds any uint8 picture"
    target = task.out / task.target
    target.parent.mkdir(parents=True, exist_ok=True)
    content = encoded.tobytes()
    write_file(task.out, target, content)
    status = target.stat()
    statistics = ChannelStatistics()
    statistics.add(image)
    return Written(
        name=task.inspection.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        height=image.shape[0],
        width=image.shape[1],
        pixels=statistics.pixels,
        sums=statistics.sums,
        squares=statistics.squares,
    )


def write_file(out: Path, target: Path, content: bytes) -> None:
    """Writes a file below `out` so that a kill at any moment leaves the old one, the new one or none."""
    with replacing(out, target) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def replacing(out: Path, target: Path) -> Iterator[Path]:
    """A path to write to, which becomes `target` when the block ends well, and goes when it does not."""
    # The target's own suffix, which some writers go by.
    partial = out / PARTIAL / f"{os.getpid()}{target.suffix}"
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
