"""Histogram matching: each channel takes the distribution of a reference.

The study matches white light to narrow band. The reference is the sum of the histograms of all training frames of that
modality, never one picture: the lesion in one picture would colour the whole set.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.images.histogram import CHANNELS, LEVELS, histogram
from data_prep.sources.listing import MODALITIES, Modality
from data_prep.steps.step import Fit, Options, Phase, Step


@dataclass(frozen=True)
class Match(Options):
    match: bool = False
    """match the colour histograms of one modality to those of the training frames of the other"""
    match_to: Modality = "NBI"
    """the modality that frames of the other one are matched to"""


def match_histogram(image: np.ndarray, reference: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Gives each channel the distribution of the reference, by looking up the rank of each value in it.

    A value whose share of pixels at or below it is q becomes the q-quantile of the reference, interpolated linearly
    between the values that occur there and truncated to an integer. This is scikit-image's `match_histograms`, to the
    last bit if the reference is one picture, except for 255. That value is not one brightness: the sensor cut off
    everything brighter. By the usual rule it has rank 1 and becomes the brightest value of the reference, that of its
    highlights: a red wall with overexposed red would stay red in a picture turned green. Here 255 takes the middle of
    the ranks that its pixels share.

    Args:
        image: uint8 RGB [height, width, 3].
        reference: int64 [3, 256], the wanted histogram, of at least one pixel.
        mask: bool [height, width], the pixels that are counted and changed; the others keep their values.

    Returns:
        uint8 RGB of the same shape.
    """
    counts = histogram(image, mask)
    if not counts.any():
        return image.copy()
    tables = np.empty((LEVELS, CHANNELS), np.uint8)
    for channel in range(CHANNELS):
        ranks = np.cumsum(counts[channel]) / counts[channel].sum()
        ranks[-1] = (ranks[-2] + ranks[-1]) / 2
        values = np.flatnonzero(reference[channel])
        quantiles = np.cumsum(reference[channel][values]) / reference[channel].sum()
        tables[:, channel] = np.interp(ranks, quantiles, values).astype(np.uint8)
    matched = cv2.LUT(image, tables.reshape(1, LEVELS, CHANNELS))
    return matched if mask is None else np.where(mask[..., None], matched, image)


STEP = Step(
    Match,
    title="histogram matching",
    phase=Phase.AFTER_FIT,
    order=10,
    fit=Fit(
        learns_from=lambda options: options.match_to,
        changes=lambda options: frozenset(MODALITIES) - {options.match_to},
        apply=lambda image, findings, reference: match_histogram(image, reference, findings.view),
    ),
    keeps_outside=True,
    line=lambda options, outcome: (
        f"not done: no training frame is {options.match_to}"
        if outcome.reference is None
        else f"{len(outcome.matched)} frames to the sum of {outcome.fitted_on} training frames of {options.match_to}"
    ),
)
