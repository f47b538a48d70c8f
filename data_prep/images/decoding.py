"""Image files to uint8 RGB.

- 16-bit values are divided by 257 and rounded: the full range of the type becomes 0..255, whatever range an image
  uses. Other depths (32-bit integers, floats) have no known range and are refused.
- Grey and palette images become RGB. Transparency is composited on black, the border that endoscopes and
  ultrasound machines draw themselves.
- The EXIF orientation is applied.
"""

import struct

import cv2
import numpy as np

JPEG = b"\xff\xd8"
TIFF = (b"II*\x00", b"MM\x00*")
ORIENTATION_TAG = 0x0112


class BadImage(Exception):
    """One image cannot be read. The message is the reason."""


def prepare_opencv() -> None:
    """Makes OpenCV leave the threads to its callers, and the reporting of broken files too."""
    cv2.setNumThreads(0)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(encoded: bytes) -> np.ndarray:
    """The picture in an encoded image file; of several pages or frames, the first.

    Args:
        encoded: the file's bytes, in any format that OpenCV reads.

    Returns:
        uint8 RGB [height, width, 3].

    Raises:
        BadImage: no image, a damaged one, or one of another depth than 8 or 16 bits.
    """
    if not encoded:
        raise BadImage("the file is empty")
    buffer = np.frombuffer(encoded, np.uint8)
    try:
        if encoded.startswith(JPEG):
            image = cv2.imdecode(buffer, cv2.IMREAD_COLOR)
            orientation = 1
        else:
            # Only IMREAD_UNCHANGED keeps transparency; it leaves the orientation of all formats but TIFF to us.
            image, kinds, metadata = cv2.imdecodeWithMetadata(buffer, cv2.IMREAD_UNCHANGED)
            blocks = [block for kind, block in zip(kinds, metadata, strict=True) if kind == cv2.IMAGE_METADATA_EXIF]
            orientation = exif_orientation(np.asarray(blocks[0]).tobytes()) if blocks else 1
    except cv2.error as error:
        raise BadImage(f"it cannot be decoded ({error.err or error})") from error
    if image is None:
        raise BadImage("it is no image, or a damaged one")
    if image.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"its pixels are {image.dtype}; 8- and 16-bit images are read")
    # 8-bit TIFF comes with the colours multiplied by the transparency already.
    composited = encoded.startswith(TIFF) and image.dtype == np.uint8
    return _oriented(_to_rgb(_to_bytes(image), composited), orientation)


def exif_orientation(block: bytes) -> int:
    """The orientation, 1 to 8, that a block of EXIF data tells; 1 (as stored) where it tells none."""
    block = block.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(order + "HHIH", block, start + 2 + 12 * entry)
            if tag == ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # a truncated block
        return 1
    return 1


def _to_bytes(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return image


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
    raise BadImage(f"it has {channels} channels; 1, 3 or 4 are read")


def _oriented(picture: np.ndarray, orientation: int) -> np.ndarray:
    """Turns a stored picture upright. Orientations 5 to 8 are 4, 1 (mirrored), 2, 3 of the transposed picture."""
    if orientation >= 5:
        picture = picture.transpose(1, 0, 2)
        orientation = {5: 1, 6: 2, 7: 3, 8: 4}[orientation]
    if orientation in (2, 3):
        picture = picture[:, ::-1]
    if orientation in (3, 4):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)
