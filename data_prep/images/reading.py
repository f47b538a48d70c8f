"""A file of unknown content to a picture: what it is gets looked at before it is decoded.

What it is follows from its content; a name that says otherwise is noted. Only the formats below are opened. The size
is read from the header, and a picture beyond the limit is never unpacked.
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
from PIL import Image

from data_prep.images.decoding import BadImage, decode

# The formats that are opened, by Pillow's names, and what their files are called.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe"),
    "JPEG2000": (".jp2",),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "DIB": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm"),
}
# What Pillow tells of a picture that is no metadata: how it is stored, how large a pixel is. All else is called so.
TECHNICAL = frozenset(
    {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "resolution", "aspect", "gamma", "srgb"}
    | {"chromaticity", "transparency", "background", "progressive", "progression", "interlace", "compression", "adobe"}
    | {"adobe_transform", "duration", "version", "loop", "extension", "timestamp", "mp", "mpoffset", "default_image"}
)
# A TIFF always has tags. These tell of the patient, the camera or the place: description, make, model, software, date,
# artist, computer, XMP, IPTC, Photoshop, EXIF, GPS, copyright.
TELLING_TAGS = frozenset({270, 271, 272, 305, 306, 315, 316, 700, 33723, 34377, 34665, 34853, 33432})
BITS_PER_SAMPLE = 258
# A file of 8 bytes a pixel and this much besides holds no picture within the limit.
OTHER_BYTES = 64 * 2**20


class Picture(NamedTuple):
    """
    Attributes:
        image: uint8 RGB [height, width, 3].
        sha256: of the file.
        metadata: the kinds of metadata that the file carries, sorted.
        notes: what was found odd about the file, and what was done about it.
    """

    image: np.ndarray
    sha256: str
    metadata: tuple[str, ...]
    notes: tuple[str, ...]


def read_picture(path: Path, max_pixels: int) -> Picture:
    """Reads and decodes a file.

    Raises:
        BadImage: it is missing, no regular file, empty, no image of a known format, damaged, or too large.
        OSError: it is there, but cannot be read: what a second try may change.
    """
    encoded = _bytes(path, max_pixels)
    kind, _, depth, metadata = _checked_header(encoded, max_pixels)
    image = decode(encoded)
    notes = []
    if path.suffix.lower() not in SUFFIXES[kind]:
        notes.append(f"its content is {kind}, though its name ends in {path.suffix or 'nothing'}: read as {kind}")
    if depth == "16-bit":
        notes.append("16-bit values were divided by 257")
    if depth == "CMYK":
        notes.append("CMYK was converted to RGB")
    return Picture(image, hashlib.sha256(encoded).hexdigest(), metadata, tuple(notes))


def read_void(path: Path, max_pixels: int) -> np.ndarray:
    """A void mask: whatever its depth, non-zero pixels are border.

    Returns:
        bool [height, width].

    Raises:
        BadImage, OSError: as `read_picture`.
    """
    encoded = _bytes(path, max_pixels)
    _checked_header(encoded, max_pixels)
    try:
        values = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadImage(f"it cannot be decoded ({error.err or error})") from error
    if values is None:
        raise BadImage("it is no image, or a damaged one")
    # Transparency is no border.
    colours = values if values.ndim == 2 else values[..., :3].any(axis=-1)
    return colours != 0


def _bytes(path: Path, max_pixels: int) -> bytes:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise BadImage("no such file") from None
    if not stat.S_ISREG(status.st_mode):
        raise BadImage("it is no regular file")
    if not status.st_size:
        raise BadImage("the file is empty")
    if status.st_size > 8 * max_pixels + OTHER_BYTES:
        raise BadImage(f"its {status.st_size} bytes are more than a picture of --max-pixels={max_pixels} can have")
    return path.read_bytes()


def _checked_header(encoded: bytes, max_pixels: int) -> tuple[str, tuple[int, int], str, tuple[str, ...]]:
    """Format, width and height, "16-bit", "CMYK" or "", and the kinds of metadata, without decoding a pixel."""
    kind, size, depth, metadata = _header(encoded)
    if size[0] * size[1] > max_pixels:
        raise BadImage(f"its {size[0]}x{size[1]} pixels are more than --max-pixels={max_pixels}")
    return kind, size, depth, metadata


def _header(encoded: bytes) -> tuple[str, tuple[int, int], str, tuple[str, ...]]:
    try:
        with _own_limit(), Image.open(io.BytesIO(encoded), formats=tuple(SUFFIXES)) as opened:
            kind = "JPEG" if opened.format == "MPO" else str(opened.format)
            names = {str(name).lower() for name in opened.info} - TECHNICAL
            if kind == "TIFF":
                names = {"tags"} if TELLING_TAGS & set(opened.getexif()) else set()
            bits = opened.mode.startswith("I")
            if kind == "PNG":
                # Pillow calls 16-bit colour RGB; the byte after the sizes is the depth.
                bits = encoded[24] == 16
            elif kind == "TIFF":
                bits = np.max(opened.getexif().get(BITS_PER_SAMPLE, 8)) == 16
            depth = "16-bit" if bits else "CMYK" if opened.mode == "CMYK" else ""
            return kind, opened.size, depth, tuple(sorted(names))
    except Exception as error:
        # Pillow's readers raise whatever a damaged header leads them to; it is no image that we read, in all cases.
        raise BadImage("it is no image, or a damaged one") from error


@contextlib.contextmanager
def _own_limit() -> Iterator[None]:
    """Without Pillow's limit of pixels: the header is read first, and ours is another."""
    theirs, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = theirs
