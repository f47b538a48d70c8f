"""The table of contents of a drawn set: the lesion, class and light of each frame."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

CLASSES = ("adenocarcinoma", "adenoma", "hyperplastic")
SHARES = (0.12, 0.60, 0.28)
"""Of the frames, about as in colonoscopy practice: imbalanced, with the most serious class the rarest."""

FEWEST_FRAMES, MOST_FRAMES = 3, 6
"""Of one lesion."""

NARROW_BAND_SHARE = 0.38
"""1,302 of the 3,433 frames of PICCOLO (Sanchez-Peralta et al. 2020) are narrow-band."""


class Description(NamedTuple):
    """What a frame shows."""

    label: str
    """One of `CLASSES`."""
    group: str
    """The lesion, such as "lesion017". All its frames belong to one split."""
    modality: str
    """ "white-light" or "narrow-band"."""


def describe(count: int, seed: int) -> list[Description]:
    """The descriptions of the frames of a set, without drawing them.

    Every lesion has 3-6 consecutive frames. In sets of 27 frames and more each class has at least three lesions, so
    that a split that keeps lesions together can give every class to each of three parts. Below about 75 frames this
    raises the share of the rarest class (0.15 of 60 frames instead of 0.12).

    Args:
        count: how many frames the set has, at least 9.
        seed: at least 0.

    Returns:
        `count` descriptions; the i-th is that of frame i of `draw`.

    Raises:
        ValueError: `count` or `seed` is too small.
    """
    return list(contents(count, seed))


@lru_cache(maxsize=8)
def contents(count: int, seed: int) -> tuple[Description, ...]:
    """`describe` with a cache: drawing a frame looks up its description."""
    fewest = FEWEST_FRAMES * len(CLASSES)
    if count < fewest:
        raise ValueError(f"count is {count}, expected at least {fewest}: a lesion of {FEWEST_FRAMES} frames per class")
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected at least 0")
    rng = np.random.default_rng((seed, count))
    lesions = [
        (label, frames)
        for label, total in zip(CLASSES, _frames_per_class(count), strict=True)
        for frames in _frames_per_lesion(total, rng)
    ]
    digits = max(3, len(str(len(lesions) - 1)))
    rows = []
    for number, place in enumerate(rng.permutation(len(lesions))):
        label, frames = lesions[place]
        lesion_is_narrow_band = rng.random() < NARROW_BAND_SHARE
        for _ in range(frames):
            # Endoscopists look at most lesions under one light, and sometimes switch to the other.
            narrow_band = rng.random() < NARROW_BAND_SHARE if rng.random() < 0.4 else lesion_is_narrow_band
            modality = "narrow-band" if narrow_band else "white-light"
            rows.append(Description(label, f"lesion{number:0{digits}d}", modality))
    return tuple(rows)


def _frames_per_class(count: int) -> list[int]:
    lesions_at_least = min(3, count // (FEWEST_FRAMES * len(CLASSES)))
    at_least = FEWEST_FRAMES * lesions_at_least
    rarest = max(at_least, round(SHARES[0] * count))
    hyperplastic = max(at_least, round((count - rarest) * SHARES[2] / (SHARES[1] + SHARES[2])))
    return [rarest, count - rarest - hyperplastic, hyperplastic]


def _frames_per_lesion(total: int, rng: np.random.Generator) -> list[int]:
    """Divides `total` (at least 3) frames into lesions of 3-6; into at least three lesions from 9 frames on."""
    lesions = max(round(total / 4.5), min(3, total // FEWEST_FRAMES), -(-total // MOST_FRAMES))
    room = MOST_FRAMES - FEWEST_FRAMES
    extra = rng.permutation(lesions * room)[: total - lesions * FEWEST_FRAMES] // room
    return list(FEWEST_FRAMES + np.bincount(extra, minlength=lesions))
