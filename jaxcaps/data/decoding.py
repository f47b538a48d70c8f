"""Image files to uint8 RGB (`data_prep.images.decoding` does that), and pictures to the model's square."""

import cv2
import numpy as np

from data_prep.images.decoding import BadImage, decode, prepare_opencv

__all__ = ["BadImage", "decode", "prepare_opencv", "to_square"]


def to_square(picture: np.ndarray, size: int) -> np.ndarray:
    """Resizes [height, width, 3] to [size, size, 3]: by area where a side shrinks, linearly where it grows.

    The aspect ratio goes, every pixel stays in view.
    """
    height, width = picture.shape[:2]
    if height > size or width > size:
        picture = cv2.resize(picture, (min(width, size), min(height, size)), interpolation=cv2.INTER_AREA)
    if picture.shape[:2] != (size, size):
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_LINEAR)
    return picture
