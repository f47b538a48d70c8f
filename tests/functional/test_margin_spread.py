import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcaps.functional import margin_loss, select_capsule, spread_loss, spread_margin
from tests import references
from tests.gradients import assert_equal_finite_differences

jitted_margin_loss, jitted_spread_loss = jax.jit(margin_loss), jax.jit(spread_loss)
five_activations = hnp.arrays(np.float32, 5, elements=st.floats(0, 1, width=32))
label = st.integers(0, 4)


def test_margin_loss_golden_value_is_not_halved():
    # A published example: labels [0, 0, 1] and [1, 1, 1] give 2.14. The second row has three classes at once, whose
    # terms are the positive ones alone.
    first = float(jitted_margin_loss(np.array([-0.3, 0.3, 0.9], np.float32), 2))
    row = np.array([1.2, 0.5, -0.5], np.float32)
    positive = jax.jit(lambda row, label: margin_loss(row, label, negative_weight=0.0))
    second = sum(float(positive(row, label)) for label in range(3))
    assert first == pytest.approx(0.02, rel=1e-5)
    assert first + second == pytest.approx(2.14, rel=1e-5)


def test_margin_loss_by_hand():
    # (0.9 - 0.6)^2 + 0.5 * ((0.3 - 0.1)^2 + 0)
    assert float(jitted_margin_loss(np.array([0.6, 0.3, 0.05], np.float32), 0)) == pytest.approx(0.09 + 0.02, rel=1e-5)


def test_margin_loss_is_zero_beyond_the_margins():
    assert float(jitted_margin_loss(np.array([0.95, 0.1, 0.0], np.float32), 0)) == 0


@given(five_activations, label)
def test_margin_loss_equals_the_reference(activations, label):
    expected = references.margin_loss(activations.astype(np.float64), label)
    np.testing.assert_allclose(jitted_margin_loss(activations, label), expected, rtol=1e-4, atol=1e-6)


def test_spread_loss_by_hand_leaves_out_the_targets_own_term():
    # (0.5 - 0.2)^2 + (0.5 - 0.4)^2; with the own term it would be 0.25 more.
    assert float(jitted_spread_loss(np.array([0.6, 0.4, 0.2], np.float32), 0, 0.5)) == pytest.approx(
        0.09 + 0.01, rel=1e-5
    )


def test_spread_loss_is_zero_when_the_target_stands_out_by_the_margin():
    assert float(jitted_spread_loss(np.array([0.0, 0.9, 0.1], np.float32), 1, 0.75)) == 0


@given(five_activations, label, st.floats(0.1, 1))
def test_spread_loss_equals_the_reference(activations, label, margin):
    expected = references.spread_loss(activations.astype(np.float64), label, margin)
    np.testing.assert_allclose(jitted_spread_loss(activations, label, margin), expected, rtol=1e-4, atol=1e-6)


def test_spread_margin_grows_from_first_to_last():
    margins = [spread_margin(progress) for progress in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(margins, [0.2, 0.55, 0.9], rtol=1e-6)
    assert spread_margin(0.5, start=0.0, end=0.4) == pytest.approx(0.2)


def test_spread_margin_stays_in_its_range():
    np.testing.assert_allclose([spread_margin(-0.1), spread_margin(1.1)], [0.2, 0.9], rtol=1e-6)


def test_both_losses_have_right_gradients():
    activations, margin = np.array([0.61, 0.37, 0.23, 0.83]), np.array(0.7)
    assert_equal_finite_differences(
        lambda a, m: (margin_loss(a, 1), spread_loss(a, 1, m)),
        (activations, margin),
        reference=lambda a, m: (references.margin_loss(a, 1), references.spread_loss(a, 1, m)),
    )


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_labels_may_be_traced_and_of_any_integer_dtype(dtype):
    activations = np.random.default_rng(0).uniform(size=(4, 3)).astype(np.float32)
    labels = np.array([0, 2, 1, 0], dtype)

    @jax.jit
    def both(activations, labels, progress):
        margin = spread_margin(progress)
        return jax.vmap(lambda a, t: (margin_loss(a, t), spread_loss(a, t, margin)))(activations, labels)

    margin_losses, spread_losses = map(np.asarray, both(activations, labels, np.float32(0.3)))
    for row, (a, t) in enumerate(zip(activations.astype(np.float64), labels, strict=True)):
        assert margin_losses[row] == pytest.approx(references.margin_loss(a, t), rel=1e-5)
        assert spread_losses[row] == pytest.approx(references.spread_loss(a, t, 0.2 + 0.3 * 0.7), rel=1e-5)


def test_bfloat16_activations_give_a_float32_loss():
    activations = np.array([0.6, 0.4, 0.2], jnp.bfloat16)
    margin, spread = jitted_margin_loss(activations, 0), jitted_spread_loss(activations, 0, 0.5)
    assert margin.dtype == spread.dtype == np.float32
    assert float(spread) == float(jitted_spread_loss(activations.astype(np.float32), 0, 0.5))


@pytest.mark.parametrize("label", [1, np.uint8(1)])
def test_select_capsule_keeps_one_pose(label):
    poses = np.array([[1, 2], [3, 4], [5, 6]], jnp.bfloat16)
    selected = jax.jit(select_capsule)(poses, label)
    assert selected.dtype == poses.dtype
    np.testing.assert_array_equal(selected, [[0, 0], [3, 4], [0, 0]])


def test_select_capsule_shields_the_others_from_the_gradient():
    gradient = jax.jit(jax.grad(lambda poses: select_capsule(poses, 2).sum()))(np.ones((3, 2), np.float32))
    np.testing.assert_array_equal(gradient, [[0, 0], [0, 0], [1, 1]])
