"""Convolutional votes and EM routing in one, for a CPU: no vote is ever stored.

As in `dynamic.py`, a vote is computed again wherever it is needed, because fetching a stored one takes longer. EM reads
votes in three ways, for coefficients c_ij and numbers of each out capsule (mean m, precision w):

    gathering   sum_i c_ij V_ij   and   sum_i c_ij (V_ij - m_j)^2
    distance    sum_h w_jh (V_ijh - m_jh)^2

The positions of the map and the examples of a tile, whose weights are the same, are the last axis of every array: the
lanes. Each multiplication is of one weight and a vector of lanes.

In the reverse pass the derivatives of the three are of the same kinds, and every contribution to a vote's cotangent has
the form a_ij (alpha_jh + beta_jh V_ijh). Each leaves its a, alpha and beta in a slot. In the end the votes' cotangents
are computed from all slots, for a few in capsules at a time. JAX differentiates what is left, which is small.
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.cpu.fence import fence, spelled_sum
from jaxcaps.functional.patches import combine_onto_map, extract_patches
from jaxcaps.functional.precision import LEAST_MASS
from jaxcaps.functional.votes import Transform

# Lanes computed at a time. Measured at 14x14x8 -> 6x6x16 types of 4x4 poses: one gathering of 288, 576 and 1,152 lanes
# takes 0.10, 0.20 and 0.16 ms for each example.
LANES = 288
LEAST_BATCH = 4
# Terms of a vote's sum times its numbers, which one compiled loop spells out.
MOST_TERMS = 512
# In capsules gathered by one loop body, at most and at least.
GATHERED = 8
LEAST_GATHERED = 3


class EMSettings(NamedTuple):
    """See `em_routing`."""

    iterations: int
    inverse_temperature: float
    variance_floor: float
    cost_scale: float


class _Layer(NamedTuple):
    """What is static: the settings and the shape of the patches."""

    settings: EMSettings
    stride: int
    kernel: int
    rows: int
    columns: int


Slot = tuple[Array, Array, Array]


def fused_em_fits(weights: Float[Array, "... kernel kernel in out a b"], poses: Array) -> bool:
    """Whether the fused form is faster than tiles on a CPU: in full precision, for some shapes."""
    if weights.ndim != 6 or poses.ndim < 5:
        return False
    kernel, _, in_types, _, rows, columns = weights.shape
    terms = max(rows * columns, poses.shape[-1] * columns)
    return (
        poses.dtype.itemsize >= 4
        and math.prod(poses.shape[:-4]) >= LEAST_BATCH
        and terms <= MOST_TERMS
        and _group(kernel**2 * in_types) >= LEAST_GATHERED
    )


def _group(in_capsules: int) -> int:
    """Returns how many in capsules to gather at a time."""
    return max(size for size in range(1, GATHERED + 1) if in_capsules % size == 0)


def fused_em_patches(
    weights: Float[Array, "kernel kernel in out a b"],
    poses: Float[Array, "batch height width in dim"],
    activations: Float[Array, "batch height width in"],
    beta_a: Float[Array, "out"],
    beta_u: Float[Array, "out"],
    *,
    stride: int,
    padding: int,
    transform: Transform,
    settings: EMSettings,
) -> tuple[Array, Array, Array]:
    """EM routing of the convolutional votes of a batch; values and gradients are those of the plain form.

    Reverse mode only; `choose` takes forward mode from the plain form.

    Args:
        weights, poses, stride, padding, transform: see `convolutional_votes`, mapped over a batch.
        activations: of the in capsules, in [0, 1].
        beta_a, beta_u, settings: see `em_routing`.

    Returns:
        Means [batch, rows, columns, out, dim], logits of the activations [batch, rows, columns, out], and couplings
        [batch, rows, columns, kernel, kernel, in, out].
    """
    kernel, _, in_types, out_types, *matrix = weights.shape
    # A vote's element [column, row] is the sum over terms of weight [term, column] times pose [term, row].
    flat = weights.reshape(kernel**2 * in_types, out_types, *matrix)
    if transform == "vector":
        flat = flat.swapaxes(2, 3)
    terms = flat.shape[2]
    batch, *sides = poses.shape[:3]
    dtype = poses.dtype

    def of_tile(tile: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        maps, active = (jnp.moveaxis(each, 0, -1) for each in tile)
        pose_axes = (-1, terms) if transform == "matrix" else (1, terms)
        maps = maps.reshape(*sides, in_types, *pose_axes, maps.shape[-1]).swapaxes(3, 4)
        patches, met = (extract_patches(each, kernel=kernel, stride=stride, padding=padding) for each in (maps, active))
        rows, columns, *_, examples = patches.shape
        layer = _Layer(settings, stride, kernel, rows, columns)
        of_lanes = patches.transpose(2, 3, 4, 5, 6, 0, 1, 7).reshape(len(flat), terms, -1, rows * columns * examples)
        active = met.transpose(2, 3, 4, 0, 1, 5).reshape(len(flat), -1).astype(dtype)
        weights, *betas = (each.astype(dtype) for each in (flat, beta_a, beta_u))
        mean, logit, couplings = _route(layer, weights, of_lanes, active, *betas)
        places = (rows, columns, examples)
        mean = mean.reshape(out_types, *mean.shape[1:3], *places).transpose(5, 3, 4, 0, 2, 1)
        couplings = couplings.reshape(kernel, kernel, in_types, out_types, *places).transpose(6, 4, 5, 0, 1, 2, 3)
        logit = logit.reshape(out_types, *places).transpose(3, 1, 2, 0)
        return mean.reshape(*mean.shape[:4], -1), logit, couplings

    positions = math.prod((side + 2 * padding - kernel) // stride + 1 for side in sides)
    tile = min(batch, 4 * max(1, LANES // (4 * positions)))
    whole = batch // tile * tile
    tiles = tuple(each[:whole].reshape(-1, tile, *each.shape[1:]) for each in (poses, activations))
    results = tuple(each.reshape(whole, *each.shape[2:]) for each in lax.map(of_tile, tiles))
    if whole < batch:
        rest = of_tile((poses[whole:], activations[whole:]))
        results = tuple(jnp.concatenate(each) for each in zip(results, rest, strict=True))
    mean, logit, couplings = results
    return mean, logit, couplings


# Below: weights [in, out, terms, columns], poses [in, terms, rows, lanes], coefficients [in, out, lanes], numbers of
# out capsules [out, columns, rows, lanes].


def _distances(weights: Array, poses: Array, mean: Array, precision: Array) -> Array:
    """sum_h w_jh (V_ijh - m_jh)^2, [in, out, lanes]."""
    return spelled_sum(
        precision[None, :, c, a] * jnp.square(_vote(weights, poses, c, a) - mean[None, :, c, a])
        for c, a in np.ndindex(mean.shape[1:3])
    )


def _agreements(weights: Array, poses: Array, mean: Array, by_vote: Array, by_square: Array) -> Array:
    """sum_h g_jh V_ijh + q_jh (V_ijh - m_jh)^2, [in, out, lanes]."""

    def term(c: int, a: int) -> Array:
        vote = _vote(weights, poses, c, a)
        return by_vote[None, :, c, a] * vote + by_square[None, :, c, a] * jnp.square(vote - mean[None, :, c, a])

    return spelled_sum(term(c, a) for c, a in np.ndindex(mean.shape[1:3]))


def _vote(weights: Array, poses: Array, column: int, row: int) -> Array:
    """One element of all votes, [in, out, lanes]."""
    return spelled_sum(
        weights[:, :, term, column, None] * poses[:, None, term, row] for term in range(weights.shape[2])
    )


def _votes_of_one(weights: Array, poses: Array) -> Array:
    """All elements of the votes of an in capsule: [out, columns, rows, lanes]."""
    return spelled_sum(weights[:, term, :, None, None] * poses[None, term, None] for term in range(weights.shape[1]))


def _in_groups(size: int, *arrays: Array) -> tuple[Array, ...]:
    return tuple(each.reshape(-1, size, *each.shape[1:]) for each in arrays)


def _gather(weights: Array, poses: Array, coefficients: Array, mean: Array | None = None) -> Array:
    """sum_i c_ij V_ij, or with a mean sum_i c_ij (V_ij - m_j)^2: [out, columns, rows, lanes]."""
    size = _group(len(weights))

    def add(total: Array, group: tuple[Array, ...]) -> tuple[Array, None]:
        return fence(_with_group, total, *group, *(() if mean is None else (mean,))), None

    _, out_capsules, _, columns = weights.shape
    # In the type of the poses, whatever they vary over inside `jax.shard_map`.
    zeros = jnp.broadcast_to(0 * (poses[0, 0] + coefficients[0, :1]), (out_capsules, columns, *poses.shape[2:]))
    total, _ = lax.scan(add, zeros, _in_groups(size, weights, poses, coefficients))
    return total


def _with_group(total: Array, weights: Array, poses: Array, coefficients: Array, *mean: Array) -> Array:
    """Adds the contribution of a group of in capsules to a total."""

    def share(i: int) -> Array:
        votes = _votes_of_one(weights[i], poses[i])
        return coefficients[i, :, None, None] * (jnp.square(votes - mean[0]) if mean else votes)

    return total + spelled_sum(share(i) for i in range(len(weights)))


def _total(coefficients: Array) -> Array:
    """sum_i c_ij, [out, lanes]."""
    (groups,) = _in_groups(_group(len(coefficients)), coefficients)
    of_groups = spelled_sum(groups[:, member] for member in range(groups.shape[1]))
    return spelled_sum(of_groups)


@jax.custom_vjp
def _gaussian(weights: Array, poses: Array, coefficients: Array, slot: Slot) -> tuple[Array, Array]:
    """Returns the mean and the variance of the votes, weighted by coefficients that sum to 1 (or are all 0) over the in
    capsules."""
    mean = _gather(weights, poses, coefficients)
    return mean, _gather(weights, poses, coefficients, mean)


def _gaussian_forward(weights: Array, poses: Array, coefficients: Array, slot: Slot) -> tuple[Any, Any]:
    mean, variance = _gaussian(weights, poses, coefficients, slot)
    return (mean, variance), (weights, poses, coefficients, mean)


def _gaussian_backward(kept: tuple[Array, ...], cotangents: tuple[Array, Array]) -> tuple[Any, ...]:
    weights, poses, coefficients, mean = kept
    by_mean, by_variance = cotangents
    # The mean moves the variance by the votes' mean distance from it, which is 0.
    slot = (coefficients, by_mean - 2 * by_variance * mean, 2 * by_variance)
    agreements = fence(_agreements, weights, poses, mean, by_mean, by_variance)
    return None, None, agreements, slot


_gaussian.defvjp(_gaussian_forward, _gaussian_backward)


@jax.custom_vjp
def _distance(weights: Array, poses: Array, mean: Array, precision: Array, slot: Slot) -> Array:
    distances: Array = fence(_distances, weights, poses, mean, precision)
    return distances


def _distance_forward(weights: Array, poses: Array, mean: Array, precision: Array, slot: Slot) -> tuple[Array, Any]:
    return _distance(weights, poses, mean, precision, slot), (weights, poses, mean, precision)


def _distance_backward(kept: tuple[Array, ...], cotangent: Array) -> tuple[Any, ...]:
    weights, poses, mean, precision = kept
    away = _gather(weights, poses, cotangent) - mean * fence(_total, cotangent)[:, None, None]
    by_precision = _gather(weights, poses, cotangent, mean)
    return None, None, -2 * precision * away, by_precision, (cotangent, -2 * precision * mean, 2 * precision)


_distance.defvjp(_distance_forward, _distance_backward)


def _over_map(layer: _Layer, of_patches: Array, start: float, combine: Callable[[Array, Array], Array]) -> Array:
    """Combines the values that all patches have for the same place of the map, for each [in, lanes]."""
    places = (layer.rows, layer.columns)

    def onto_map(of_patches: Array) -> Array:
        by_tap = of_patches.reshape(layer.kernel, layer.kernel, -1, *places, of_patches.shape[1] // math.prod(places))
        return combine_onto_map(by_tap.transpose(3, 4, 0, 1, 2, 5), layer.stride, start, combine)

    def back(of_map: Array) -> Array:
        patches = extract_patches(of_map, kernel=layer.kernel, stride=layer.stride)
        return patches.transpose(2, 3, 4, 0, 1, 5).reshape(of_patches.shape)

    result: Array = fence(back, fence(onto_map, of_patches))
    return result


def _over_out(of_votes: Array, combine: Callable[[Array, Array], Array]) -> Array:
    """Reduces [in, out, lanes] to [in, lanes]."""
    return reduce(combine, (of_votes[:, j] for j in range(of_votes.shape[1])))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _compete(layer: _Layer, logits: Array) -> Array:
    """Applies a softmax over all parents of each in capsule, as `compete_across`. Logits are [in, out, lanes]."""
    top = _over_map(layer, _over_out(logits, jnp.maximum), -jnp.inf, jnp.maximum)
    shares = fence(_shares, logits, top)
    total = _over_map(layer, _over_out(shares, jnp.add), 0.0, jnp.add)
    return shares / total[:, None]


def _shares(logits: Array, top: Array) -> Array:
    return jnp.exp(logits - top[:, None])


def _compete_forward(layer: _Layer, logits: Array) -> tuple[Array, Array]:
    couplings = _compete(layer, logits)
    return couplings, couplings


def _compete_backward(layer: _Layer, couplings: Array, cotangent: Array) -> tuple[Array]:
    both = couplings * cotangent
    return (both - couplings * _over_map(layer, _over_out(both, jnp.add), 0.0, jnp.add)[:, None],)


_compete.defvjp(_compete_forward, _compete_backward)


def _iterate(
    layer: _Layer, weights: Array, poses: Array, active: Array, beta_a: Array, beta_u: Array, slots: list[Slot]
) -> tuple[Array, Array, Array]:
    """Alternates M-steps and E-steps as `em_routing` does, with a slot for each."""
    settings, free = layer.settings, iter(slots)
    dim = weights.shape[3] * poses.shape[2]
    couplings = _compete(layer, jnp.zeros((*weights.shape[:2], poses.shape[3]), poses.dtype) + 0 * active[:, None])

    for iteration in range(settings.iterations):
        grown = settings.inverse_temperature * (1 - 0.95 ** (iteration + 1))

        def describe(variance: Array, mass: Array, beta_a: Array, beta_u: Array, grown: float = grown) -> Any:
            """Returns the logit of the activation, the constant term of the log density, and the precision."""
            variance = jnp.maximum(variance, settings.variance_floor)
            logs = spelled_sum(jnp.log(variance[:, c, a]) for c, a in np.ndindex(variance.shape[1:3]))
            cost = (dim * beta_u[:, None] + 0.5 * logs) * mass * settings.cost_scale
            logit = grown * (beta_a[:, None] - cost)
            return logit, jax.nn.log_sigmoid(logit) - 0.5 * (logs + dim * np.log(2 * np.pi)), 1 / variance

        shares = couplings * active[:, None]
        mass = fence(_total, shares)
        mean, variance = _gaussian(weights, poses, shares / jnp.maximum(mass, LEAST_MASS)[None], next(free))
        logit, offset, precision = fence(describe, variance, mass, beta_a, beta_u)
        if iteration < settings.iterations - 1:
            distances = _distance(weights, poses, mean, precision, next(free))
            couplings = _compete(layer, offset[None] - 0.5 * distances)
    return mean, logit, couplings


def _empty_slots(layer: _Layer, weights: Array, poses: Array) -> list[Slot]:
    _, out_capsules, _, columns = weights.shape
    ones = 0 * poses[0, 0]
    coefficients = jnp.broadcast_to(ones[0], (*weights.shape[:2], poses.shape[3]))
    numbers = jnp.broadcast_to(ones, (out_capsules, columns, *ones.shape))
    return [(coefficients, numbers, numbers)] * (2 * layer.settings.iterations - 1)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _route(
    layer: _Layer, weights: Array, poses: Array, active: Array, beta_a: Array, beta_u: Array
) -> tuple[Array, Array, Array]:
    return _iterate(layer, weights, poses, active, beta_a, beta_u, _empty_slots(layer, weights, poses))


def _route_forward(layer: _Layer, *arrays: Array) -> tuple[Any, tuple[Array, ...]]:
    return _route(layer, *arrays), arrays


def _route_backward(layer: _Layer, arrays: tuple[Array, ...], cotangents: Any) -> tuple[Array, ...]:
    weights, poses, *others = arrays
    slots = _empty_slots(layer, weights, poses)
    _, back = jax.vjp(lambda *a: _iterate(layer, weights, poses, *a), *others, slots)
    *by_others, slots = back(cotangents)
    return *_by_votes(weights, poses, slots), *by_others


def _by_votes(weights: Array, poses: Array, slots: list[Slot]) -> tuple[Array, Array]:
    """Returns the cotangents of weights and poses, given those of the slots."""
    numbers = [each for _, *pair in slots for each in pair]

    def of_group(group: tuple[Array, ...]) -> tuple[Array, Array]:
        weights, poses, *coefficients = group

        def spelled_out(weights: Array, poses: Array, *arrays: Array) -> Array:
            coefficients, numbers = arrays[: len(slots)], arrays[len(slots) :]
            votes = spelled_sum(
                weights[:, :, term, :, None, None] * poses[:, None, term, None] for term in range(weights.shape[2])
            )
            return spelled_sum(
                each[:, :, None, None] * (constant[None] + linear[None] * votes)
                for each, constant, linear in zip(coefficients, numbers[::2], numbers[1::2], strict=True)
            )

        cotangent = fence(spelled_out, weights, poses, *coefficients, *numbers)
        size, out_capsules, columns, rows, lanes = cotangent.shape
        flat = cotangent.reshape(size, out_capsules * columns, rows * lanes)
        flat_poses = poses.reshape(size, -1, rows * lanes)
        flat_weights = weights.transpose(0, 2, 1, 3).reshape(size, -1, out_capsules * columns)
        by_poses = lax.dot_general(flat_weights, flat, (((2,), (1,)), ((0,), (0,))))
        by_weights = lax.dot_general(flat, flat_poses, (((2,), (2,)), ((0,), (0,))))
        by_weights = by_weights.reshape(size, out_capsules, columns, -1).swapaxes(2, 3)
        return by_weights, by_poses.reshape(poses.shape)

    grouped = _in_groups(_group(len(weights)), weights, poses, *(each for each, *_ in slots))
    by_weights, by_poses = lax.map(of_group, grouped)
    return by_weights.reshape(weights.shape), by_poses.reshape(poses.shape)


_route.defvjp(_route_forward, _route_backward)
