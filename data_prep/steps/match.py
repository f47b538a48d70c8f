"""Histogram matching: each channel takes the distribution of a reference.

The study matches white light towards narrow band. Its reference here is the sum of the histograms of all training
frames of the wanted modality, never one picture: one picture's lesion would colour the whole set.
"""

import json
from pathlib import Path

import cv2
import numpy as np

CHANNELS = 3
LEVELS = 256


class ReferenceHistogram:
    """How many pixels have each value, by channel: `counts`, int64 [3, 256]."""

    def __init__(self, counts: np.ndarray | None = None) -> None:
        self.counts = np.zeros((CHANNELS, LEVELS), np.int64) if counts is None else counts.astype(np.int64)

    def add(self, image: np.ndarray, mask: np.ndarray | None = None) -> None:
        """Counts the pixels of a picture, uint8 [height, width, 3], where `mask` (bool [height, width]) is True."""
        self.counts += _counts(image, mask)

    def merge(self, other: "ReferenceHistogram") -> None:
        """Adds another's counts: the histograms of a set's parts, made by several processes, are the set's."""
        self.counts += other.counts

    def save(self, path: Path) -> None:
        """Writes JSON, readable by eye and by other programs."""
        path.write_text(json.dumps({"counts": self.counts.tolist()}), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "ReferenceHistogram":
        """Reads what `save` wrote.

        Raises:
            ValueError: the file holds something else.
        """
        try:
            counts = np.array(json.loads(path.read_text(encoding="utf-8"))["counts"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no reference histogram: {error}") from error
        whole_numbers = counts.dtype.kind in "iu" and counts.shape == (CHANNELS, LEVELS) and counts.min() >= 0
        if not whole_numbers:
            raise ValueError(f"{path} is no reference histogram: expected 3 lists of 256 counts, whole numbers from 0")
        return cls(counts)


def match_histogram(image: np.ndarray, reference: ReferenceHistogram, mask: np.ndarray | None = None) -> np.ndarray:
    """Gives each channel the reference's distribution, by looking each value's rank up in it.

    A value whose share of pixels at or below it is q becomes the reference's q-quantile, interpolated linearly between
    the values that occur there and truncated to an integer. All this is scikit-image's `match_histograms`, to the last
    bit where the reference is one picture, but for 255. That value is not one brightness: the sensor cut off all that
    was brighter. By the rule for the others it has rank 1 and becomes the reference's very brightest value, its
    highlights'; so a red wall whose red is overexposed would stay red in a picture turned green. 255 takes the middle
    of the ranks that its pixels share.

    Args:
        image: uint8 RGB [height, width, 3].
        reference: with at least one pixel.
        mask: bool [height, width]: the pixels that are counted and changed; the others stay as they are.

    Returns:
        uint8 RGB of the same shape.

    Raises:
        ValueError: the reference is empty.
    """
    if not reference.counts.any(axis=1).all():
        raise ValueError("the reference histogram is empty: add the training frames to it first")
    counts = _counts(image, mask)
    if not counts.any():
        return image.copy()
    tables = np.empty((LEVELS, CHANNELS), np.uint8)
    for channel in range(CHANNELS):
        ranks = np.cumsum(counts[channel]) / counts[channel].sum()
        ranks[-1] = (ranks[-2] + ranks[-1]) / 2
        values = np.flatnonzero(reference.counts[channel])
        quantiles = np.cumsum(reference.counts[channel][values]) / reference.counts[channel].sum()
        tables[:, channel] = np.interp(ranks, quantiles, values).astype(np.uint8)
    matched = cv2.LUT(image, tables.reshape(1, LEVELS, CHANNELS))
    return matched if mask is None else np.where(mask[..., None], matched, image)


def _counts(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    pixels = image.reshape(-1, CHANNELS) if mask is None else image[mask]
    return np.stack([np.bincount(pixels[:, channel], minlength=LEVELS) for channel in range(CHANNELS)])
