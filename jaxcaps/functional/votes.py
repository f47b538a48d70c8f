"""Votes: the poses that in capsules predict for out capsules."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def dense_votes(
    weights: Float[Array, "in out dim_out dim_in"], poses: Float[Array, "in dim_in"]
) -> Float[Array, "in out dim_out"]:
    """Votes of fully connected capsules, u_hat_ij = W_ij u_i (Sabour et al. 2017, equation 2).

    Mapped over a batch this becomes the product whose output is [batch, in, out, dim], the layout that the CPU
    computes fastest.

    Args:
        weights: a matrix for each pair of an in and an out capsule.
        poses: poses of the in capsules, in the dtype of the weights.

    Returns:
        The votes, in the dtype of the arguments.
    """
    return jnp.einsum("ijdk,ik->ijd", weights, poses)
