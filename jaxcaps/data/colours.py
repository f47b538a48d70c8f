"""The colours of a split: a check that it has any, and the frequency of each colour bin."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxcaps.data.dataset import Split
from jaxcaps.data.sampling import evenly_spaced
from jaxcaps.errors import UnsuitableTask
from jaxcaps.functional import ab_bins, lab_from_rgb, nearest_bin

# The maximum number of pictures to read, evenly spaced over the split: enough to estimate frequencies.
MOST_PICTURES = 2000
# A pixel is coloured if its channels differ by more than this. JPEG shifts the channels of grey pictures by a few
# levels, the tint of a camera by up to ten. In photographs of pale blood cells, at least 4% of the pixels exceed it.
COLOURED = 16
# A picture is colourful above this share of coloured pixels. Grey ultrasound may have a coloured marker or scale.
COLOURFUL = 0.02
# A data set with a smaller share of colourful pictures is not suitable for learning colour.
LEAST_COLOURFUL = 0.1


def is_colourful(picture: np.ndarray) -> bool:
    """Whether a picture, uint8 RGB [height, width, 3], has more than a few coloured pixels."""
    apart = picture.max(axis=-1).astype(np.int16) - picture.min(axis=-1)
    return bool(np.mean(apart > COLOURED) > COLOURFUL)


def check_colourful(split: Split, data: str) -> str:
    """Checks that a split is colourful. Grey pictures with three equal channels are not.

    Args:
        split: the training pictures.
        data: the value of `--data`, for errors.

    Returns:
        A sentence for the log.

    Raises:
        UnsuitableTask: fewer than a tenth of the pictures are colourful.
    """
    colourful = count = 0
    for picture in _spread(split):
        colourful += is_colourful(picture)
        count += 1
    found = f"{colourful} of {count} training pictures are colourful"
    if colourful < LEAST_COLOURFUL * count:
        raise UnsuitableTask(
            f"--task=colourise learns colours, but --data={data} is grey: {found} (more than {COLOURFUL:.0%} of their "
            f"pixels have channels that differ by more than {COLOURED} of 255). For grey pictures, use --task=inpaint"
        )
    return f"Colour: {found}."


def bin_counts(split: Split) -> np.ndarray:
    """The number of training pixels in each bin of `ab_bins`: int64 [bins]."""
    numbers = jax.jit(lambda picture: nearest_bin(lab_from_rgb(picture.astype(jnp.float32) / 255)[..., 1:]))
    counts = np.zeros(len(ab_bins().centres), np.int64)
    for picture in _spread(split):
        counts += np.bincount(np.asarray(numbers(picture)).ravel(), minlength=len(counts))
    return counts


def _spread(split: Split) -> Iterator[np.ndarray]:
    """All pictures of the split, or `MOST_PICTURES` evenly spaced ones."""
    return (split.read(int(index)) for index in evenly_spaced(len(split), MOST_PICTURES))
