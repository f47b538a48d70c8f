"""Capsule layers for Flax NNX: thin owners of the parameters that `jaxcaps.functional` computes with."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxcaps.functional import Dynamic, Routed, convolution, cpu_tile, dense_votes, over_batch, squash


class PrimaryCaps(nnx.Module):
    """Convolution whose output channels are read as capsules, then squashed (Sabour et al. 2017, section 4).

    A capsule is `dim` consecutive channels of one place. Capsules are ordered by row, column, type.

    Args:
        in_features: channels of the input.
        types: capsule types at each place.
        dim: dimension of a pose.
        kernel, stride, padding: of the convolution; a negative padding crops.
        dtype: what the convolution computes in; the squash is at least float32.
    """

    def __init__(
        self,
        in_features: int,
        types: int,
        dim: int,
        *,
        kernel: int,
        stride: int,
        padding: int,
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.dim = dim
        self.convolution = nnx.Conv(
            in_features,
            types * dim,
            kernel_size=(kernel, kernel),
            strides=stride,
            padding=((padding, padding), (padding, padding)),
            conv_general_dilated=convolution,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(self, features: Float[Array, "batch height width channels"]) -> Float[Array, "batch capsules dim"]:
        """Poses of norm below 1, in the dtype of the layer."""
        maps = self.convolution(features)
        return squash(maps.reshape(maps.shape[0], -1, self.dim))


class DenseCaps(nnx.Module):
    """Fully connected capsules: every in capsule votes for every out capsule, and the votes are routed.

    Args:
        in_capsules, out_capsules, in_dim, out_dim: numbers of capsules and dimensions of their poses.
        routing: a routing description.
        in_norm_squared: the mean squared norm of the in poses at the start. The weights are drawn with standard
            deviation out / sqrt(in * out_dim * in_norm_squared), which makes the routed sums' norms about 1, where
            squash neither saturates nor vanishes.
    """

    def __init__(
        self,
        in_capsules: int,
        out_capsules: int,
        in_dim: int,
        out_dim: int,
        *,
        routing: Callable[..., Routed] = Dynamic(),  # noqa: B008 (a frozen description)
        in_norm_squared: float = 1.0,
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        deviation = out_capsules / (in_capsules * out_dim * in_norm_squared) ** 0.5
        shape = (in_capsules, out_capsules, out_dim, in_dim)
        self.weights = nnx.Param(jax.random.normal(rngs.params(), shape, param_dtype) * deviation)
        self.routing = routing
        self.dtype = dtype

    def __call__(self, poses: Float[Array, "batch in in_dim"]) -> Routed:
        """Out poses [batch, out, out_dim], activations [batch, out], couplings [batch, in, out]."""
        weights = self.weights[...].astype(self.dtype)
        in_capsules, out_capsules, out_dim, _ = weights.shape

        def route(one: Float[Array, "in in_dim"]) -> Routed:
            return self.routing(dense_votes(weights, one))

        vote_bytes = in_capsules * out_capsules * out_dim * jnp.dtype(self.dtype).itemsize
        tile = cpu_tile(vote_bytes) if jax.default_backend() == "cpu" else None
        routed: Routed = over_batch(route, tile=tile)(poses.astype(self.dtype))
        return routed
