"""The fused dynamic routing of dense capsules equals the plain form, in value and gradient, and stores no votes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxcaps.functional import (
    Dynamic,
    LeakyDynamic,
    Routed,
    class_caps,
    dense_caps,
    dynamic_routing,
    leaky_dynamic_routing,
)
from jaxcaps.functional.cpu.dynamic import GATHERED, LEAST_BATCH, TILE, fused_dynamic_fits
from tests import references
from tests.gradients import assert_equal_finite_differences
from tests.marks import slow

PLAIN = {Dynamic: dynamic_routing, LeakyDynamic: leaky_dynamic_routing}


def arrays(batch, in_capsules=24, out_capsules=3, out_dim=4, in_dim=2, dtype=np.float32):
    generator = np.random.default_rng(0)
    shapes = (in_capsules, out_capsules, out_dim, in_dim), (batch, in_capsules, in_dim)
    return jax.device_put(tuple(generator.normal(size=shape).astype(dtype) for shape in shapes))


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
        def gradients(routing):
            def of(weights, poses):
                routed = dense_caps(routing, weights, {}, poses)
                return loss(routed), routed

            return jax.grad(of, argnums=(0, 1), has_aux=True)(weights, poses)

        fused = description(iterations=iterations)
        expected, routed = gradients(plain)
        return (*dense_caps(fused, weights, {}, poses), *gradients(fused)[0]), (*routed, *expected)

    for ours, theirs in zip(*both(weights, poses), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("description", [LeakyDynamic, *slow(Dynamic)])
@pytest.mark.parametrize("batch", [LEAST_BATCH, *slow(2 * TILE + 5)])
def test_a_learned_scale_has_the_value_and_the_gradient_of_the_plain_form(description, batch):
    @jax.jit
    def gradients(arguments):
        def fused(weights, poses, log_scale):
            routing = description(learn_agreement_scale=True)
            return loss(dense_caps(routing, weights, {"log_agreement_scale": log_scale}, poses))

        def plain(weights, poses, log_scale):
            routing = partial(PLAIN[description], agreement_scale=jnp.exp(log_scale))
            return loss(dense_caps(routing, weights, {}, poses))

        return [jax.grad(form, argnums=(0, 1, 2))(*arguments) for form in (fused, plain)]

    with jax.enable_x64(True):
        arguments = (*arrays(batch, dtype=np.float64), np.float64(1.3))
        assert fused_dynamic_fits(*arguments[:2])
        found, expected = gradients(arguments)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10 * np.abs(theirs).max())


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
            for routing in (Dynamic(2), partial(dynamic_routing, iterations=2))
        ]

    for ours, theirs in zip(*gradients(weights, poses), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("coordinates", [(0, 1), *slow(None)])
def test_class_capsules_whose_positions_share_weights_are_fused_too(coordinates):
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(4, 3, 4, 2)).astype(np.float32)
    poses = generator.normal(size=(LEAST_BATCH, 2, 3, 4, 2)).astype(np.float32)
    arguments = jax.device_put((weights, poses))

    @jax.jit
    def both(weights, poses):
        def gradients(routing):
            def of(weights, poses):
                routed = class_caps(routing, weights, {}, poses, coordinates=coordinates)
                return loss(routed), routed

            return jax.grad(of, argnums=(0, 1), has_aux=True)(weights, poses)

        return [jax.tree.leaves(gradients(routing)) for routing in (Dynamic(2), partial(dynamic_routing, iterations=2))]

    for ours, theirs in zip(*both(*arguments), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())
    text = jax.jit(lambda w, x: class_caps(Dynamic(2), w, {}, x, coordinates=coordinates)).lower(*arguments).as_text()
    plain = jax.jit(lambda w, x: class_caps(dynamic_routing, w, {}, x, coordinates=coordinates))
    assert text.count("stablehlo.multiply") > plain.lower(*arguments).as_text().count("stablehlo.multiply")


def test_gradients_equal_finite_differences():
    def routed(weights, poses):
        return tuple(dense_caps(Dynamic(), weights, {}, poses))

    def expected(weights, poses):
        examples = [references.dynamic_routing(references.dense_votes(weights, each), 3) for each in poses]
        return tuple(map(np.array, zip(*examples, strict=True)))

    with jax.enable_x64(True):
        weights, poses = arrays(LEAST_BATCH, GATHERED, 2, 3, 2, np.float64)
        assert fused_dynamic_fits(weights, poses)
    assert_equal_finite_differences(routed, (np.asarray(weights), np.asarray(poses)), expected)


@pytest.mark.slow
def test_zero_poses_have_finite_gradients():
    weights, poses = arrays(LEAST_BATCH)
    gradient = jax.jit(jax.grad(lambda w, x: loss(dense_caps(Dynamic(), w, {}, x)), argnums=(0, 1)))
    assert all(np.isfinite(each).all() for each in gradient(weights, np.zeros_like(poses)))


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
    [(LEAST_BATCH - 1, 24, np.float32), (TILE, GATHERED - 1, np.float32), (TILE, 24, jnp.bfloat16)],
)
def test_where_it_would_not_pay_the_plain_form_is_used(batch, in_capsules, dtype):
    weights, poses = arrays(batch, in_capsules, dtype=dtype)
    assert not fused_dynamic_fits(weights, poses)
    routed = jax.eval_shape(lambda *given: dense_caps(Dynamic(), given[0], {}, given[1]), weights, poses)
    assert routed.poses.dtype == dtype
