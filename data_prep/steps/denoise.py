"""Noise of the sensor and the JPEG's blocks, smoothed by the study's Gaussian blur."""

import cv2
import numpy as np

SIGMA = 1.0
"""We chose it: the study names the blur and no width. In frames 500 pixels high it takes noise and the lines between
video fields, and leaves vessels and pits (3 pixels and wider)."""


def denoise(image: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """A Gaussian blur; beyond its edges the picture is mirrored.

    Args:
        image: uint8 RGB [height, width, 3].
        sigma: standard deviation in pixels, above 0. It belongs to the raw picture: this step comes before the resize.

    Returns:
        uint8 RGB of the same shape.

    Raises:
        ValueError: `sigma` is not a positive number.
    """
    if not 0 < sigma < np.inf:
        raise ValueError(f"sigma is {sigma}, expected a number of pixels above 0")
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
