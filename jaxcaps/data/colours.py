"""The colours of a split: whether there are any, and how often each bin of colours occurs."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxcaps.data.dataset import Split
from jaxcaps.errors import UnsuitableTask
from jaxcaps.functional import ab_bins, lab_from_rgb, nearest_bin

# Pictures looked at, spread over the split: enough to know frequencies by, and a large set is not read twice.
MOST_PICTURES = 2000
# Channels further apart than this make a pixel coloured: JPEG's rounding of grey pictures stays within a few levels, a
# tint of the camera within ten. In colour photographs of pale blood cells 4% of a picture's pixels and more exceed it.
COLOURED = 16
# A picture with fewer coloured pixels has at most a marker or a scale in colour, as grey ultrasound often has.
COLOURFUL = 0.02
# A set with a smaller share of colourful pictures teaches no colour.
LEAST_COLOURFUL = 0.1


def check_colourful(split: Split, data: str) -> str:
    """Refuses pictures that are grey, whether or not they have three channels.

    Args:
        split: the training pictures.
        data: what `--data` says, for the error.

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
            f"--task=colourise learns colours, but --data={data} is grey: {found} (more than {COLOURFUL:.0%} of the "
            f"pixels with channels more than {COLOURED} of 255 apart). --task=inpaint suits grey pictures"
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
    """All pictures of the split, or `MOST_PICTURES` at even distances."""
    shown = np.linspace(0, len(split) - 1, min(len(split), MOST_PICTURES)).round().astype(int)
    return (split.read(int(index)) for index in shown)
