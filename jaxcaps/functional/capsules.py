"""Whole capsule layers as functions of a batch: votes and routing, tiled; and the scale their weights start from.

The layers of `jaxcaps.nnx` and `jaxcaps.linen` own the parameters and call these functions. Shapes of poses and
activations are checked here and not annotated, so that errors read the same with and without a type checker.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxcaps.functional.batching import over_examples
from jaxcaps.functional.cpu.dynamic import fused_dynamic_fits
from jaxcaps.functional.cpu.em import fused_em_fits
from jaxcaps.functional.patches import extract_patches, patch_counts
from jaxcaps.functional.routing.base import ParameterSpec, Routed, RoutingShape
from jaxcaps.functional.votes import Transform, convolutional_votes, coordinate_addition, transformed

# A description, or the bare function of an algorithm without learned parameters.
AnyRouting = Callable[..., Routed]
# What a layer's examples share, its weights and the routing's parameters; and the poses and activations of one or many.
Shared = tuple[Array, dict[str, Array]]
Example = tuple[Array, Array | None]


def routing_parameters(routing: AnyRouting, shape: RoutingShape) -> Mapping[str, ParameterSpec]:
    """The learned parameters that a layer with this routing owns; none for a bare function."""
    specs: Mapping[str, ParameterSpec] = routing.parameters(shape) if hasattr(routing, "parameters") else {}
    return specs


def weight_shape(transform: str, in_dim: int, out_dim: int) -> tuple[int, int]:
    """The matrix that takes a pose to a vote: [out_dim, in_dim], or [side, side] for poses that are matrices.

    Raises:
        ValueError: there is no such transform, or the poses are not square matrices of one size.
    """
    if transform not in ("vector", "matrix"):
        raise ValueError(f"transform={transform!r}: 'vector' or 'matrix' expected")
    if transform == "vector":
        return out_dim, in_dim
    side = math.isqrt(in_dim)
    if side**2 != in_dim or in_dim != out_dim:
        raise ValueError(
            f"transform='matrix' needs in_dim and out_dim that are the same square number, not {in_dim} and {out_dim}"
        )
    return side, side


def initial_deviation(
    routing: AnyRouting,
    shape: RoutingShape,
    transform: Transform,
    in_norm_squared: float = 1.0,
    *,
    shared_by: int = 1,
) -> float:
    """The standard deviation that the weights of a layer are drawn with.

    Where out poses are sums of votes, those sums have norms of about 1 under even couplings (or the routing's
    `initial_norm`), where squash neither saturates nor vanishes: E|sum|^2 = in / out^2 * E|vote|^2, or `shared_by`
    times as much where the capsules that share a weight all have the same pose, as those of a plain background do.
    Where they are means (`routing.averages`), an element of a vote has the variance of an element of a pose.

    Args:
        in_norm_squared: the mean squared norm of the in poses at the start.
        shared_by: how many in capsules have a weight in common; the sums' norms are about 1 at most then.
    """
    matrix = transform == "matrix"
    terms = math.isqrt(shape.in_dim) if matrix else shape.in_dim
    if getattr(routing, "averages", False):
        return terms**-0.5
    # E|vote|^2 = out_dim * terms / in_dim * in_norm_squared * deviation^2
    vote_norm_squared = shape.out_dim * terms / shape.in_dim * in_norm_squared
    norm = routing.initial_norm(shape) if hasattr(routing, "initial_norm") else 1.0
    return norm * shape.out_capsules / math.sqrt(shape.in_capsules * vote_norm_squared * shared_by)


def _checked(routing: AnyRouting, poses: Array, axes: tuple[int | None, ...], activations: Array | None) -> None:
    """Refuses poses whose last axes are not these (None: any length), and activations that do not go with them."""
    found = poses.shape[-len(axes) :]
    if len(found) < len(axes) or any(want not in (None, have) for want, have in zip(axes, found, strict=True)):
        expected = ", ".join("*" if axis is None else str(axis) for axis in axes)
        raise ValueError(f"poses: shape [..., {expected}] expected, found {list(poses.shape)}")
    if activations is None:
        if "in_activations" in getattr(routing, "needs", ()):
            raise ValueError(f"activations: {routing} needs those of the in capsules, shape {list(poses.shape[:-1])}")
    elif activations.shape != poses.shape[:-1]:
        raise ValueError(
            f"activations: shape {list(poses.shape[:-1])} expected for poses of shape {list(poses.shape)}, "
            f"found {list(activations.shape)}"
        )


def _route(
    routing: AnyRouting, parameters: Mapping[str, Array], votes: Array, activations: Array | None, poses: Array
) -> Routed:
    further = {"in_poses": poses} if "in_poses" in getattr(routing, "needs", ()) else {}
    return routing(votes, activations, **further, **parameters)


def dense_caps(
    routing: AnyRouting,
    weights: Float[Array, "in out a b"],
    parameters: Mapping[str, Array],
    poses: Float[Array, "..."],
    activations: Float[Array, "..."] | None = None,
    *,
    transform: Transform = "vector",
) -> Routed:
    """Every in capsule votes for every out capsule, and the votes are routed.

    A description with a method `route_fused` (dynamic routing's) computes both in one where that is faster, on a CPU.

    Args:
        routing: a description, or a bare routing function.
        weights: see `dense_votes` and `matrix_votes`.
        parameters: the routing's learned parameters, by name.
        poses, activations: of the in capsules, [*batch, in, in_dim] and [*batch, in]; poses in the dtype of the
            weights.

    Returns:
        Poses [*batch, out, out_dim], activations [*batch, out], couplings [*batch, in, out].

    Raises:
        ValueError: shapes do not fit, or the routing needs activations and none are given.
    """
    in_capsules, out_capsules, _, terms = weights.shape
    _checked(routing, poses, (in_capsules, terms if transform == "vector" else terms**2), activations)
    out_dim = weights.shape[2] if transform == "vector" else poses.shape[-1]

    def one(shared: Shared, example: Example) -> Routed:
        (weights, parameters), (poses, activations) = shared, example
        return _route(routing, parameters, transformed(weights, poses, transform), activations, poses)

    def fused(shared: Shared, batch: Example) -> Callable[[Shared, Example], Routed] | None:
        fits = transform == "vector" and hasattr(routing, "route_fused") and batch[1] is None
        if not fits or not fused_dynamic_fits(shared[0], batch[0]):
            return None
        return lambda shared, batch: routing.route_fused(shared[0], batch[0], **shared[1])  # type: ignore[attr-defined]

    vote_bytes = in_capsules * out_capsules * out_dim * poses.dtype.itemsize
    shared, examples = (weights, dict(parameters)), (poses, activations)
    return over_examples(one, shared, examples, axes=poses.ndim - 2, vote_bytes=vote_bytes, fused=fused)


def conv_caps(
    routing: AnyRouting,
    weights: Float[Array, "*positions kernel kernel in out a b"],
    parameters: Mapping[str, Array],
    poses: Float[Array, "..."],
    activations: Float[Array, "..."] | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    transform: Transform = "vector",
) -> Routed:
    """The capsules of a patch vote for the out types at its position, and the votes are routed.

    A description with a method `route_patches` (EM's) lets all the parents of a capsule compete, across positions. Any
    other routes the votes of each position separately. A description with `route_patches_fused` (EM's) computes votes
    and routing in one where that is faster, on a CPU.

    Args:
        routing, parameters: as `dense_caps`; the parameters are shared by all positions.
        weights, stride, padding, transform: see `convolutional_votes`.
        poses, activations: maps of the in capsules, [*batch, height, width, in, in_dim] and [*batch, height, width,
            in]; poses in the dtype of the weights. What pads them votes 0 and has activation 0.

    Returns:
        Poses [*batch, rows, columns, out, out_dim], activations [*batch, rows, columns, out], couplings [*batch, rows,
        columns, kernel, kernel, in, out].

    Raises:
        ValueError: shapes do not fit, or the routing needs activations and none are given.
    """
    kernel, _, in_types, out_types, _, terms = weights.shape[-6:]
    _checked(routing, poses, (None, None, in_types, terms if transform == "vector" else terms**2), activations)
    settings: dict[str, Any] = dict(stride=stride, padding=padding)

    def one(shared: Shared, example: Example) -> Routed:
        (weights, parameters), (poses, activations) = shared, example
        votes = convolutional_votes(weights, poses, transform=transform, **settings)
        active = None if activations is None else extract_patches(activations, kernel=kernel, **settings)
        if hasattr(routing, "route_patches"):
            routed: Routed = routing.route_patches(votes, active, stride=stride, **parameters)
            return routed
        rows, columns = votes.shape[:2]
        positions = (rows * columns, kernel * kernel * in_types)
        patches = extract_patches(poses, kernel=kernel, **settings).reshape(*positions, -1)
        flat = None if active is None else active.reshape(positions)

        def route(votes: Array, active: Array | None, poses: Array) -> Routed:
            return _route(routing, parameters, votes, active, poses)

        routed = jax.vmap(route)(votes.reshape(*positions, out_types, -1), flat, patches)
        return Routed(
            routed.poses.reshape(rows, columns, out_types, -1),
            routed.activations.reshape(rows, columns, out_types),
            routed.couplings.reshape(rows, columns, kernel, kernel, in_types, out_types),
        )

    def fused(shared: Shared, batch: Example) -> Callable[[Shared, Example], Routed] | None:
        fits = hasattr(routing, "route_patches_fused") and batch[1] is not None
        if not fits or not fused_em_fits(shared[0], batch[0]):
            return None

        def routed(shared: Shared, batch: Example) -> Routed:
            weights, parameters = shared
            found: Routed = routing.route_patches_fused(  # type: ignore[attr-defined]
                weights, *batch, transform=transform, **settings, **parameters
            )
            return found

        return routed

    rows, columns = patch_counts(poses.shape[-4:-2], kernel=kernel, **settings)
    out_dim = weights.shape[-2] if transform == "vector" else poses.shape[-1]
    vote_bytes = rows * columns * kernel**2 * in_types * out_types * out_dim * poses.dtype.itemsize
    shared, examples = (weights, dict(parameters)), (poses, activations)
    return over_examples(one, shared, examples, axes=poses.ndim - 4, vote_bytes=vote_bytes, fused=fused)


def class_caps(
    routing: AnyRouting,
    weights: Float[Array, "in out a b"],
    parameters: Mapping[str, Array],
    poses: Float[Array, "..."],
    activations: Float[Array, "..."] | None = None,
    *,
    transform: Transform = "vector",
    coordinates: tuple[int, int] | None = None,
) -> Routed:
    """All the capsules of a map vote for each class, by weights that their positions share.

    Args:
        routing, parameters: as `dense_caps`, for height * width * in capsules in the order row, column, type.
        weights: for each in type.
        poses, activations: maps of the in capsules, [*batch, height, width, in, in_dim] and [*batch, height, width,
            in]; poses in the dtype of the weights.
        transform: see `convolutional_votes`.
        coordinates: the elements of a vote that the row and the column are added to, see `coordinate_addition`; None
            for no addition. Where the routing sums votes they are scaled so that their sum under even couplings is
            their mean.

    Returns:
        Poses [*batch, out, out_dim], activations [*batch, out], couplings [*batch, height, width, in, out].

    Raises:
        ValueError: shapes do not fit, or the routing needs activations and none are given.
    """
    in_types, out_capsules, _, terms = weights.shape
    _checked(routing, poses, (None, None, in_types, terms if transform == "vector" else terms**2), activations)
    height, width = poses.shape[-4:-2]
    in_capsules = height * width * in_types

    def placed(routed: Routed) -> Routed:
        batch = routed.couplings.shape[:-2]
        return routed._replace(couplings=routed.couplings.reshape(*batch, height, width, in_types, out_capsules))

    def one(shared: Shared, example: Example) -> Routed:
        (weights, parameters), (poses, activations) = shared, example
        votes = class_votes(routing, weights, poses, transform=transform, coordinates=coordinates)
        flat = None if activations is None else activations.reshape(in_capsules)
        return placed(_route(routing, parameters, votes, flat, poses.reshape(in_capsules, -1)))

    def fused(shared: Shared, batch: Example) -> Callable[[Shared, Example], Routed] | None:
        if transform != "vector" or not hasattr(routing, "route_fused") or batch[1] is not None:
            return None

        def dense(weights: Array, poses: Array) -> tuple[Array, Array]:
            """Weights for each position, with the coordinates as a further element of a pose, which is 1."""
            every = jnp.broadcast_to(weights, (height, width, *weights.shape))
            if coordinates is not None:
                nothing = jnp.zeros_like(every[..., 0])
                offsets = _with_coordinates(routing, nothing, coordinates)
                every = jnp.concatenate([every, offsets[..., None]], axis=-1)
                poses = jnp.concatenate([poses, jnp.ones_like(poses[..., :1])], axis=-1)
            return every.reshape(in_capsules, *every.shape[3:]), poses.reshape(len(poses), in_capsules, -1)

        if not fused_dynamic_fits(*jax.eval_shape(dense, shared[0], batch[0])):
            return None
        return lambda shared, batch: placed(routing.route_fused(*dense(shared[0], batch[0]), **shared[1]))

    out_dim = weights.shape[2] if transform == "vector" else poses.shape[-1]
    vote_bytes = in_capsules * out_capsules * out_dim * poses.dtype.itemsize
    shared, examples = (weights, dict(parameters)), (poses, activations)
    return over_examples(one, shared, examples, axes=poses.ndim - 4, vote_bytes=vote_bytes, fused=fused)


def class_votes(
    routing: AnyRouting,
    weights: Float[Array, "in out a b"],
    poses: Float[Array, "height width in in_dim"],
    *,
    transform: Transform = "vector",
    coordinates: tuple[int, int] | None = None,
) -> Float[Array, "all out out_dim"]:
    """The votes of all capsules of one map for each class, in the order row, column, type.

    Args:
        weights: for each in type, shared by all positions.
        routing, transform, coordinates: as `class_caps`.
    """
    votes = jax.vmap(jax.vmap(lambda each: transformed(weights, each, transform)))(poses)
    if coordinates is not None:
        votes = _with_coordinates(routing, votes, coordinates)
    return votes.reshape(-1, *votes.shape[3:])


def _with_coordinates(
    routing: AnyRouting, votes: Float[Array, "height width in out dim"], places: tuple[int, int]
) -> Float[Array, "height width in out dim"]:
    """Adds the positions. Where votes are summed, their sum under even couplings gets the mean position."""
    height, width, in_types, out_capsules, _ = votes.shape
    averages = getattr(routing, "averages", False)
    scale = 1.0 if averages else out_capsules / (height * width * in_types)
    return coordinate_addition(votes, places=places, scale=scale)


def default_coordinates(transform: str, out_dim: int) -> tuple[int, int]:
    """Where `ClassCaps` adds the position: the right-hand column's first two elements of a matrix, a vector's first."""
    side = math.isqrt(out_dim)
    return (side - 1, 2 * side - 1) if transform == "matrix" else (0, 1)
