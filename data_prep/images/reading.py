"""Reads a file of unknown content: its header is checked before it is decoded.

The content decides the format; a name that says otherwise is noted. Only the formats of `FORMATS` are opened. The size
is read from the header, and a picture above the limit is never unpacked.
"""

import contextlib
import hashlib
import io
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

from data_prep.images.decoding import BadImage, decode_with_bits
from data_prep.images.formats import FORMATS

# Entries of Pillow's `info` that are not metadata: how the picture is stored, how large a pixel is.
TECHNICAL = frozenset(
    {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "resolution", "aspect", "gamma", "srgb"}
    | {"chromaticity", "transparency", "background", "progressive", "progression", "interlace", "compression", "adobe"}
    | {"adobe_transform", "duration", "version", "loop", "extension", "timestamp", "mp", "mpoffset", "default_image"}
)
# A TIFF always has tags. These may reveal the patient, the camera or the place: description, make, model, software,
# date, artist, computer, XMP, IPTC, Photoshop, EXIF, GPS, copyright.
TELLING_TAGS = frozenset({270, 271, 272, 305, 306, 315, 316, 700, 33723, 34377, 34665, 34853, 33432})
# Of 255. A picture whose largest value is lower uses less than a quarter of the range.
DARK = 64
# A picture within the limit needs at most 8 bytes a pixel and this much more.
OTHER_BYTES = 64 * 2**20


class Picture(NamedTuple):
    """
    Attributes:
        image: uint8 RGB [height, width, 3].
        sha256: of the file.
        metadata: the kinds of metadata in the file, sorted.
        notes: what is odd about the file, and what was done about it.
    """

    image: np.ndarray
    sha256: str
    metadata: tuple[str, ...]
    notes: tuple[str, ...]


def read_picture(path: Path, max_pixels: int) -> Picture:
    """Reads and decodes a file.

    Raises:
        BadImage: it is missing, empty, damaged, too large, not a regular file or not an image of a known format.
        OSError: it cannot be read now; a second try may succeed.
    """
    encoded = _bytes(path, max_pixels)
    kind, depth, pages, metadata = _header(encoded, max_pixels)
    image, bits = decode_with_bits(encoded)
    notes = []
    if path.suffix.lower() not in FORMATS[kind]:
        notes.append(f"its content is {kind}, but its name ends in {path.suffix or 'nothing'}: read as {kind}")
    if depth == "16-bit" and bits == 16:
        notes.append("16-bit values were divided by 257")
    elif depth == "16-bit":
        notes.append(f"16-bit values below {2**bits} were taken as {bits}-bit values")
    if depth == "CMYK":
        notes.append("CMYK was converted to RGB")
    if pages > 1:
        notes.append(f"it has {pages} pages or frames: the first was taken")
    if image.max() < DARK:
        notes.append(f"its values are at most {image.max()} of 255, so it is dark: is it a map of numbered regions?")
    return Picture(image, hashlib.sha256(encoded).hexdigest(), metadata, tuple(notes))


def read_void(path: Path, max_pixels: int) -> np.ndarray:
    """Reads a void mask, in which all non-zero pixels are border, for any depth.

    Returns:
        bool [height, width].

    Raises:
        BadImage, OSError: as `read_picture`.
    """
    encoded = _bytes(path, max_pixels)
    _header(encoded, max_pixels)
    try:
        values = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadImage(f"it cannot be decoded ({error.err or error})") from error
    if values is None:
        raise BadImage("it is not an image, or it is damaged")
    # Transparency is not a border.
    colours = values if values.ndim == 2 else values[..., :3].any(axis=-1)
    return colours != 0


def _bytes(path: Path, max_pixels: int) -> bytes:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise BadImage("no such file") from None
    if not stat.S_ISREG(status.st_mode):
        raise BadImage("it is not a regular file")
    if not status.st_size:
        raise BadImage("the file is empty")
    if status.st_size > 8 * max_pixels + OTHER_BYTES:
        raise BadImage(f"its {status.st_size} bytes are more than a picture within --max-pixels={max_pixels} can have")
    return path.read_bytes()


def _header(encoded: bytes, max_pixels: int) -> tuple[str, str, int, tuple[str, ...]]:
    """Format; "16-bit", "CMYK" or ""; number of pages; and the kinds of metadata, without decoding a pixel."""
    try:
        with _own_limit(), Image.open(io.BytesIO(encoded), formats=tuple(FORMATS)) as opened:
            width, height = opened.size
            kind = "JPEG" if opened.format == "MPO" else str(opened.format)
            names = {str(name).lower() for name in opened.info} - TECHNICAL
            if kind == "TIFF":
                names = {"tags"} if TELLING_TAGS & set(opened.getexif()) else set()
            bits = opened.mode.startswith("I")
            if kind == "PNG":
                # Pillow reports 16-bit colour as RGB. The byte after the size is the depth.
                bits = encoded[24] == 16
            elif kind == "TIFF":
                bits = np.max(opened.getexif().get(ExifTags.Base.BitsPerSample, 8)) == 16
            depth = "16-bit" if bits else "CMYK" if opened.mode == "CMYK" else ""
            pages = _pages(opened) if kind != "JPEG" else 1
    except Exception as error:  # Pillow raises whatever a damaged header leads to
        raise BadImage("it is not an image, or it is damaged") from error
    if width * height > max_pixels:
        raise BadImage(f"its {width}x{height} pixels are more than --max-pixels={max_pixels}")
    return kind, depth, pages, tuple(sorted(names))


def _pages(opened: Image.Image) -> int:
    try:
        return int(getattr(opened, "n_frames", 1))
    except Exception:  # only the pages after the first are damaged
        return 1


@contextlib.contextmanager
def _own_limit() -> Iterator[None]:
    """Lifts the pixel limit of Pillow: the header is checked against ours."""
    theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = theirs
