"""Histograms of the channels of pictures: int64 [3, 256], how many pixels have each value. Those of a set add up."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

CHANNELS = 3
LEVELS = 256


def histogram(image: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Counts the pixels of a picture, uint8 [height, width, 3], where `mask` (bool [height, width]) is True."""
    pixels = image.reshape(-1, CHANNELS) if mask is None else image[mask]
    return np.stack([np.bincount(pixels[:, channel], minlength=LEVELS) for channel in range(CHANNELS)])


def has_two_levels(image: np.ndarray) -> bool:
    """Whether nearly all pixels have one of two distant grey levels, as in a mask.

    Of 1,829 real pictures (ultrasound, blood cells, endoscopy) none has; masks saved as JPEG or made smaller have.

    Args:
        image: uint8 RGB [height, width, 3].
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    # Sixteen coarse levels, so that noise of compression does not matter.
    counts = np.bincount(grey.ravel() // 16, minlength=16)
    first, second = np.sort(np.argsort(counts)[-2:])
    return bool(
        counts[[first, second]].sum() >= 0.98 * grey.size and counts[[first, second]].min() and second - first > 2
    )


def moments(image: np.ndarray) -> list[list[int]]:
    """For each channel of uint8 RGB [height, width, 3]: number of pixels, sum, and sum of squares."""
    powers = np.arange(LEVELS)[:, None] ** np.arange(3)
    result: list[list[int]] = (histogram(image) @ powers).tolist()
    return result


def mean_and_deviation(moments: Iterable[Sequence[Sequence[int]]]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation (of the population) of each channel over all pixels; black is 0, white is 1.

    Args:
        moments: of each picture, at least one. Any number of pixels is counted exactly.
    """
    # Python integers neither round nor overflow. A difference of floats would lose its digits on large sets.
    sums = np.array(list(moments), dtype=object).sum(axis=0).tolist()
    mean = [total / (255 * pixels) for pixels, total, _ in sums]
    return mean, [(pixels * squares - total**2) ** 0.5 / (255 * pixels) for pixels, total, squares in sums]
