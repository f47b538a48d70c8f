"""The norm of a pose and the squash non-linearity, with gradients that are finite at zero."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcaps.functional.precision import at_least_float32


def safe_norm(x: Float[Array, "..."], axis: int = -1, keepdims: bool = False) -> Float[Array, "..."]:
    """Euclidean norm along an axis, whose gradient at the zero vector is zero instead of NaN.

    Exact away from zero: no epsilon is added, which would bias short vectors. The two `where` matter: with only the
    outer one the infinite slope of the root at zero still reaches the gradient, as 0 * inf.

    Args:
        x: real array; computed in at least float32.
        axis: the axis to reduce.
        keepdims: keep the reduced axis with length 1.

    Returns:
        The norms, in the dtype of `x`. Vectors whose squared norm underflows count as zero.
    """
    wide = at_least_float32(x)
    squared = jnp.sum(jnp.square(wide), axis=axis, keepdims=keepdims)
    nonzero = squared > 0
    root = jnp.sqrt(jnp.where(nonzero, squared, 1))
    return jnp.where(nonzero, root, 0).astype(x.dtype)


def squash(vectors: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """Shrinks vectors to a norm below 1 and keeps their direction (Sabour et al. 2017, equation 1).

    With n the norm of s, v = n^2 / (1 + n^2) * s / n, written s * n / (1 + n^2) so that nothing is divided by n. A
    vector of norm 1 gets norm 0.5; the zero vector stays zero, with a zero gradient.

    Args:
        vectors: real array; computed in at least float32.
        axis: the axis along which a vector lies.

    Returns:
        The squashed vectors, in the shape and dtype of `vectors`.
    """
    wide = at_least_float32(vectors)
    squared = jnp.sum(jnp.square(wide), axis=axis, keepdims=True)
    nonzero = squared > 0
    root = jnp.sqrt(jnp.where(nonzero, squared, 1))
    # Zero by an infinite divisor, and the division last: other orders make XLA recompute the derivative of the squash
    # for every vote instead of every pose, and dynamic routing's backward pass 1.5 to 2 times as slow on a CPU.
    return (wide * root / jnp.where(nonzero, 1 + squared, jnp.inf)).astype(vectors.dtype)


def exponential_squash(vectors: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
    """Shrinks vectors to a norm below 1 by (1 - exp(-n)) s / n, n the norm of s (Mazzia et al. 2021, equation 7).

    Steeper near zero than `squash`, where it is the identity, so that short vectors keep a gradient. A vector of norm 1
    gets norm 1 - 1/e = 0.632.

    Args, returns: as `squash`.
    """
    wide = at_least_float32(vectors)
    norm = safe_norm(wide, axis=axis, keepdims=True)
    nonzero = norm > 0
    safe = jnp.where(nonzero, norm, 1)
    return (wide * jnp.where(nonzero, -jnp.expm1(-safe) / safe, 1)).astype(vectors.dtype)
