import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxcaps.functional
from tests import references
from tests.gradients import assert_equal_finite_differences

# Temperatures are traced like all else; each set of masks compiles once.
nt_xent = jax.jit(jaxcaps.functional.nt_xent)
nt_xent_per_anchor = jax.jit(jaxcaps.functional.nt_xent_per_anchor)


def views(n=6, dim=5, seed=0):
    return np.random.default_rng(seed).normal(size=(2, n, dim)).astype(np.float32)


def test_by_hand():
    # Orthogonal examples with identical views, temperature 1: each view has its positive at 1 and two negatives at 0.
    z = 3 * np.eye(2, dtype=np.float32)
    np.testing.assert_allclose(nt_xent_per_anchor(z, z, temperature=1.0), np.full(4, np.log(np.e + 2) - 1), rtol=1e-6)


def test_the_positive_of_a_view_is_the_other_view_of_its_example():
    # Views of n = 3 examples lie close together; were the positive the neighbour, the loss would be large.
    z = np.eye(3, dtype=np.float32)
    assert np.max(np.asarray(nt_xent_per_anchor(z, z, temperature=0.05))) < 1e-6
    assert np.min(np.asarray(nt_xent_per_anchor(z, np.roll(z, 1, axis=0), temperature=0.05))) > 10


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_equals_optax(temperature):
    z_a, z_b = views()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        expected = jax.jit(optax.losses.ntxent)(np.concatenate([z_a, z_b]), np.tile(np.arange(6), 2), temperature)
    np.testing.assert_allclose(nt_xent(z_a, z_b, temperature=temperature), expected, rtol=1e-5)


integers = st.lists(st.integers(-1, 2), min_size=6, max_size=6)


@given(
    integers,
    st.lists(st.integers(0, 3), min_size=6, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_equals_the_reference_whatever_is_masked(groups, sources, valid):
    z_a, z_b = views()
    masks = {"groups": np.array(groups), "sources": np.array(sources), "valid": np.array(valid)}
    losses = nt_xent_per_anchor(z_a, z_b, temperature=0.2, **masks)
    expected = references.nt_xent_per_anchor(z_a, z_b, 0.2, **masks)
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-5)
    mean = nt_xent(z_a, z_b, temperature=0.2, **masks)
    np.testing.assert_allclose(mean, expected.sum() / max(2 * sum(valid), 1), rtol=1e-4, atol=1e-5)


def test_a_view_is_never_compared_with_itself():
    # All views equal: 2n - 1 candidates at the same similarity.
    z = np.ones((4, 3), np.float32)
    np.testing.assert_allclose(nt_xent(z, z, temperature=0.1), np.log(7), rtol=1e-5)


def test_views_of_one_group_are_no_negatives_but_the_positive_stays():
    z_a, z_b = views(n=3)
    np.testing.assert_allclose(
        nt_xent_per_anchor(z_a, z_b, temperature=0.2, groups=np.zeros(3, int)), np.zeros(6), atol=1e-6
    )


def test_negative_groups_mask_nothing():
    z_a, z_b = views()
    np.testing.assert_array_equal(
        nt_xent_per_anchor(z_a, z_b, temperature=0.2, groups=np.full(6, -1)),
        nt_xent_per_anchor(z_a, z_b, temperature=0.2),
    )


def test_two_draws_of_one_image_equal_one_draw_for_each_of_their_views():
    z_a, z_b = views(n=3)
    once = np.asarray(nt_xent_per_anchor(z_a, z_b, temperature=0.2))
    twice_a, twice_b = (np.concatenate([z, z[:1]]) for z in (z_a, z_b))
    twice = np.asarray(nt_xent_per_anchor(twice_a, twice_b, temperature=0.2, sources=np.array([5, 6, 7, 5])))
    np.testing.assert_allclose(twice[[0, 4]], once[[0, 3]], rtol=1e-5)
    np.testing.assert_array_equal(twice[[0, 4]], twice[[3, 7]])


def test_padding_changes_nothing_even_where_it_holds_nan():
    z_a, z_b = views(n=4)
    padding = np.full((2, 5), np.nan, np.float32)
    valid = np.array([True] * 4 + [False] * 2)

    def padded(a, b):
        return nt_xent(jnp.concatenate([a, padding]), jnp.concatenate([b, padding]), temperature=0.2, valid=valid)

    def plain(a, b):
        return nt_xent(a, b, temperature=0.2)

    @jax.jit
    def both(a, b):
        return [jax.value_and_grad(loss, (0, 1))(a, b) for loss in (padded, plain)]

    (value, gradients), (expected, expected_gradients) = both(z_a, z_b)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for one, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_batch_of_padding_alone_gives_zero_and_no_nan():
    z_a, z_b = views(n=3)
    padding = np.zeros(3, bool)
    value, gradient = jax.jit(jax.value_and_grad(lambda a: nt_xent(a, z_b, temperature=0.2, valid=padding)))(z_a)
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(z_a))


def test_a_single_example_has_no_negatives_and_loss_zero():
    z_a, z_b = views(n=1)
    value, gradient = jax.jit(jax.value_and_grad(lambda a: nt_xent(a, z_b, temperature=0.1)))(z_a)
    assert float(value) == 0
    np.testing.assert_allclose(gradient, np.zeros_like(z_a), atol=1e-7)


def test_zero_vectors_give_finite_values_and_gradients():
    zeros = np.zeros((3, 4), np.float32)
    value, gradients = jax.jit(jax.value_and_grad(lambda a, b: nt_xent(a, b, temperature=0.1), (0, 1)))(zeros, zeros)
    assert float(value) == pytest.approx(np.log(5), rel=1e-5)
    assert all(np.all(np.isfinite(each)) for each in gradients)


def test_the_length_of_embeddings_does_not_matter():
    z_a, z_b = views()
    np.testing.assert_allclose(
        nt_xent(z_a * 100, z_b * 0.01, temperature=0.1), nt_xent(z_a, z_b, temperature=0.1), rtol=1e-5
    )


@given(st.permutations(range(6)))
def test_permuted_examples_give_permuted_losses(order):
    order = np.array(order)
    z_a, z_b = views()
    groups = np.array([0, 0, 1, -1, 1, -1])
    losses = np.asarray(nt_xent_per_anchor(z_a, z_b, temperature=0.2, groups=groups))
    permuted = nt_xent_per_anchor(z_a[order], z_b[order], temperature=0.2, groups=groups[order])
    np.testing.assert_allclose(permuted, losses[np.concatenate([order, order + 6])], rtol=1e-5, atol=1e-6)


def test_gradients_equal_finite_differences():
    z_a, z_b = views(4, 3, seed=4).astype(np.float64)
    groups = np.array([0, 0, 1, -1])

    def losses(a, b, temperature):
        return nt_xent_per_anchor(a, b, temperature=temperature, groups=groups)

    def expected(a, b, temperature):
        return references.nt_xent_per_anchor(a, b, temperature, groups=groups)

    assert_equal_finite_differences(losses, (z_a, z_b, np.array(0.3)), reference=expected)


def test_bfloat16_embeddings_are_compared_in_float32():
    z_a, z_b = views().astype(jnp.bfloat16)
    loss = np.asarray(nt_xent(z_a, z_b, temperature=0.05))
    assert loss.dtype == np.float32
    np.testing.assert_array_equal(loss, nt_xent(z_a.astype(np.float32), z_b.astype(np.float32), temperature=0.05))


def test_a_low_temperature_stays_finite():
    z = np.eye(4, dtype=np.float32)
    assert np.isfinite(nt_xent(z, -z, temperature=1e-3))
