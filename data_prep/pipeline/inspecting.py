"""The first pass over a frame: whether it can be read, what it shows, and its share of the reference histogram."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from data_prep.config import Steps
from data_prep.images.box import Box, crop
from data_prep.images.decoding import BadImage
from data_prep.images.duplicates import difference_hash
from data_prep.images.histogram import has_two_levels, histogram
from data_prep.images.reading import read_picture, read_void
from data_prep.pipeline.sequence import fit_of, look, steps_on
from data_prep.sources.listing import RawFrame
from data_prep.steps.step import Findings


class Inspection(NamedTuple):
    """What was found in a frame, without the arrays: it fits in a line of JSON.

    Attributes:
        name: of the frame.
        bad: why it cannot be used, or ""; if it cannot, the rest is empty.
        temporary: the reason is not in the file (permissions, a network drive): the next run tries again.
        sha256: of the file.
        height, width: of the picture as stored.
        box, border, overlay_share, modality, confidence: see `Findings`.
        metadata: the kinds of metadata in the file.
        notes: what is odd about the file.
        brightness: mean grey level of the field of view, 0 to 255.
        hash: difference hash of the field of view, 64 hexadecimal digits.
    """

    name: str
    bad: str = ""
    temporary: bool = False
    sha256: str = ""
    height: int = 0
    width: int = 0
    box: Box = Box(0, 0, 0, 0)
    border: str = ""
    overlay_share: float = 0.0
    metadata: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    modality: str = ""
    confidence: float = 0.0
    brightness: float = 0.0
    hash: str = ""

    def bits(self) -> np.ndarray:
        """The difference hash: bool [256]."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.hash), np.uint8)).astype(bool)

    def findings(self, masks: bytes) -> Findings:
        """The findings, with the packed masks of the same inspection."""
        arrays: dict[str, Any] = unpack(masks)
        known = Findings(self.box, self.border, None, None, self.overlay_share, self.modality, self.confidence)
        return known._replace(**arrays)


class Inspected(NamedTuple):
    """An inspection and its packed arrays: the masks of the findings, and the histogram if the fit learns from it."""

    inspection: Inspection
    masks: bytes | None = None
    counts: bytes | None = None


def inspect(frame: RawFrame, steps: Steps, max_pixels: int) -> Inspected:
    """Looks at one frame."""
    try:
        picture = read_picture(frame.path, max_pixels)
    except BadImage as error:
        return Inspected(Inspection(frame.name, bad=str(error)))
    except OSError as error:
        return Inspected(Inspection(frame.name, bad=error.strerror or str(error), temporary=True))
    height, width = picture.image.shape[:2]
    void, notes = _void(frame.void, (height, width), steps, max_pixels)
    if has_two_levels(picture.image):
        notes += ("nearly all of its pixels have one of two grey levels: is it a mask? --exclude leaves out files",)
    told = Findings(
        Box(0, 0, height, width), modality=frame.modality or "", confidence=1.0 if frame.modality else 0.0, void=void
    )
    findings, image = look(picture.image, told, steps)
    view = crop(picture.image, findings.box)
    inspection = Inspection(
        name=frame.name,
        sha256=picture.sha256,
        height=height,
        width=width,
        box=findings.box,
        border=findings.border,
        overlay_share=findings.overlay_share,
        metadata=picture.metadata,
        notes=picture.notes + notes,
        modality=findings.modality,
        confidence=findings.confidence,
        brightness=float(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).mean()),
        hash=np.packbits(difference_hash(view)).tobytes().hex(),
    )
    counts = None
    fit = fit_of(steps)
    if fit is not None and findings.modality == fit.learns_from(steps):
        counts = pack(counts=histogram(image, findings.view))
    return Inspected(inspection, pack(view=findings.view, overlay=findings.overlay), counts)


def pack(**arrays: np.ndarray | None) -> bytes:
    """Arrays as one compressed block, without those that are None."""
    stream = io.BytesIO()
    kept: dict[str, Any] = {name: array for name, array in arrays.items() if array is not None}
    np.savez_compressed(stream, **kept)
    return stream.getvalue()


def unpack(packed: bytes) -> dict[str, np.ndarray]:
    """The arrays of `pack`, by name."""
    with np.load(io.BytesIO(packed)) as arrays:
        return dict(arrays)


def _void(
    path: Path | None, shape: tuple[int, int], steps: Steps, max_pixels: int
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The void mask, if a step needs it and it fits the picture; else a note that says why not."""
    if path is None or not any(step.needs_void for step in steps_on(steps)):
        return None, ()
    try:
        void = read_void(path, max_pixels)
    except (BadImage, OSError) as error:
        why = f": {error}"
    else:
        if void.shape == shape:
            return void, ()
        why = f" is {void.shape[1]}x{void.shape[0]}, the picture {shape[1]}x{shape[0]}"
    return None, (f"void mask {path.name}{why}; the border was looked for in the picture",)
