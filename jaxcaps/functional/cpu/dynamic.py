"""Dense votes and dynamic routing in one, for a CPU: no vote is ever stored.

A vote takes eight or sixteen multiplications; fetching a stored one from memory takes longer. So the two sums that
dynamic routing takes of the votes u_ijd = sum_k W_ijdk x_ik,

    agreement   a_ij = sum_d u_ijd p_jd         for the scaled sum p of the poses so far,
    gathering   s_jd = sum_i c_ij u_ijd         for couplings c,

compute the votes as they go. The batch is the last axis of every array, so that each multiplication is of one weight
and a vector of examples. The reverse pass needs the same two sums (agreement with the cotangents of s, gathering by the
cotangents of a), and the gradients of weights and poses from one product each, of the cotangents of the votes, which
are made for a few in capsules at a time.

Measured against the plain form with tiles, and others: `python -m benchmarks.capsules`, tabled in docs/results.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxcaps.functional.cpu.fence import fence, spelled_sum
from jaxcaps.functional.squash import squash

# Examples computed at a time: two or four vectors of a CPU's registers. Measured at 1152x8 -> 10x16, forward and
# backward: 4 to 64 examples take 1.4, 0.6, 0.5, 0.4 and 0.4 ms each (plain form: about 1.0).
TILE = 32
LEAST_BATCH = 8
# Terms of a vote's sum and its product with a pose that one compiled loop spells out; beyond, code grows too long.
MOST_TERMS = 512
# In capsules gathered by one loop body.
GATHERED = 16
# Of the votes' cotangents held at a time.
CHUNK_BYTES = 3 * 2**19

# [], where it is a constant of the program an array of NumPy's.
Scale = Array | np.ndarray
Couple = Callable[[Float[Array, "in out batch"]], Float[Array, "in out batch"]]


def fused_dynamic_fits(
    weights: Float[Array | jax.ShapeDtypeStruct, "in out dim_out dim_in"],
    poses: Float[Array | jax.ShapeDtypeStruct, "batch in dim_in"],
) -> bool:
    """Whether the fused form is faster than tiles on a CPU: in full precision, for some shapes."""
    in_capsules, out_capsules, out_dim, in_dim = weights.shape
    return (
        poses.dtype.itemsize >= 4
        and poses.shape[0] >= LEAST_BATCH
        and out_dim * in_dim <= MOST_TERMS
        and in_capsules >= GATHERED
        and _chunk(in_capsules, out_capsules * out_dim * TILE * poses.dtype.itemsize) >= GATHERED
    )


def fused_dynamic(
    weights: Float[Array, "in out dim_out dim_in"],
    poses: Float[Array, "batch in dim_in"],
    *,
    iterations: int,
    couple: Couple,
    scale: float | Float[Array, ""] = 1.0,
) -> tuple[Float[Array, "batch out dim_out"], Float[Array, "batch in out"]]:
    """Dynamic routing of the dense votes of a batch; values and gradients are those of the plain form.

    Reverse mode only; `choose` takes forward mode from the plain form.

    Args:
        weights, poses: see `dense_votes`.
        iterations: a Python int of at least 1.
        couple: from logits [in, out, batch] to couplings, along axis 1: a softmax, or one with further categories that
            have constant logits (its derivative must be that of a softmax).
        scale: what the agreements are multiplied by.

    Returns:
        Poses and couplings of the out capsules.
    """
    batch = poses.shape[0]
    whole = batch // TILE * TILE if batch >= 2 * TILE else 0
    parts = [part for part in (poses[:whole].reshape(-1, TILE, *poses.shape[1:]), poses[None, whole:]) if part.size]
    # Like the poses, so that it varies over a mesh as they do inside `jax.shard_map`.
    scale = jnp.full_like(poses[0, 0, 0], scale)
    results = [_of_tiles(iterations, couple, weights, part, scale) for part in parts]
    out_poses, couplings = (jnp.concatenate(each) for each in zip(*results, strict=True))
    return out_poses, couplings


def _of_tiles(iterations: int, couple: Couple, weights: Array, tiles: Array, scale: Scale) -> tuple[Array, Array]:
    tiles = tiles.transpose(0, 2, 3, 1)
    poses, pose_sums = _route(iterations, couple, weights, tiles, scale)
    # Apart from the poses, so that couplings which nobody reads cost nothing.
    couplings = lax.map(lambda tile: _couplings(couple, weights, *tile), (tiles, scale * pose_sums))
    return tuple(each.transpose(0, 3, 1, 2).reshape(-1, *each.shape[1:3]) for each in (poses, couplings))  # type: ignore[return-value]


def _agreement(
    weights: Float[Array, "in out dim_out dim_in"],
    poses: Float[Array, "in dim_in batch"],
    with_poses: Float[Array, "out dim_out batch"],
) -> Float[Array, "in out batch"]:
    result: Array = fence(_spelled_agreement, weights, poses, with_poses)
    return result


def _spelled_agreement(weights: Array, poses: Array, with_poses: Array) -> Array:
    out_dim, in_dim = weights.shape[2:]

    def vote(d: int) -> Array:
        return spelled_sum(weights[:, :, d, k, None] * poses[:, None, k] for k in range(in_dim))

    return spelled_sum(vote(d) * with_poses[None, :, d] for d in range(out_dim))


def _gather(
    weights: Float[Array, "in out dim_out dim_in"],
    poses: Float[Array, "in dim_in batch"],
    couplings: Float[Array, "in out batch"],
) -> Float[Array, "out dim_out batch"]:
    result: Array = fence(_spelled_gathering, weights, poses, couplings)
    return result


def _spelled_gathering(weights: Array, poses: Array, couplings: Array) -> Array:
    in_capsules, _, _, in_dim = weights.shape
    groups = in_capsules // GATHERED

    def shares(w: Array, x: Array, c: Array) -> Array:
        """Returns the contribution of one in capsule, or of one in each group."""
        return c[..., None, :] * spelled_sum(w[..., k, None] * x[..., None, None, k, :] for k in range(in_dim))

    arrays = (weights, poses, couplings)
    grouped = [x[: groups * GATHERED].reshape(groups, GATHERED, *x.shape[1:]) for x in arrays]
    totals = spelled_sum(shares(*(x[:, member] for x in grouped)) for member in range(GATHERED))
    # In stages, spelled out too: XLA's sums over a leading axis, and products with ones, are many times slower.
    while (count := totals.shape[0]) > 1:
        width = min(count, 2 * GATHERED)
        whole = count // width * width
        staged = totals[:whole].reshape(-1, width, *totals.shape[1:])
        summed = spelled_sum(staged[:, member] for member in range(width))
        totals = summed if whole == count else jnp.concatenate([summed, totals[whole:]])
    total = totals[0]
    for i in range(groups * GATHERED, in_capsules):
        total = total + shares(*(x[i] for x in arrays))
    return total


_squash = partial(squash, axis=1)


def _softmax_backward(couplings: Array, cotangent: Array) -> Array:
    return couplings * (cotangent - jnp.sum(couplings * cotangent, axis=1, keepdims=True))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _couplings(couple: Couple, weights: Array, poses: Array, pose_sum: Array) -> Array:
    couplings: Array = fence(couple, _agreement(weights, poses, pose_sum))
    return couplings


def _couplings_forward(
    couple: Couple, weights: Array, poses: Array, pose_sum: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
    return _couplings(couple, weights, poses, pose_sum), (weights, poses, pose_sum)


def _couplings_backward(couple: Couple, kept: tuple[Array, Array, Array], cotangent: Array) -> tuple[Array, ...]:
    """The plain form: few losses depend on couplings."""
    cotangents: tuple[Array, ...] = jax.vjp(lambda *a: couple(jnp.einsum("ijdk,ikb,jdb->ijb", *a)), *kept)[1](cotangent)
    return cotangents


_couplings.defvjp(_couplings_forward, _couplings_backward)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _route(
    iterations: int,
    couple: Couple,
    weights: Float[Array, "in out dim_out dim_in"],
    tiles: Float[Array, "tiles in dim_in batch"],
    scale: Scale,
) -> tuple[Float[Array, "tiles out dim_out batch"], Float[Array, "tiles out dim_out batch"]]:
    """Returns the out poses of each tile, and the sum of the poses of all iterations but the last."""
    return _forward(iterations, couple, weights, tiles, scale)[0]


def _forward(
    iterations: int, couple: Couple, weights: Array, tiles: Array, scale: Scale
) -> tuple[tuple[Array, Array], tuple[Array, Array, Scale, list[Array]]]:
    """Returns the result, and what the reverse pass needs: the gathered sums of each iteration."""
    in_capsules, out_capsules, out_dim, _ = weights.shape
    batch = tiles.shape[3]
    # One example's, spread: the compiler would otherwise compute all of them beforehand, slowly.
    even = jnp.broadcast_to(couple(jnp.zeros((1, out_capsules, 1), tiles.dtype)), (in_capsules, out_capsules, batch))

    def of_tile(poses: Array) -> tuple[tuple[Array, Array], list[Array]]:
        sums = [_gather(weights, poses, even)]
        pose_sum = jnp.zeros((out_capsules, out_dim, batch), poses.dtype)
        for _ in range(iterations - 1):
            pose_sum = pose_sum + _squash(sums[-1])
            couplings = fence(couple, _agreement(weights, poses, jnp.multiply(scale, pose_sum)))
            sums.append(_gather(weights, poses, couplings))
        return (_squash(sums[-1]), pose_sum), sums

    result, sums = lax.map(of_tile, tiles)
    return result, (weights, tiles, scale, sums)


def _backward(
    iterations: int, couple: Couple, kept: tuple[Array, Array, Scale, list[Array]], cotangents: tuple[Array, Array]
) -> tuple[Array, Array, Array]:
    weights, tiles, scale, sums = kept

    def of_tile(by_weights: Array, tile: tuple[Array, list[Array], Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        more, by_poses, by_scale = _tile_backward(iterations, couple, weights, scale, *tile)
        return by_weights + more, (by_poses, by_scale)

    if tiles.shape[0] == 1:
        only = jax.tree.map(lambda x: x[0], (tiles, sums, *cotangents))
        by_weights, by_poses, by_scale = _tile_backward(iterations, couple, weights, scale, *only)
        return by_weights, by_poses[None], by_scale
    by_weights, (by_poses, by_scale) = lax.scan(of_tile, jnp.zeros_like(weights), (tiles, sums, *cotangents))
    return by_weights, by_poses, jnp.sum(by_scale)


def _tile_backward(
    iterations: int,
    couple: Couple,
    weights: Array,
    scale: Scale,
    poses: Array,
    sums: list[Array],
    pose_cotangent: Array,
    sum_cotangent: Array,
) -> tuple[Array, Array, Array]:
    """Returns the cotangents of weights, in poses and scale, given those of the out poses and of the sum."""
    pose_sums = [_squash(sums[0])]
    for each in sums[1:-1]:
        pose_sums.append(pose_sums[-1] + _squash(each))

    # A vote's cotangent is a sum of terms [in, out] x [out, dim_out]: c ds of each gathering, da p of each agreement.
    terms: list[tuple[Array, Array]] = []
    by_scale = jnp.zeros_like(scale)
    for iteration in reversed(range(1, iterations)):
        (ds,) = jax.vjp(_squash, sums[iteration])[1](pose_cotangent)
        pose_sum = jnp.multiply(scale, pose_sums[iteration - 1])
        c = fence(couple, _agreement(weights, poses, pose_sum))
        dc = _agreement(weights, poses, ds)
        da = fence(_softmax_backward, c, dc)
        terms += [(c, ds), (da, pose_sum)]
        gathered = _gather(weights, poses, da)
        by_scale = by_scale + jnp.sum(gathered * pose_sums[iteration - 1])
        # This iteration's pose is in the sums of all later ones.
        sum_cotangent = sum_cotangent + scale * gathered
        pose_cotangent = sum_cotangent
    (ds,) = jax.vjp(_squash, sums[0])[1](pose_cotangent)
    even = couple(jnp.zeros((1, weights.shape[1], 1), poses.dtype))[0]

    in_capsules, out_capsules, out_dim, in_dim = weights.shape
    batch = poses.shape[2]
    chunk = _chunk(in_capsules, out_capsules * out_dim * batch * poses.dtype.itemsize)
    vectors = [vector for _, vector in terms]

    def of_chunk(chunked: tuple[Array, Array, list[Array]]) -> tuple[Array, Array]:
        weights, poses, coefficients = chunked

        def spelled_out(*coefficients: Array) -> Array:
            total = jnp.broadcast_to((even[:, None] * ds)[None], (chunk, out_capsules, out_dim, batch))
            for coefficient, vector in zip(coefficients, vectors, strict=True):
                total = total + coefficient[:, :, None] * vector[None]
            return total.reshape(chunk, out_capsules * out_dim, batch)

        votes_cotangent = fence(spelled_out, *coefficients) if coefficients else spelled_out()
        flat = weights.reshape(chunk, out_capsules * out_dim, in_dim)
        by_poses = lax.dot_general(flat, votes_cotangent, (((1,), (1,)), ((0,), (0,))))
        by_weights = lax.dot_general(votes_cotangent, poses, (((2,), (2,)), ((0,), (0,))))
        return by_weights.reshape(weights.shape), by_poses

    chunks = jax.tree.map(
        lambda x: x.reshape(in_capsules // chunk, chunk, *x.shape[1:]), (weights, poses, [c for c, _ in terms])
    )
    by_weights, by_poses = lax.map(of_chunk, chunks)
    return by_weights.reshape(weights.shape), by_poses.reshape(poses.shape), by_scale


_route.defvjp(_forward, _backward)


def _chunk(in_capsules: int, bytes_each: int) -> int:
    """Returns the largest divisor of the number of in capsules whose cotangents of votes fit in memory."""
    most = max(1, CHUNK_BYTES // bytes_each)
    return max(size for size in range(1, min(most, in_capsules) + 1) if in_capsules % size == 0)
