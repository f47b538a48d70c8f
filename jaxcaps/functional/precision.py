"""The precision of fragile arithmetic: norms, softmax, logarithms, variances, losses."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Widens half precisions to float32 and leaves float64 alone.

    `jnp.promote_types` would do the same, but raises under strict dtype promotion.
    """
    return x if x.dtype.itemsize >= 4 else x.astype(jnp.float32)


# Mass below which an out capsule counts as having received nothing. Chosen so that the gradient of a share, the inverse
# of the mass, stays far from float32's largest number.
LEAST_MASS = 1e-12
