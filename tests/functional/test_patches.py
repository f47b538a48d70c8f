import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from jaxcaps.functional import compete_across, em_patch_routing, em_routing, extract_patches, named_routing, window
from tests import references
from tests.gradients import assert_equal_finite_differences
from tests.marks import slow

# Every term matters under these.
SETTINGS = {"inverse_temperature": 5.0, "variance_floor": 0.2, "cost_scale": 0.5}
# kernel, stride, padding: overlapping or not, and with rows of the map that no patch holds.
GEOMETRIES = [(2, 1, 0), (3, 1, 1), (2, 2, 0), (3, 2, 0), (3, 2, 1), (1, 2, 0)]

compete = jax.jit(compete_across, static_argnames="stride")


def draw(kernel, stride, padding, sides=(5, 4), dtype=np.float32, scale=1.0):
    """Votes, the padded map of in activations, and the two learned parameters, of 2 in types and 3 out types."""
    generator = np.random.default_rng(0)
    activation_map = np.pad(generator.uniform(0.1, 1, (*sides, 2)), [(padding, padding)] * 2 + [(0, 0)])
    rows, columns = ((side - kernel) // stride + 1 for side in activation_map.shape[:2])
    votes = scale * generator.normal(size=(rows, columns, kernel, kernel, 2, 3, 2))
    betas = {name: generator.normal(size=3).astype(dtype) for name in ("beta_a", "beta_u")}
    return votes.astype(dtype), activation_map.astype(dtype), betas


@functools.partial(jax.jit, static_argnames=("stride", "iterations", *SETTINGS))
def route(votes, activation_map, betas, stride, **settings):
    active = extract_patches(activation_map, kernel=votes.shape[2], stride=stride)
    return em_patch_routing(votes, active, stride=stride, **betas, **settings)


def assert_close(values, expected, tolerance):
    for value, wanted in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize(("kernel", "stride", "padding"), GEOMETRIES)
def test_patches_equal_a_loop(kernel, stride, padding):
    @jax.jit
    def patches(maps):
        return [extract_patches(each, kernel=kernel, stride=stride, padding=padding) for each in maps]

    generator = np.random.default_rng(0)
    maps = [generator.normal(size=(5, 4, *rest)).astype(np.float32) for rest in ((), (2,), (2, 3))]
    for x, found in zip(maps, patches(maps), strict=True):
        np.testing.assert_array_equal(found, references.extract_patches(x, kernel, stride, padding))


def test_patches_by_hand():
    x = np.arange(9, dtype=np.float32).reshape(3, 3)
    patches = np.asarray(jax.jit(functools.partial(extract_patches, kernel=2))(x))
    np.testing.assert_array_equal(patches[0, 1], [[1, 2], [4, 5]])
    np.testing.assert_array_equal(patches[1, 0], [[3, 4], [6, 7]])


@pytest.mark.parametrize(("kernel", "stride", "padding"), GEOMETRIES)
def test_competition_equals_a_softmax_over_the_parents_of_each_child(kernel, stride, padding):
    logits = draw(kernel, stride, padding, scale=3.0)[0][..., 0]
    couplings = compete(logits, stride=stride)
    np.testing.assert_allclose(couplings, references.softmax_over_parents(logits, stride), rtol=1e-5)


def test_competition_by_hand():
    # A row of three places, patches of two, one in and one out type: the middle place has two parents, of logits ln 3
    # and 0, the outer ones have one each. The kernel is square, so the second row of the patches does likewise.
    logits = np.zeros((1, 2, 2, 2, 1, 1), np.float32)
    logits[0, 0, 0, 1] = np.log(3)
    couplings = np.asarray(compete(logits, stride=1))[0, :, :, :, 0, 0]
    np.testing.assert_allclose(couplings[:, 0], [[1, 0.75], [0.25, 1]], rtol=1e-6)
    np.testing.assert_allclose(couplings[:, 1], [[1, 0.5], [0.5, 1]], rtol=1e-6)


def test_competition_within_a_sole_patch_is_a_softmax_over_the_out_types():
    logits = draw(4, 1, 0, sides=(4, 4))[0][..., 0]
    np.testing.assert_allclose(compete(logits, stride=1), softmax(logits, axis=5), rtol=1e-6)


@jax.jit
def couplings_and_gradient(logits):
    couplings, backward = jax.vjp(functools.partial(compete, stride=1), logits)
    return couplings, backward(jnp.cos(jnp.arange(logits.size, dtype=logits.dtype)).reshape(logits.shape))[0]


@pytest.mark.parametrize("scale", [0.0, 1e4, 1e30])
def test_competition_is_finite_whatever_the_logits(scale):
    logits = draw(3, 1, 0, scale=scale)[0][..., 0]
    couplings, gradient = couplings_and_gradient(logits)
    np.testing.assert_allclose(couplings, references.softmax_over_parents(logits, 1), rtol=1e-5, atol=1e-30)
    assert np.all(np.isfinite(gradient))


def test_gradients_of_the_competition_equal_finite_differences():
    logits = draw(3, 1, 0, dtype=np.float64)[0][..., 0]
    function, reference = (
        functools.partial(each, stride=1) for each in (compete_across, references.softmax_over_parents)
    )
    assert_equal_finite_differences(function, (logits,), reference)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "iterations"),
    [(2, 1, 0, 1), (3, 2, 1, 4), *slow((2, 1, 0, 3), (3, 1, 1, 2), (2, 2, 0, 3), (3, 2, 0, 3))],
)
def test_em_of_patches_equals_the_masked_dense_form(kernel, stride, padding, iterations):
    votes, activation_map, betas = draw(kernel, stride, padding)
    settings = {"iterations": iterations, **SETTINGS}
    expected = references.em_patch_routing(votes, activation_map, stride, **betas, **settings)
    assert_close(route(votes, activation_map, betas, stride, **settings), expected, 1e-5)
    with jax.enable_x64(True):
        votes, activation_map, betas = draw(kernel, stride, padding, dtype=np.float64)
        expected = references.em_patch_routing(votes, activation_map, stride, **betas, **settings)
        assert_close(route(votes, activation_map, betas, stride, **settings), expected, 1e-10)


def test_parents_compete_across_positions():
    # Not so where each position routes its own patch: the rows of its couplings sum to 1 by themselves.
    votes, activation_map, betas = draw(2, 1, 0)
    sums = np.asarray(route(votes, activation_map, betas, 1, **SETTINGS).couplings).sum(axis=-1)
    # A corner of the map lies in one patch, the place beside it in two, one further in in four.
    np.testing.assert_allclose(sums[0, 0, 0, 0], 1, rtol=1e-5)
    np.testing.assert_allclose(sums[0, 0, 0, 1] + sums[0, 1, 0, 0], 1, rtol=1e-5)
    inner = sums[0, 0, 1, 1], sums[0, 1, 1, 0], sums[1, 0, 0, 1], sums[1, 1, 0, 0]
    np.testing.assert_allclose(np.sum(inner, axis=0), 1, rtol=1e-5)
    assert np.max(inner) < 0.99


def test_in_activations_matter():
    votes, activation_map, betas = draw(2, 1, 0)
    heeded = route(votes, activation_map, betas, 1, **SETTINGS)
    ignored = route(votes, np.ones_like(activation_map), betas, 1, **SETTINGS)
    for one, other in zip(heeded, ignored, strict=True):
        assert np.abs(np.asarray(one) - np.asarray(other)).max() > 1e-2


def test_a_kernel_that_covers_the_map_equals_em_routing_of_its_flattened_capsules():
    votes, activation_map, betas = draw(4, 1, 0, sides=(4, 4))
    routed = route(votes, activation_map, betas, 1, **SETTINGS)
    dense = jax.jit(functools.partial(em_routing, **SETTINGS))(votes.reshape(32, 3, 2), activation_map.ravel(), **betas)
    poses, activations, couplings = map(np.asarray, routed)
    flat = poses[0, 0], activations[0, 0], couplings.reshape(32, 3)
    assert_close(flat, dense, 1e-5)


def test_gradients_of_em_of_patches_equal_finite_differences():
    # No variance is within a finite difference of this floor.
    settings = SETTINGS | {"variance_floor": 0.1}

    def routed(votes, activation_map, betas):
        active = extract_patches(activation_map, kernel=2)
        return tuple(em_patch_routing(votes, active, stride=1, **betas, **settings))

    def expected(votes, activation_map, betas):
        return references.em_patch_routing(votes, activation_map, 1, 3, **betas, **settings)

    assert_equal_finite_differences(routed, draw(2, 1, 0, sides=(3, 3), dtype=np.float64), expected)


@pytest.mark.parametrize("dtype", [np.float32, *slow(jnp.bfloat16)], ids=["float32", "bfloat16"])
def test_em_of_patches_is_finite_at_its_extremes(dtype):
    @jax.jit
    def values_and_gradients(votes, activation_map, betas):
        def loss(*arguments):
            routed = route(*arguments, 1)
            return sum(jnp.sum(jnp.sin(each.astype(jnp.float32))) for each in routed), routed

        return jax.grad(loss, (0, 1, 2), has_aux=True)(votes, activation_map, betas)

    for scale, activity in [(1.0, 1), (0.0, 1), (1.0, 0), (0.0, 0), (1e4, 1)]:
        votes, activation_map, betas = draw(2, 1, 0, dtype=dtype, scale=scale)
        results = values_and_gradients(votes, (activation_map * activity).astype(dtype), betas)
        for leaf in jax.tree.leaves(results):
            assert leaf.dtype == dtype
            assert np.all(np.isfinite(np.float32(leaf)))


@pytest.mark.parametrize(("out_types", "cost_scale"), [(3, 1.0), (1, 0.5)])
def test_the_description_routes_patches_with_the_cost_of_a_hidden_layer(out_types, cost_scale):
    # 9 in capsules for each out capsule in the paper; here 9 places of 2 types, for 3 (at most 1) or for 1.
    votes, activation_map, betas = draw(3, 1, 0)
    votes, betas = votes[..., :out_types, :], {name: beta[:out_types] for name, beta in betas.items()}
    route_patches = functools.partial(named_routing("em", inverse_temperature=5.0).route_patches, stride=1)
    described = jax.jit(route_patches)(votes, references.extract_patches(activation_map, 3).astype(np.float32), **betas)
    settings = {"inverse_temperature": 5.0, "cost_scale": cost_scale}
    expected = references.em_patch_routing(votes, activation_map, 1, 3, **betas, **settings)
    assert_close(described, expected, 1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": 0}, "kernel and stride must be at least 1"),
        ({"kernel": 2, "stride": 0}, "kernel and stride must be at least 1"),
        ({"kernel": 2, "padding": -1}, "padding at least 0, not 2, 1 and -1"),
        ({"kernel": 5}, "kernel=5 does not fit into a map of 5x4 padded by 0"),
        ({"kernel": 7, "padding": 1}, "kernel=7 does not fit into a map of 5x4 padded by 1"),
    ],
)
def test_patches_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda x: extract_patches(x, **settings), np.ones((5, 4), np.float32))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("votes", lambda votes: votes[0], "votes: shape [rows, columns, kernel, kernel, in, out, dim] expected, found"),
        ("votes", lambda votes: votes[:, :, :1], "expected, found [4, 3, 1, 2, 2, 3, 2]"),
        ("in_activations", lambda active: active[..., :1], "in_activations: shape [4, 3, 2, 2, 2] expected for votes"),
        (
            "beta_a",
            lambda beta: beta[:1],
            "beta_a: shape [3] expected for votes of shape [4, 3, 2, 2, 2, 3, 2], found",
        ),
        ("beta_u", lambda beta: beta[None], "beta_u: shape [3] expected for votes of shape"),
        ("beta_u", lambda beta: beta.astype(np.int32), "beta_u: a floating-point array expected, found int32"),
        ("iterations", lambda iterations: 0, "iterations must be a Python int of at least 1, not 0"),
    ],
)
def test_bad_arguments_of_em_of_patches_are_named(name, change, message, no_type_checks):
    votes, activation_map, betas = draw(2, 1, 0)
    active = references.extract_patches(activation_map, 2).astype(np.float32)
    arguments = {"votes": votes, "in_activations": active, **betas, "stride": 1, "iterations": 3}
    arguments[name] = change(arguments[name])
    with pytest.raises(ValueError, match=re.escape(message)):
        em_patch_routing(**arguments)


def test_windows_are_one_integer_or_two_equal_ones():
    assert window(3) == (3, 1, 0)
    assert window((3, 3), [2, 2], (-1, -1)) == (3, 2, -1)
    assert window(np.int64(5), padding="VALID") == (5, 1, 0)
    assert window(5, padding="SAME") == (5, 1, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (((3, 5),), r"kernel=\(3, 5\): capsule layers have square windows; give one integer"),
        ((3.0,), "kernel=3.0: capsule layers have square windows"),
        ((3, 0), "stride=0: give an integer of at least 1"),
        ((3, 1, "same"), "padding='same': give an integer, 'SAME' or 'VALID'"),
        ((3, 2, "SAME"), "padding='SAME' with kernel=3 and stride=2 pads two sides unequally"),
        ((4, 1, "SAME"), "padding='SAME' with kernel=4 and stride=1 pads two sides unequally"),
    ],
)
def test_other_windows_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        window(*given)
