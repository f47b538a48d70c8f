"""The fused convolutional EM routing equals the plain form, in value and gradient, and stores no votes."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxcaps.functional import EM, conv_caps
from jaxcaps.functional.cpu.em import LEAST_BATCH, fused_em_fits
from tests.marks import slow


class PlainEM(EM):
    """EM without its fused form."""

    route_patches_fused = None

    def __getattribute__(self, name):
        if name == "route_patches_fused":
            raise AttributeError(name)
        return super().__getattribute__(name)


def arrays(batch=LEAST_BATCH, side=5, in_types=4, out_types=3, transform="matrix", dtype=np.float32):
    generator = np.random.default_rng(0)
    matrix = (2, 2) if transform == "matrix" else (3, 2)
    dim = 4 if transform == "matrix" else 2
    drawn = (
        generator.normal(size=(3, 3, in_types, out_types, *matrix)),
        generator.normal(size=(batch, side, side + 1, in_types, dim)),
        generator.uniform(size=(batch, side, side + 1, in_types)),
        generator.normal(size=out_types),
        generator.normal(size=out_types),
    )
    return jax.device_put(tuple(each.astype(dtype) for each in drawn))


def layer(routing, **settings):
    def of(weights, poses, activations, beta_a, beta_u):
        parameters = {"beta_a": beta_a, "beta_u": beta_u}
        return conv_caps(routing, weights, parameters, poses, activations, **settings)

    return of


def loss(routed):
    """Reads poses, activations and couplings, each element with a weight of its own."""
    total = 0.0
    for each in routed:
        total += jnp.sum(each * jnp.cos(jnp.arange(each.size, dtype=each.dtype)).reshape(each.shape))
    return total


def assert_equals_plain(settings, given, tolerance=2e-5, **of_routing):
    assert fused_em_fits(*given[:2])

    @jax.jit
    def both(*given):
        def gradients(of):
            def loss_and_routed(*given):
                routed = of(*given)
                return loss(routed), routed

            return jax.grad(loss_and_routed, argnums=range(5), has_aux=True)(*given)

        fused, plain = (layer(description(**of_routing), **settings) for description in (EM, PlainEM))
        expected, routed = gradients(plain)
        return (*fused(*given), *gradients(fused)[0]), (*routed, *expected)

    for ours, theirs in zip(*both(*given), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("iterations", "transform", "stride", "padding"),
    [
        (2, "matrix", 2, 0),
        *slow((1, "vector", 1, 0), (3, "vector", 1, 1)),
    ],
)
def test_values_and_gradients_equal_the_plain_form(iterations, transform, stride, padding):
    settings = dict(stride=stride, padding=padding, transform=transform)
    # A hot routing, so that activations and couplings are far from where they start.
    assert_equals_plain(settings, arrays(transform=transform), iterations=iterations, inverse_temperature=1.0)


@pytest.mark.slow
def test_tiles_and_rests_equal_the_plain_form():
    # 9 positions: tiles of 32 examples, and 3 more; 9 in capsules, in groups of 3.
    assert_equals_plain(dict(stride=1, padding=0, transform="matrix"), arrays(35, side=3, in_types=1), iterations=2)


@pytest.mark.slow
def test_double_precision_equals_the_plain_form_and_finite_differences():
    with jax.enable_x64(True):
        given = arrays(side=3, in_types=1, out_types=2, dtype=np.float64)
        settings = dict(stride=1, padding=0, transform="matrix")
        assert_equals_plain(settings, given, 1e-10, iterations=2, inverse_temperature=1.0)
        of = layer(EM(iterations=2, inverse_temperature=1.0), **settings)
        check_grads(jax.jit(lambda *a: loss(of(*a))), given, 1, modes=("rev",))


@pytest.mark.slow
def test_extremes_are_finite():
    weights, poses, activations, *betas = arrays()
    of = layer(EM(), transform="matrix")
    both = jax.jit(lambda *a: (of(*a), jax.grad(lambda *a: loss(of(*a)), argnums=range(5))(*a)))
    for scale, activation in [(0.0, 0.0), (0.0, 1.0), (1e4, 0.0), (1e4, 1.0)]:
        results = both(weights, scale * poses, np.full_like(activations, activation), *betas)
        assert all(np.isfinite(each).all() for each in jax.tree.leaves(results))


@pytest.mark.slow
def test_it_is_used_on_shards_too():
    """Inside shard_map its branches and loops must agree about what varies over the mesh."""
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    given = arrays(2 * LEAST_BATCH, in_types=1, out_types=2)
    of = layer(EM(), transform="matrix")

    def both(*given):
        gradients = jax.grad(lambda *a: jnp.sum(of(*a).poses ** 3), argnums=range(5))(*given)
        return of(*given).couplings, *gradients

    rest, shared = P("data"), P()
    in_specs = (shared, rest, rest, shared, shared)
    sharded = jax.shard_map(both, mesh=mesh, in_specs=in_specs, out_specs=(rest, *in_specs))
    # Weights and betas are every device's, so their gradients are summed over the devices.
    for ours, theirs in zip(jax.jit(sharded)(*given), jax.jit(both)(*given), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.slow
def test_no_votes_are_stored():
    given = arrays(32, side=8, in_types=16, out_types=16)
    of = layer(EM(), transform="matrix")
    gradient = jax.grad(lambda *a: jnp.sum(of(*a).poses), argnums=(0, 1, 2))
    compiled = jax.jit(gradient).lower(*given).compile()
    votes = 32 * 6 * 7 * 9 * 16 * 16 * 4 * 4
    assert compiled.memory_analysis().temp_size_in_bytes < votes


def test_betas_that_do_not_fit_are_refused_by_name(no_type_checks):
    weights, poses, activations, beta_a, beta_u = arrays()
    with pytest.raises(ValueError, match=re.escape("beta_u: shape [3] expected for votes of shape")):
        layer(EM(), transform="matrix")(weights, poses, activations, beta_a, beta_u[:2])


@pytest.mark.parametrize(
    ("batch", "in_types", "dtype"), [(LEAST_BATCH - 1, 4, jnp.float32), (LEAST_BATCH, 4, jnp.bfloat16)]
)
def test_where_it_would_not_pay_the_plain_form_is_used(batch, in_types, dtype):
    given = arrays(batch, in_types=in_types, dtype=dtype)
    assert not fused_em_fits(*given[:2])
    assert jax.eval_shape(layer(EM(), transform="matrix"), *given).poses.dtype == dtype
