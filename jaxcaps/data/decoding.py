"""Decodes image files to uint8 RGB (with `data_prep.images.decoding`), and resizes pictures to the model's square."""

import cv2
import numpy as np

from data_prep.images.decoding import BadImage, decode, prepare_opencv

__all__ = ["BadImage", "decode", "prepare_opencv", "to_square"]


def to_square(picture: np.ndarray, size: int, channels: int = 3) -> np.ndarray:
    """Resizes a picture to a square: by area if a side shrinks, linearly if it grows. The aspect ratio is not kept.

    Args:
        picture: uint8 RGB [height, width, 3].
        size: side of the square.
        channels: 3 for RGB, or 1 for grey: the luma of ITU-R BT.601, which leaves grey pixels unchanged.

    Returns:
        uint8 [size, size, channels].
    """
    if channels == 1:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = picture.shape[:2]
    if height > size or width > size:
        picture = cv2.resize(picture, (min(width, size), min(height, size)), interpolation=cv2.INTER_AREA)
    if picture.shape[:2] != (size, size):
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    return picture.reshape(size, size, channels)
