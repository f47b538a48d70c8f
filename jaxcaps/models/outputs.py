"""All that a classifier says of a picture, from one forward pass."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcaps.functional import at_least_float32


class Outputs(NamedTuple):
    """The outputs of a classifier, each at least float32.

    Attributes:
        logits: their softmax gives the probabilities. For a network of capsules, the activations times a scale.
        features: of the encoder, averaged over the places of the picture.
        errors: mean squared error of the reconstruction from the capsule of the predicted class; None without decoder.
    """

    logits: Float[Array, "batch classes"]
    features: Float[Array, "batch features"]
    errors: Float[Array, "batch"] | None


def pooled(features: Float[Array, "batch ..."], width: int) -> Float[Array, "batch {width}"]:
    """Averages features over places. The last `width` values of each place belong together."""
    return jnp.mean(at_least_float32(features.reshape(features.shape[0], -1, width)), axis=1)
