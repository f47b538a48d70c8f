"""Capsule layers for Flax NNX: thin owners of the parameters that `jaxcaps.functional` computes with.

Every layer takes any number of leading batch axes. Names and shapes of the parameters are those of `jaxcaps.linen`.

A `routing` is a description, such as `Dynamic()` or `EM()`, its name, such as "em", or a routing function without
learned parameters. Windows are square: `kernel`, `stride` and `padding` are one integer or two equal ones, and a
padding may also be "SAME" or "VALID".
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Integer

from jaxcaps.functional import (
    AnyRouting,
    Dynamic,
    GivenRouting,
    Padding,
    ParameterSpec,
    Routed,
    RoutingShape,
    Size,
    Transform,
    as_routing,
    at_least_float32,
    class_caps,
    conv_caps,
    convolution,
    default_coordinates,
    dense_caps,
    initial_deviation,
    longest_capsule,
    routing_parameters,
    select_capsule,
    squash,
    weight_shape,
    window,
)


def _convolution(
    in_features: int, features: int, kernel: Size, stride: Size, padding: Padding, **settings: Any
) -> nnx.Conv:
    kernel, stride, padding = window(kernel, stride, padding)
    return nnx.Conv(
        in_features,
        features,
        kernel_size=(kernel, kernel),
        strides=stride,
        padding=((padding, padding), (padding, padding)),
        conv_general_dilated=convolution,
        **settings,
    )


class PrimaryCaps(nnx.Module):
    """Convolution whose output channels are read as capsules, then squashed (Sabour et al. 2017, section 4).

    A capsule is `dim` consecutive channels of one place. Capsules are ordered by row, column, type.

    Args:
        in_features: channels of the input.
        types: capsule types at each place.
        dim: dimension of a pose.
        kernel, stride, padding: of the convolution; a negative padding crops.
        dtype: dtype of the convolution; the squash is computed in at least float32.
    """

    def __init__(
        self,
        in_features: int,
        types: int,
        dim: int,
        *,
        kernel: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.types, self.dim = types, dim
        self.convolution = _convolution(
            in_features, types * dim, kernel, stride, padding, dtype=dtype, param_dtype=param_dtype, rngs=rngs
        )

    def __call__(self, features: Float[Array, "*batch height width channels"]) -> Float[Array, "*batch capsules dim"]:
        """Poses of norm below 1, in the dtype of the layer. `ConvCaps` wants them as a map: see `map_of`."""
        maps = self.map_of(features)
        return maps.reshape(*maps.shape[:-4], -1, self.dim)

    def map_of(
        self, features: Float[Array, "*batch height width channels"]
    ) -> Float[Array, "*batch rows columns types dim"]:
        """The same poses, as a map."""
        maps = self.convolution(features)
        return squash(maps.reshape(*maps.shape[:-1], self.types, self.dim))


class MatrixPrimaryCaps(nnx.Module):
    """Two convolutions: one gives the poses, without squash, and one the activations (Hinton et al. 2018, section 4).

    Args:
        in_features, types, dim, kernel, stride, padding, dtype: as `PrimaryCaps`; the paper has 1x1 kernels, dim 16.
    """

    def __init__(
        self,
        in_features: int,
        types: int,
        dim: int = 16,
        *,
        kernel: Size = 1,
        stride: Size = 1,
        padding: Padding = 0,
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.types, self.dim = types, dim
        settings = dict(dtype=dtype, param_dtype=param_dtype, rngs=rngs)
        self.poses = _convolution(in_features, types * dim, kernel, stride, padding, **settings)
        self.activations = _convolution(in_features, types, kernel, stride, padding, **settings)

    def __call__(
        self, features: Float[Array, "*batch height width channels"]
    ) -> tuple[Float[Array, "*batch rows columns types dim"], Float[Array, "*batch rows columns types"]]:
        """Poses and activations in (0, 1)."""
        poses = self.poses(features)
        return poses.reshape(*poses.shape[:-1], self.types, self.dim), jax.nn.sigmoid(self.activations(features))


class _RoutedLayer(nnx.Module):
    """Owns the weights of the votes and the parameters of the routing."""

    def _own(
        self,
        routing: GivenRouting,
        shape: RoutingShape,
        leading: tuple[int, ...],
        transform: Transform,
        in_norm_squared: float,
        dtype: Any,
        param_dtype: Any,
        rngs: nnx.Rngs,
        shared_by: int = 1,
    ) -> None:
        routing = as_routing(routing)
        matrix = weight_shape(transform, shape.in_dim, shape.out_dim)
        deviation = initial_deviation(routing, shape, transform, in_norm_squared, shared_by=shared_by)
        self.weights = nnx.Param(jax.random.normal(rngs.params(), (*leading, *matrix), param_dtype) * deviation)
        specs: Mapping[str, ParameterSpec] = routing_parameters(routing, shape)
        for name, spec in specs.items():
            if callable(spec.initial):
                value = spec.initial(rngs.params(), spec.shape, param_dtype)
            else:
                value = jnp.full(spec.shape, spec.initial, param_dtype)
            setattr(self, name, nnx.Param(value))
        self.routing, self.transform, self.dtype = routing, transform, dtype
        self.names = tuple(specs)

    def _arguments(
        self, poses: Array, activations: Array | None
    ) -> tuple[AnyRouting, Array, dict[str, Array], Array, Array | None]:
        parameters = {name: getattr(self, name)[...] for name in self.names}
        return self.routing, self.weights[...].astype(self.dtype), parameters, poses.astype(self.dtype), activations


class DenseCaps(_RoutedLayer):
    """Fully connected capsules: every in capsule votes for every out capsule, and the votes are routed.

    Args:
        in_capsules, out_capsules, in_dim, out_dim: numbers of capsules and dimensions of their poses.
        routing: a routing description, its name, or a routing function.
        transform: "vector", or "matrix" for poses that are square matrices.
        in_norm_squared: the mean squared norm of the in poses at the start, see `initial_deviation`.
        dtype: dtype of the votes; the routing is computed in at least float32.
    """

    def __init__(
        self,
        in_capsules: int,
        out_capsules: int,
        in_dim: int,
        out_dim: int,
        *,
        routing: GivenRouting = Dynamic(),  # noqa: B008 (a frozen description)
        transform: Transform = "vector",
        in_norm_squared: float = 1.0,
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        shape = RoutingShape(in_capsules, out_capsules, in_dim, out_dim)
        leading = (in_capsules, out_capsules)
        self._own(routing, shape, leading, transform, in_norm_squared, dtype, param_dtype, rngs)

    def __call__(
        self, poses: Float[Array, "*batch in in_dim"], activations: Float[Array, "*batch in"] | None = None
    ) -> Routed:
        """Out poses [*batch, out, out_dim], activations [*batch, out], couplings [*batch, in, out]."""
        return dense_caps(*self._arguments(poses, activations), transform=self.transform)


class ConvCaps(_RoutedLayer):
    """Convolutional capsules: those of a patch vote for the types at the patch's position.

    Args:
        in_types, out_types, in_dim, out_dim: capsule types at each place and dimensions of their poses.
        kernel, stride, padding: of the patches.
        positions: (rows, columns) of the output if each position has its own transforms; None if all share them.
        routing, transform, in_norm_squared, dtype: as `DenseCaps`.
    """

    def __init__(
        self,
        in_types: int,
        out_types: int,
        in_dim: int,
        out_dim: int,
        *,
        kernel: Size,
        stride: Size = 1,
        padding: Padding = 0,
        positions: tuple[int, int] | None = None,
        routing: GivenRouting = Dynamic(),  # noqa: B008
        transform: Transform = "vector",
        in_norm_squared: float = 1.0,
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        kernel, self.stride, self.padding = window(kernel, stride, padding)
        shape = RoutingShape(kernel * kernel * in_types, out_types, in_dim, out_dim)
        leading = (*(positions or ()), kernel, kernel, in_types, out_types)
        self._own(routing, shape, leading, transform, in_norm_squared, dtype, param_dtype, rngs)

    def __call__(
        self,
        poses: Float[Array, "*batch height width in in_dim"],
        activations: Float[Array, "*batch height width in"] | None = None,
    ) -> Routed:
        """Maps: poses [*batch, rows, columns, out, out_dim], activations, couplings; see `conv_caps`."""
        return conv_caps(
            *self._arguments(poses, activations), stride=self.stride, padding=self.padding, transform=self.transform
        )


class ClassCaps(_RoutedLayer):
    """One capsule for each class from a whole map, by transforms that its positions share (Hinton et al. 2018).

    Args:
        height, width: of the map.
        in_types, classes, in_dim, out_dim: capsule types at each place, classes, and dimensions of their poses.
        coordinates: whether to add the position to the votes, which would otherwise be lost with the map.
        routing, transform, in_norm_squared, dtype: as `DenseCaps`.
    """

    def __init__(
        self,
        height: int,
        width: int,
        in_types: int,
        classes: int,
        in_dim: int,
        out_dim: int,
        *,
        coordinates: bool = True,
        routing: GivenRouting = Dynamic(),  # noqa: B008
        transform: Transform = "vector",
        in_norm_squared: float = 1.0,
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.coordinates = default_coordinates(transform, out_dim) if coordinates else None
        shape = RoutingShape(height * width * in_types, classes, in_dim, out_dim)
        leading = (in_types, classes)
        self._own(routing, shape, leading, transform, in_norm_squared, dtype, param_dtype, rngs, height * width)

    def __call__(
        self,
        poses: Float[Array, "*batch height width in in_dim"],
        activations: Float[Array, "*batch height width in"] | None = None,
    ) -> Routed:
        """Poses [*batch, classes, out_dim], activations [*batch, classes], couplings [*batch, height, width, in,
        classes]."""
        return class_caps(*self._arguments(poses, activations), transform=self.transform, coordinates=self.coordinates)


class CapsuleDecoder(nnx.Module):
    """A picture from the pose of one class, by three dense layers (Sabour et al. 2017, section 4.1).

    Args:
        classes, dim: number of class capsules and dimension of their poses.
        shape: of the picture, such as (28, 28, 1).
        widths: of the hidden layers.
        dtype: dtype of the layers; the picture is at least float32.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        shape: Sequence[int],
        *,
        widths: Sequence[int] = (512, 1024),
        dtype: Any = jnp.float32,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.shape = tuple(shape)
        sizes = (classes * dim, *widths, math.prod(self.shape))
        self.depth = len(sizes) - 1
        for index, (before, after) in enumerate(itertools.pairwise(sizes)):
            layer = nnx.Linear(
                before,
                after,
                kernel_init=nnx.initializers.he_normal(),
                dtype=dtype,
                param_dtype=param_dtype,
                rngs=rngs,
            )
            setattr(self, f"dense_{index}", layer)

    def __call__(
        self, poses: Float[Array, "*batch classes dim"], labels: Integer[Array, "*batch"] | None = None
    ) -> Array:
        """Pictures in (0, 1), from the pose of the labelled class, or from the longest pose if there are no labels."""
        if labels is None:
            chosen = jnp.vectorize(longest_capsule, signature="(c,d)->(c,d)")(poses)
        else:
            chosen = jnp.vectorize(select_capsule, signature="(c,d),()->(c,d)")(poses, labels)
        x = chosen.reshape(*chosen.shape[:-2], -1)
        *hidden, last = (getattr(self, f"dense_{index}") for index in range(self.depth))
        for layer in hidden:
            x = nnx.relu(layer(x))
        return jax.nn.sigmoid(at_least_float32(last(x))).reshape(*x.shape[:-1], *self.shape)
