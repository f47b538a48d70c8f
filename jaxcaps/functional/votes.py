"""Votes: the poses that in capsules predict for out capsules."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcaps.functional.patches import extract_patches

# A pose transformed by a matrix: as a vector, W u, or itself a square matrix, M W.
Transform = Literal["vector", "matrix"]


def _check_poses(weights: Array, poses: Array, shape: tuple[int, ...], axes: str) -> None:
    if poses.shape != shape:
        raise ValueError(
            f"poses: shape {list(shape)} ({axes}) expected for weights of shape {list(weights.shape)}, "
            f"found {list(poses.shape)}"
        )
    if poses.dtype != weights.dtype:
        raise ValueError(f"poses: {weights.dtype} expected, as the weights are, found {poses.dtype}")


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

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    if weights.ndim != 4:
        raise ValueError(f"weights: shape [in, out, dim_out, dim_in] expected, found {list(weights.shape)}")
    _check_poses(weights, poses, (weights.shape[0], weights.shape[3]), "in dim_in")
    return jnp.einsum("ijdk,ik->ijd", weights, poses)


def matrix_votes(
    weights: Float[Array, "in out side side"], poses: Float[Array, "in side_squared"]
) -> Float[Array, "in out side_squared"]:
    """Votes of capsules whose poses are square matrices, V_ij = M_i W_ij (Hinton et al. 2018, section 2).

    A pose of 16 numbers, a 4x4 matrix in rows, takes 16 weights for each pair instead of 256.

    Args:
        weights: a matrix for each pair of an in and an out capsule.
        poses: the matrices M_i, flattened by rows, in the dtype of the weights.

    Returns:
        The products, flattened by rows, in the dtype of the arguments.

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    if weights.ndim != 4 or weights.shape[2] != weights.shape[3]:
        raise ValueError(f"weights: shape [in, out, side, side] expected, found {list(weights.shape)}")
    in_capsules, out_capsules, side, _ = weights.shape
    _check_poses(weights, poses, (in_capsules, side**2), "in side*side")
    matrices = poses.reshape(in_capsules, side, side)
    return jnp.einsum("iab,ijbc->ijac", matrices, weights).reshape(in_capsules, out_capsules, side**2)


def transformed(weights: Array, poses: Array, transform: Transform) -> Array:
    """`dense_votes` or `matrix_votes`, by name."""
    return matrix_votes(weights, poses) if transform == "matrix" else dense_votes(weights, poses)


def convolutional_votes(
    weights: Float[Array, "*positions kernel kernel in out a b"],
    poses: Float[Array, "height width in dim_in"],
    *,
    stride: int = 1,
    padding: int = 0,
    transform: Transform = "vector",
) -> Float[Array, "rows columns kernel kernel in out dim_out"]:
    """Votes of convolutional capsules: those in a patch vote for the out types at the patch's position.

    Args:
        weights: [kernel, kernel, in, out, ...], shared by all positions, or [rows, columns, kernel, kernel, in, out,
            ...], each position's own. The last two axes are [dim_out, dim_in], or [side, side] for matrices.
        poses: a map of poses, in the dtype of the weights; the padding votes 0.
        stride, padding: of the patches.
        transform: "vector", as `dense_votes`, or "matrix", as `matrix_votes`.

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    kernel = weights.shape[-6] if weights.ndim in (6, 8) else 0
    if not kernel or weights.shape[-5] != kernel:
        raise ValueError(
            "weights: shape [kernel, kernel, in, out, ...] or [rows, columns, kernel, kernel, in, out, ...] expected, "
            f"found {list(weights.shape)}"
        )
    if poses.ndim != 4:
        raise ValueError(f"poses: shape [height, width, in, dim_in] expected, found {list(poses.shape)}")
    patches = extract_patches(poses, kernel=kernel, stride=stride, padding=padding)
    rows, columns, _, _, in_types, dim_in = patches.shape
    if weights.ndim == 8 and weights.shape[:2] != (rows, columns):
        raise ValueError(
            f"weights: one set for each of {rows}x{columns} positions expected, found {list(weights.shape[:2])}"
        )
    flat_weights = weights.reshape(*weights.shape[:-6], -1, *weights.shape[-3:])
    if weights.ndim == 8:
        flat_weights = flat_weights.reshape(rows * columns, *flat_weights.shape[2:])

    def of_position(weights: Array, patch: Array) -> Array:
        return transformed(weights, patch, transform)

    flat = patches.reshape(rows * columns, -1, dim_in)
    votes = jax.vmap(of_position, in_axes=(0 if weights.ndim == 8 else None, 0))(flat_weights, flat)
    return votes.reshape(rows, columns, kernel, kernel, in_types, *votes.shape[2:])


def coordinate_addition(
    votes: Float[Array, "height width in out dim"], *, places: tuple[int, int], scale: float = 1.0
) -> Float[Array, "height width in out dim"]:
    """Adds each capsule's position to its votes (Hinton et al. 2018, section 4.1).

    The row, (row + 1/2) / height, is added to one element of a vote and the column to another, so that capsules of one
    type, whose transforms are shared, say where they are.

    Args:
        votes: of the in types at each position.
        places: of the row's and the column's element. The paper's, the first two elements of the right-hand column of a
            4x4 matrix, are 3 and 7.
        scale: what the coordinates are multiplied by. The paper's 1 suits routings that average votes; where they are
            summed, hundreds of coordinates would outweigh what the votes say.

    Raises:
        ValueError: a place outside the vote.
    """
    height, width, _, _, dim = votes.shape
    if not all(0 <= place < dim for place in places):
        raise ValueError(f"places={places}: two elements of a vote of {dim} expected")
    rows, columns = ((jnp.arange(side, dtype=votes.dtype) + 0.5) * (scale / side) for side in (height, width))
    row, column = jnp.eye(dim, dtype=votes.dtype)[jnp.asarray(places)]
    offsets = rows[:, None, None] * row[None, None] + columns[None, :, None] * column[None, None]
    return votes + offsets[:, :, None, None]
