"""Random views of one picture, and what they are made of.

A file that defines `AUGMENTATION` is an augmentation, and its name that of `--augmentation`: a function
`(key, picture, *, size, **settings)` from a picture in [0, 1] to a view [size, size, channels], with the settings of
`jaxcaps.config.AugmentationConfig`. All random numbers are drawn in float32, so that a key makes the same view at every
precision.
"""

from collections.abc import Callable

from jaxtyping import Array

from data_prep.registry import Registry
from jaxcaps.functional.augment.geometry import (
    affine_matrix,
    into_oversampled,
    inverse_affine,
    oversampling,
    shrink,
    warp,
)
from jaxcaps.functional.augment.photometry import adjust_colour, colour_jitter, gaussian_blur
from jaxcaps.functional.augment.standard import augment

AUGMENTATIONS: Registry[Callable[..., Array]] = Registry(
    "jaxcaps.functional.augment", "AUGMENTATION", what="augmentation"
)

__all__ = [
    "AUGMENTATIONS",
    "adjust_colour",
    "affine_matrix",
    "augment",
    "colour_jitter",
    "gaussian_blur",
    "into_oversampled",
    "inverse_affine",
    "oversampling",
    "shrink",
    "warp",
]
