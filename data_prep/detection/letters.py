"""Candidates for letters: small bright parts of the height of a letter, and dark parts on overexposed ground.

Most of them are not letters: highlights are as small and as bright. `text.py` distinguishes them.
"""

import cv2
import numpy as np

from data_prep.images.channels import smallest_channel

SMALLEST_LETTER, LARGEST_LETTER = 0.012, 0.042
"""Heights of letters, of the shorter side of the picture."""

FEWEST_PIXELS = 6
"""Height of the smallest letters that can be distinguished from noise."""

THIN, WIDE = 0.014, 0.03
"""Widths of parts that are brighter than their surroundings, of the shorter side: strokes, and filled cells."""

CONTRASTS = (9, 14, 24, 40, 64, 110)
"""Of letters against their background. All are tried: strong letters merge with their neighbours at a low threshold,
and faint ones are missed at a high one."""

OVEREXPOSED = 200
DARKER = (6, 10, 16, 30)
"""How much darker the smallest channel of a letter is than its overexposed background."""


def small_bright_parts(image: np.ndarray, width: float) -> np.ndarray:
    """How much brighter each pixel is than its surroundings, in its smallest channel: uint8 [height, width].

    Args:
        image: uint8 RGB [height, width, 3].
        width: of the largest part that counts, of the shorter side of the picture.
    """
    smallest = smallest_channel(image)
    kernel = _square(width, smallest.shape)
    return cv2.morphologyEx(smallest, cv2.MORPH_TOPHAT, kernel, borderType=cv2.BORDER_REFLECT)


def _square(width: float, shape: tuple[int, ...]) -> np.ndarray:
    side = max(3, 2 * int(width * min(shape) / 2) + 1)
    return np.ones((side, side), np.uint8)


def find_letters(image: np.ndarray) -> list[np.ndarray]:
    """The candidates for letters, by kind and threshold.

    Args:
        image: uint8 RGB [height, width, 3].

    Returns:
        For each threshold int64 [n, 4]: top, bottom, left and right, half-open.
    """
    smallest = smallest_channel(image)
    shorter = min(smallest.shape)
    least, most = max(FEWEST_PIXELS, SMALLEST_LETTER * shorter), LARGEST_LETTER * shorter
    thin, wide = small_bright_parts(image, THIN), small_bright_parts(image, WIDE)
    closed = cv2.morphologyEx(smallest, cv2.MORPH_CLOSE, _square(THIN, smallest.shape))
    dark = np.where(closed > OVEREXPOSED, closed - smallest, 0).astype(np.uint8)
    boxes = []
    for strength, thresholds in ((thin, CONTRASTS), (wide, CONTRASTS), (dark, DARKER)):
        for threshold in thresholds:
            above = cv2.threshold(strength, threshold, 1, cv2.THRESH_BINARY)[1]
            parts = cv2.connectedComponentsWithStats(above)[2][1:]
            left, top, width, height = (parts[:, column].astype(np.int64) for column in range(4))
            possible = (height >= least) & (height <= most) & (width <= 6 * height)
            # Everything that the edge of the picture cuts is in line there.
            possible &= (top > 0) & (top + height < smallest.shape[0])
            boxes.append(np.stack([top, top + height, left, left + width], axis=1)[possible])
    # On white, the contrast varies too much within a word for one threshold.
    boxes.append(np.concatenate(boxes[-len(DARKER) :]))
    return boxes
