"""The colours of a split: whether it has any, and how often each bin of colours occurs."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxcaps.data.dataset import Split
from jaxcaps.errors import UnsuitableTask
from jaxcaps.functional import ab_bins, lab_from_rgb, nearest_bin

# How many pictures, spread over the split, are read: enough to estimate frequencies.
MOST_PICTURES = 2000
# A pixel is coloured if its channels are further apart than this. JPEG changes grey pictures by a few levels, the tint
# of a camera by up to ten. In photographs of pale blood cells at least 4% of the pixels exceed it.
COLOURED = 16
# A picture with a smaller share of coloured pixels may still have a coloured marker or scale, as in grey ultrasound.
COLOURFUL = 0.02
# A set with a smaller share of colourful pictures does not teach colour.
LEAST_COLOURFUL = 0.1


def check_colourful(split: Split, data: str) -> str:
    """Refuses grey pictures, whether or not they have three channels.

    Args:
        split: the training pictures.
        data: what `--data` says, for errors.

    Returns:
        A sentence for the log.

    Raises:
        UnsuitableTask: fewer than a tenth of the pictures are colourful.
    """
    colourful = count = 0
    for picture in _spread(split):
        apart = picture.max(axis=-1).astype(np.int16) - picture.min(axis=-1)
        colourful += bool(np.mean(apart > COLOURED) > COLOURFUL)
        count += 1
    found = f"{colourful} of {count} training pictures are colourful"
    if colourful < LEAST_COLOURFUL * count:
        raise UnsuitableTask(
            f"--task=colourise learns colours, but --data={data} is grey: {found} (in more than {COLOURFUL:.0%} of "
            f"their pixels, channels are more than {COLOURED} of 255 apart). For grey pictures take --task=inpaint"
        )
    return f"Colour: {found}."


def bin_counts(split: Split) -> np.ndarray:
    """How many pixels of the training pictures fall into each bin of `ab_bins`: int64 [bins]."""
    numbers = jax.jit(lambda picture: nearest_bin(lab_from_rgb(picture.astype(jnp.float32) / 255)[..., 1:]))
    counts = np.zeros(len(ab_bins().centres), np.int64)
    for picture in _spread(split):
        counts += np.bincount(np.asarray(numbers(picture)).ravel(), minlength=len(counts))
    return counts


def _spread(split: Split) -> Iterator[np.ndarray]:
    """All pictures of the split, or `MOST_PICTURES` evenly spaced ones."""
    shown = np.linspace(0, len(split) - 1, min(len(split), MOST_PICTURES)).round().astype(int)
    return (split.read(int(index)) for index in shown)
