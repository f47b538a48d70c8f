"""Histograms of the channels of many pictures."""

import numpy as np

CHANNELS = 3
LEVELS = 256


class ReferenceHistogram:
    """How many pixels have each value, by channel: `counts`, int64 [3, 256]."""

    def __init__(self, counts: np.ndarray | None = None) -> None:
        self.counts = np.zeros((CHANNELS, LEVELS), np.int64) if counts is None else counts.astype(np.int64)

    def add(self, image: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Counts the pixels of a picture, uint8 [height, width, 3], where `mask` (bool [height, width]) is True."""
        pixels = image.reshape(-1, CHANNELS) if mask is None else image[mask]
        for channel in range(CHANNELS):
            self.counts[channel] += np.bincount(pixels[:, channel], minlength=LEVELS)
