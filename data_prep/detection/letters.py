"""What may be letters: small bright parts of a letter's height, and dark ones on overexposed ground.

Most are none: highlights are as small and as bright. `text.py` tells them apart.
"""

import cv2
import numpy as np

from data_prep.images.channels import smallest_channel

SMALLEST_LETTER, LARGEST_LETTER = 0.012, 0.042
"""Heights of letters, of the picture's shorter side."""

FEWEST_PIXELS = 6
"""Height of the smallest letters that can be told from noise."""

THIN, WIDE = 0.014, 0.03
"""What is brighter than its surroundings at two widths, of the shorter side: strokes, and filled cells."""

CONTRASTS = (9, 14, 24, 40, 64, 110)
"""Of letters over their background: strong ones run into their neighbours at a low threshold, faint ones are missed at
a high one. So all are tried."""

OVEREXPOSED = 200
DARKER = (6, 10, 16, 30)
"""On an overexposed background the smallest channel of a letter is darker than it."""


def small_bright_parts(image: np.ndarray, width: float) -> np.ndarray:
    """How far each pixel is brighter than its surroundings, in its smallest channel: uint8 [height, width].

    Args:
        image: uint8 RGB [height, width, 3].
        width: of the largest part that counts, of the picture's shorter side.
    """
    smallest = smallest_channel(image)
    kernel = _square(width, smallest.shape)
    return cv2.morphologyEx(smallest, cv2.MORPH_TOPHAT, kernel, borderType=cv2.BORDER_REFLECT)


def _square(width: float, shape: tuple[int, ...]) -> np.ndarray:
    side = max(3, 2 * int(width * min(shape) / 2) + 1)
    return np.ones((side, side), np.uint8)


def find_letters(image: np.ndarray) -> list[np.ndarray]:
    """What may be letters, by kind and threshold.

    Args:
        image: uint8 RGB [height, width, 3].

    Returns:
        For each threshold int64 [n, 4]: top, bottom, left and right in half-open pixels.
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
            # Whatever the picture's edge cuts ends in line there.
            possible &= (top > 0) & (top + height < smallest.shape[0])
            boxes.append(np.stack([top, top + height, left, left + width], axis=1)[possible])
    # On white the contrast of one word's letters varies too much for one threshold.
    boxes.append(np.concatenate(boxes[-len(DARKER) :]))
    return boxes
