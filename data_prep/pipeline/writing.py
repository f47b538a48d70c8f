"""The second pass over a frame: the finished picture is written as a PNG."""

import hashlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.atomic import replacing
from data_prep.config import Steps
from data_prep.images.decoding import BadImage
from data_prep.images.histogram import moments
from data_prep.images.reading import read_picture
from data_prep.pipeline.inspecting import Inspection
from data_prep.pipeline.sequence import stages

# Holds unfinished files, beside the outputs; emptied when a run begins and when it ends.
PARTIAL = ".partial"


class ToWrite(NamedTuple):
    """An inspected frame, and where its picture goes.

    Attributes:
        inspection, masks: the result of the first pass.
        path: the source file.
        matched: whether its histogram is matched to the reference.
        out: the folder of the outputs.
        target: the path of the picture in it, with slashes.
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
        moments: of its channels, see `data_prep.images.histogram`.
        bad: why nothing was written, or ""; if nothing was, the rest is empty.
    """

    name: str
    sha256: str = ""
    size: int = 0
    mtime_ns: int = 0
    moments: Sequence[Sequence[int]] = ()
    bad: str = ""


def write(task: ToWrite, steps: Steps, max_pixels: int, reference: np.ndarray | None) -> Written:
    """Prepares one frame and writes it.

    Raises:
        OSError: the picture cannot be written.
    """
    name = task.inspection.name
    try:
        picture = read_picture(task.path, max_pixels)
    except (BadImage, OSError) as error:
        return Written(name, bad=f"it could be read at first, but no longer: {error}")
    if picture.sha256 != task.inspection.sha256:
        return Written(name, bad="it changed while it was being prepared; repeat the command")
    findings = task.inspection.findings(task.masks)
    # Only the last stage is kept.
    ((_, image),) = deque(stages(picture.image, findings, steps, reference if task.matched else None), maxlen=1)
    done, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done, "a PNG holds any uint8 picture"
    target = task.out / task.target
    target.parent.mkdir(parents=True, exist_ok=True)
    content = encoded.tobytes()
    write_file(task.out, target, content)
    status = target.stat()
    return Written(
        name=name,
        sha256=hashlib.sha256(content).hexdigest(),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        moments=moments(image),
    )


def write_file(out: Path, target: Path, content: bytes) -> None:
    """Writes a file below `out`, whole or not at all."""
    with replacing(target, out / PARTIAL) as partial:
        partial.write_bytes(content)
