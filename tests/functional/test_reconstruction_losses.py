import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcaps.functional import hidden_pose_loss, masked_l1, masked_l2, perceptual_loss
from tests import references
from tests.gradients import assert_equal_finite_differences

BOTH = pytest.mark.parametrize(("loss", "power"), [(masked_l1, 1), (masked_l2, 2)])
COMPILED = {loss: jax.jit(loss, static_argnames="visible_share") for loss in (masked_l1, masked_l2)}


def pictures(seed=0):
    generator = np.random.default_rng(seed)
    prediction, target = generator.uniform(size=(2, 5, 4, 3)).astype(np.float32)
    return prediction, target, generator.uniform(size=(5, 4)) < 0.3


def test_by_hand():
    # One hidden pixel off by 2 in one of two channels, one of three visible pixels off by 3 in both.
    target, prediction = np.zeros((2, 2, 2, 2), np.float32)
    prediction[0, 0, 0], prediction[1, 1] = 2, -3
    hidden = np.array([[True, False], [False, False]])
    for loss, expected in ((masked_l1, 0.75 * 1 + 0.25 * 1), (masked_l2, 0.75 * 2 + 0.25 * 3)):
        assert float(COMPILED[loss](prediction, target, hidden, visible_share=0.25)) == pytest.approx(expected)


@BOTH
@pytest.mark.parametrize("visible_share", [0.0, 0.1, 1.0])
def test_equals_the_reference(loss, power, visible_share):
    prediction, target, hidden = pictures()
    np.testing.assert_allclose(
        COMPILED[loss](prediction, target, hidden, visible_share=visible_share),
        references.masked_loss(prediction, target, hidden, visible_share, power),
        rtol=1e-5,
    )


@BOTH
def test_nothing_or_everything_hidden_gives_no_nan(loss, power):
    prediction, target, _ = pictures()
    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    for all_hidden in (True, False):
        hidden = np.full((5, 4), all_hidden)
        value, gradient = value_and_gradient(prediction, target, hidden)
        expected = references.masked_loss(prediction, target, hidden, 0.1, power)
        assert float(value) == pytest.approx(expected, rel=1e-5)
        assert np.all(np.isfinite(gradient))


@BOTH
def test_without_a_visible_share_visible_pixels_get_no_gradient(loss, power):
    prediction, target, hidden = pictures()
    gradient = jax.jit(jax.grad(lambda *arrays: loss(*arrays, visible_share=0.0)))(prediction, target, hidden)
    np.testing.assert_array_equal(np.any(np.asarray(gradient) != 0, axis=-1), hidden)


@BOTH
def test_gradients_equal_finite_differences(loss, power):
    prediction, target = np.random.default_rng(3).uniform(size=(2, 3, 2, 2))
    hidden = np.array([[True, False], [False, True], [False, False]])
    assert_equal_finite_differences(
        lambda p: loss(p, jnp.asarray(target), jnp.asarray(hidden)),
        (prediction,),
        reference=lambda p: references.masked_loss(p, target, hidden, 0.1, power),
    )


@BOTH
def test_bfloat16_pictures_give_a_float32_loss(loss, power):
    prediction, target, hidden = pictures()
    narrow = prediction.astype(jnp.bfloat16), target.astype(jnp.bfloat16)
    value = np.asarray(COMPILED[loss](*narrow, hidden))
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, COMPILED[loss](*(each.astype(np.float32) for each in narrow), hidden))


def test_the_perceptual_loss_by_hand():
    """Layers count alike: a mean square of 4 over one value, and of (9 + 0) / 2 over two."""
    features = [np.array([[[2]]], np.float32), np.array([[[3, 1]]], np.float32)]
    target = [np.array([[[0]]], np.float32), np.array([[[0, 1]]], np.float32)]
    assert float(jax.jit(perceptual_loss)(features, target)) == pytest.approx((4 + 4.5) / 2)
    narrow = [each.astype(jnp.bfloat16) for each in features]
    assert jax.eval_shape(perceptual_loss, narrow, target).dtype == np.float32


def test_the_loss_of_hidden_poses_is_the_mean_of_one_minus_the_cosine():
    """Alike 0, across 1, opposite 2, a pose of no length 1; what is not hidden does not count."""
    loss = jax.jit(hidden_pose_loss)
    poses = np.array([[0.5, 0.0], [0.5, 0.0], [0.5, 0.0], [0.0, 0.0], [0.5, 0.0]], np.float32)
    prediction = np.array([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]], np.float32)
    hidden = np.array([True, True, True, True, False])
    assert float(loss(prediction, poses, hidden)) == pytest.approx((0 + 1 + 2 + 1) / 4)
    assert float(loss(prediction, poses, np.zeros(5, bool))) == 0
    wide = poses.astype(np.float64)
    assert_equal_finite_differences(
        lambda each: hidden_pose_loss(each, jnp.asarray(wide), jnp.asarray(hidden)), (prediction.astype(np.float64),)
    )
    gradient = jax.jit(jax.grad(hidden_pose_loss))(np.zeros_like(prediction), poses, hidden)
    assert np.isfinite(gradient).all()
    narrow = prediction.astype(jnp.bfloat16), poses.astype(jnp.bfloat16)
    assert jax.eval_shape(hidden_pose_loss, *narrow, hidden).dtype == np.float32
