"""Image files to uint8 RGB.

- The full range of 16-bit values becomes 0..255. Cameras and scanners store 12-bit values in 16-bit files, which would
  come out black: values that all lie below 4096 are taken as 12-bit values, and below 256 as 8-bit values. The range
  that an image uses does not matter otherwise, so that the images of a set keep their brightness. Other depths (32-bit
  integers, floats) have no known range and are refused.
- Grey and palette images become RGB. Transparency is composited on black, the colour of the border that endoscopes and
  ultrasound machines draw.
- The EXIF orientation is applied.
"""

from typing import NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image

JPEG = b"\xff\xd8"
TIFF = (b"II*\x00", b"MM\x00*")
# The numbers of bits that the values of a 16-bit file may have.
DEPTHS = (8, 12, 16)


class BadImage(Exception):
    """An image cannot be read. The message is the reason."""


class Decoded(NamedTuple):
    """
    Attributes:
        image: uint8 RGB [height, width, 3].
        bits: 8, 12 or 16, that the colours of the file were taken to have.
    """

    image: np.ndarray
    bits: int


def prepare_opencv() -> None:
    """Makes OpenCV use one thread and report nothing about broken files: callers do both."""
    cv2.setNumThreads(0)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(encoded: bytes) -> np.ndarray:
    """The image of `decode_with_bits`: uint8 RGB [height, width, 3]."""
    return decode_with_bits(encoded).image


def decode_with_bits(encoded: bytes) -> Decoded:
    """The picture in an encoded image file, the first if it has several.

    Args:
        encoded: the file's bytes, in any format that OpenCV reads.

    Raises:
        BadImage: it is not an image, it is damaged, or its depth is not 8 or 16 bits.
    """
    if not encoded:
        raise BadImage("the file is empty")
    buffer = np.frombuffer(encoded, np.uint8)
    try:
        if encoded.startswith(JPEG):
            image = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
            orientation = 1
        else:
            # Only IMREAD_UNCHANGED keeps transparency. It applies the orientation of TIFF only.
            image, kinds, metadata = cv2.imdecodeWithMetadata(buffer, cv2.IMREAD_UNCHANGED)
            blocks = [block for kind, block in zip(kinds, metadata, strict=True) if kind == cv2.IMAGE_METADATA_EXIF]
            orientation = _orientation(np.asarray(blocks[0]).tobytes()) if blocks else 1
    except cv2.error as error:
        raise BadImage(f"it cannot be decoded ({error.err or error})") from error
    if image is None:
        raise BadImage("it is not an image, or it is damaged")
    if image.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"its pixels are {image.dtype}; only 8- and 16-bit images can be read")
    # In 8-bit TIFF, OpenCV has already multiplied the colours by the transparency.
    composited = encoded.startswith(TIFF) and image.dtype == np.uint8
    bits = 8
    if image.dtype == np.uint16:
        image, bits = _to_8_bits(image)
    return Decoded(_oriented(_to_rgb(image, composited), orientation), bits)


def _to_8_bits(image: np.ndarray) -> tuple[np.ndarray, int]:
    """Scales uint16 [height, width] or [height, width, channels] to uint8. Returns it, and the bits of its colours."""
    channels = 1 if image.ndim == 2 else image.shape[2]
    colours = image[..., :-1] if channels in (2, 4) else image
    bits = next(bits for bits in DEPTHS if int(colours.max()) < 2**bits)
    largest = np.full(image.shape[2:], 2**bits - 1, np.uint32)
    if channels in (2, 4):
        largest[-1] = next(2**bits - 1 for bits in DEPTHS if int(image[..., -1].max()) < 2**bits)
    return ((image.astype(np.uint32) * 255 + largest // 2) // largest).astype(np.uint8), bits


def _orientation(exif: bytes) -> int:
    """The orientation in a block of EXIF data, 1 to 8; 1 (as stored) if there is none or the block is damaged."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        orientation = tags.get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises whatever a damaged block leads to
        return 1
    return int(orientation) if orientation in range(1, 9) else 1


def _to_rgb(image: np.ndarray, composited: bool) -> np.ndarray:
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if channels == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if channels == 4:
        colour = cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
        if composited:
            return colour
        alpha = image[..., 3:].astype(np.uint16)
        return ((colour * alpha + 127) // 255).astype(np.uint8)
    raise BadImage(f"it has {channels} channels; only 1, 3 or 4 can be read")


def _oriented(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Turns a stored picture upright. Orientations 5 to 8 are 1 to 4 of the transposed picture."""
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
        orientation -= 4
    if orientation in (2, 3):
        picture = picture[:, ::-1]
    if orientation in (3, 4):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)
