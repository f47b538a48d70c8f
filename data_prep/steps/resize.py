"""To the size that training reads, without distortion."""

from typing import Literal, get_args

import cv2
import numpy as np

Fit = Literal["pad", "crop", "shorter", "none"]
FITS: tuple[Fit, ...] = get_args(Fit)


def resize(image: np.ndarray, size: int, fit: Fit = "pad") -> np.ndarray:
    """Resizes a picture and keeps its aspect ratio: by area where it shrinks, by cubic interpolation where it grows.

    Args:
        image: uint8 RGB [height, width, 3].
        size: of the wanted square's sides (of "shorter": of the shorter side), at least 1.
        fit: "pad": the whole picture centred on a black square of `size`; "crop": the centre that fills the square;
            "shorter": the whole picture, its shorter side `size`; "none": the picture as it is.

    Returns:
        uint8 RGB [size, size, 3] for "pad" and "crop", [height', width', 3] for the others.

    Raises:
        ValueError: `size` or `fit` is none of these.
    """
    if fit not in FITS:
        raise ValueError(f"fit is {fit!r}, expected one of {', '.join(FITS)}")
    if size < 1:
        raise ValueError(f"size is {size}, expected at least 1")
    height, width = image.shape[:2]
    if fit == "none":
        return image.copy()
    if fit == "pad":
        scaled = _to(image, *_scaled(height, width, size / max(height, width)))
        canvas = np.zeros((size, size, 3), np.uint8)
        top, left = (size - scaled.shape[0]) // 2, (size - scaled.shape[1]) // 2
        canvas[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
        return canvas
    if fit == "crop":
        # The square is cut out first: a strip 20,000 pixels long is never enlarged as a whole.
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return _to(image[top : top + side, left : left + side], size, size)
    return _to(image, *_scaled(height, width, size / min(height, width)))


def _scaled(height: int, width: int, factor: float) -> tuple[int, int]:
    return max(1, round(height * factor)), max(1, round(width * factor))


def _to(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image.copy()
    shrinks = height < image.shape[0] or width < image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=interpolation)
