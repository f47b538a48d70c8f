"""The fused dynamic routing of dense capsules equals the plain form, in value and gradient, and stores no votes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxcaps.functional import Dynamic, LeakyDynamic, Routed, dense_caps, dynamic_routing, leaky_dynamic_routing
from jaxcaps.functional.cpu.dynamic import GATHERED, LEAST_BATCH, TILE, fused_dynamic_fits
from tests.marks import slow

PLAIN = {Dynamic: dynamic_routing, LeakyDynamic: leaky_dynamic_routing}


def arrays(batch, in_capsules=24, out_capsules=3, out_dim=4, in_dim=2, dtype=jnp.float32):
    weights_key, poses_key = jax.random.split(jax.random.key(0))
    weights = jax.random.normal(weights_key, (in_capsules, out_capsules, out_dim, in_dim), dtype)
    return weights, jax.random.normal(poses_key, (batch, in_capsules, in_dim), dtype)


def loss(routed):
    """Reads poses, activations and couplings, each element with a weight of its own."""
    total = 0.0
    for each in routed:
        total += jnp.sum(each * jnp.cos(jnp.arange(each.size, dtype=each.dtype)).reshape(each.shape))
    return total


@pytest.mark.parametrize(("description", "iterations"), [(LeakyDynamic, 2), *slow((Dynamic, 1), (Dynamic, 3))])
def test_values_and_gradients_equal_the_plain_form(description, iterations):
    weights, poses = arrays(LEAST_BATCH + 1)
    assert fused_dynamic_fits(weights, poses)

    def plain(votes, in_activations=None):
        return PLAIN[description](votes, in_activations, iterations=iterations)

    @jax.jit
    def both(weights, poses):
        def of(routing):
            return lambda *arguments: dense_caps(routing, arguments[0], {}, arguments[1])

        results = []
        for routing in (description(iterations=iterations), plain):
            gradients = jax.grad(lambda *a, routing=routing: loss(of(routing)(*a)), argnums=(0, 1))(weights, poses)
            results.append((*of(routing)(weights, poses), *gradients))
        return results

    for ours, theirs in zip(*both(weights, poses), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize(("batch", "in_capsules"), [(9, 8 * 17 + 4), *slow((2 * TILE + 5, 24))])
def test_tiles_and_rests_equal_the_plain_form(batch, in_capsules):
    weights, poses = arrays(batch, in_capsules)
    assert fused_dynamic_fits(weights, poses)

    @jax.jit
    def gradients(weights, poses):
        return [
            jax.grad(lambda *a, routing=routing: loss(dense_caps(routing, a[0], {}, a[1])[:2]), argnums=(0, 1))(
                weights, poses
            )
            for routing in (Dynamic(), dynamic_routing)
        ]

    for ours, theirs in zip(*gradients(weights, poses), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


def test_gradients_equal_finite_differences():
    with jax.enable_x64(True):
        weights, poses = arrays(LEAST_BATCH, GATHERED, 2, 3, 2, jnp.float64)
        assert fused_dynamic_fits(weights, poses)
        check_grads(
            jax.jit(lambda *a: loss(dense_caps(Dynamic(), a[0], {}, a[1]))),
            (weights, poses),
            1,
            modes=("fwd", "rev"),
        )


@pytest.mark.slow
def test_zero_poses_have_finite_gradients():
    weights, poses = arrays(LEAST_BATCH)
    gradient = jax.jit(jax.grad(lambda w, x: loss(dense_caps(Dynamic(), w, {}, x)), argnums=(0, 1)))
    assert all(np.isfinite(each).all() for each in gradient(weights, jnp.zeros_like(poses)))


@pytest.mark.slow
def test_it_is_used_on_shards_too():
    """Inside shard_map its branches and loops must agree about what varies over the mesh."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    weights, poses = arrays(2 * LEAST_BATCH)

    def layer(weights, poses):
        return dense_caps(Dynamic(), weights, {}, poses)

    def total(weights, poses):
        return jnp.sum(layer(weights, poses).poses ** 3)

    sharded = jax.jit(jax.shard_map(layer, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data")))
    whole: Routed = jax.jit(layer)(weights, poses)
    for ours, theirs in zip(sharded(weights, poses), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    # The weights are every device's, so their gradient is summed over the devices.
    gradients = jax.grad(total, argnums=(0, 1))
    split = jax.shard_map(gradients, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P(), P("data")))
    for ours, theirs in zip(jax.jit(split)(weights, poses), jax.jit(gradients)(weights, poses), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_no_votes_are_stored():
    weights, poses = arrays(TILE, 512, 10, 16, 8)
    gradient = jax.grad(lambda w, x: jnp.sum(dense_caps(Dynamic(), w, {}, x).poses), argnums=(0, 1))
    temporaries = jax.jit(gradient).lower(weights, poses).compile().memory_analysis().temp_size_in_bytes
    votes = TILE * 512 * 10 * 16 * 4
    assert temporaries < votes


@pytest.mark.parametrize(
    ("batch", "in_capsules", "dtype"),
    [(LEAST_BATCH - 1, 24, jnp.float32), (TILE, GATHERED - 1, jnp.float32), (TILE, 24, jnp.bfloat16)],
)
def test_where_it_would_not_pay_the_plain_form_is_used(batch, in_capsules, dtype):
    weights, poses = arrays(batch, in_capsules, dtype=dtype)
    assert not fused_dynamic_fits(weights, poses)
    routed = jax.eval_shape(lambda *given: dense_caps(Dynamic(), given[0], {}, given[1]), weights, poses)
    assert routed.poses.dtype == dtype
