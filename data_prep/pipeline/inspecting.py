"""The first pass over a frame: whether it can be read, what it shows, and its share of the reference histogram."""

import zlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from data_prep.config import Steps
from data_prep.images.box import Box, crop
from data_prep.images.decoding import BadImage
from data_prep.images.duplicates import difference_hash
from data_prep.images.reading import read_picture, read_void
from data_prep.pipeline.sequence import Field, find_field, last, reveal
from data_prep.steps.guess_modality import guess_modality
from data_prep.steps.match import ReferenceHistogram


class ToInspect(NamedTuple):
    """A file, its void mask if it has one, and its modality if it was told."""

    name: str
    path: Path
    void: Path | None
    modality: str | None


class Inspection(NamedTuple):
    """What was found. All of it fits in a line of JSON, but for `Findings`.

    Attributes:
        name: of the frame.
        bad: why it cannot be used; the rest is then empty.
        passing: the reason lies not in the file (permissions, a network drive), and may pass.
        sha256: of the file.
        height, width: of the picture as stored.
        box: the field of view.
        border: how that was found, see `sequence.Field`.
        overlay_share: the part of the picture that overlays cover.
        metadata: kinds of metadata in the file.
        notes: what is odd about the file.
        modality, confidence: guessed by colour, or "" and 0.
        brightness: mean grey level of the field of view, 0 to 255.
        hash: difference hash of the field of view, 64 hexadecimal digits.
    """

    name: str
    bad: str = ""
    passing: bool = False
    sha256: str = ""
    height: int = 0
    width: int = 0
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    border: str = ""
    overlay_share: float = 0.0
    metadata: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    modality: str = ""
    confidence: float = 0.0
    brightness: float = 0.0
    hash: str = ""

    def bits(self) -> np.ndarray:
        """bool [256]."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.hash), np.uint8)).astype(bool)


class Findings(NamedTuple):
    """What is too large for a line: the masks of the field, packed, and the counts [3, 256] where they are wanted."""

    masks: bytes | None
    counts: bytes | None


def inspect(task: ToInspect, steps: Steps, max_pixels: int) -> tuple[Inspection, Findings]:
    """Looks at one frame."""
    try:
        picture = read_picture(task.path, max_pixels)
    except BadImage as error:
        return Inspection(task.name, bad=str(error)), Findings(None, None)
    except OSError as error:
        return Inspection(task.name, bad=error.strerror or str(error), passing=True), Findings(None, None)
    image, notes = picture.image, picture.notes
    void, note = _void(task.void, image.shape[:2], steps, max_pixels)
    notes += (note,) if note else ()
    field = find_field(image, void, steps)
    modality, confidence = task.modality or "", 1.0 if task.modality else 0.0
    image = last(reveal(image, field, steps))
    if not modality and steps.guess_modality:
        modality, confidence = guess_modality(image)
    view = crop(picture.image, field.box)
    counts = None
    if steps.match and modality == steps.match_to:
        histogram = ReferenceHistogram()
        histogram.add(image, field.view)
        counts = histogram.counts
    inspection = Inspection(
        name=task.name,
        sha256=picture.sha256,
        height=picture.image.shape[0],
        width=picture.image.shape[1],
        box=(field.box.top, field.box.left, field.box.bottom, field.box.right),
        border=field.border,
        overlay_share=field.overlay_share,
        metadata=picture.metadata,
        notes=notes,
        modality=modality,
        confidence=float(confidence),
        brightness=float(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).mean()),
        hash=np.packbits(difference_hash(view)).tobytes().hex(),
    )
    return inspection, Findings(_pack_masks(field), None if counts is None else pack_counts(counts))


def field_of(inspection: Inspection, masks: bytes) -> Field:
    """The field of view as it was found."""
    box = Box(*inspection.box)
    kept, packed = masks[:1], zlib.decompress(masks[1:])
    bits = np.unpackbits(np.frombuffer(packed, np.uint8)).astype(bool)
    both = [bits[start : start + box.area].reshape(box.height, box.width) for start in (0, len(bits) // 2)]
    view, overlay = (mask if kept[0] & bit else None for mask, bit in zip(both, (1, 2), strict=True))
    return Field(box, inspection.border, view, overlay, inspection.overlay_share)


def _pack_masks(field: Field) -> bytes:
    """Which of the two masks there are, then their bits, compressed."""
    none = np.zeros((field.box.height, field.box.width), bool)
    kept = (field.view is not None) + 2 * (field.overlay is not None)
    bits = [np.packbits(none if mask is None else mask).tobytes() for mask in (field.view, field.overlay)]
    return bytes([kept]) + zlib.compress(b"".join(bits), 1)


def pack_counts(counts: np.ndarray) -> bytes:
    return zlib.compress(counts.astype(np.int64).tobytes(), 1)


def unpack_counts(packed: bytes) -> np.ndarray:
    """int64 [3, 256]."""
    return np.frombuffer(zlib.decompress(packed), np.int64).reshape(3, 256)


def _void(path: Path | None, shape: tuple[int, ...], steps: Steps, max_pixels: int) -> tuple[np.ndarray | None, str]:
    """The void mask, if it is wanted and fits the picture, and a note where it does not."""
    if path is None or not steps.borders:
        return None, ""
    try:
        void = read_void(path, max_pixels)
    except (BadImage, OSError) as error:
        return None, f"void mask {path.name}: {error}; the border was looked for in the picture"
    if void.shape != shape:
        return None, (
            f"void mask {path.name} is {void.shape[1]}x{void.shape[0]}, the picture {shape[1]}x{shape[0]}; "
            "the border was looked for in the picture"
        )
    return void, ""
