import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxcaps.functional import hidden_pose_loss, masked_l1, masked_l2, perceptual_loss
from tests import references

BOTH = pytest.mark.parametrize(("loss", "power"), [(masked_l1, 1), (masked_l2, 2)])


def pictures(seed=0):
    prediction, target = jax.random.uniform(jax.random.key(seed), (2, 5, 4, 3))
    return prediction, target, jax.random.bernoulli(jax.random.key(seed + 1), 0.3, (5, 4))


def test_by_hand():
    # One hidden pixel off by 2 in one of two channels, one of three visible pixels off by 3 in both.
    target = jnp.zeros((2, 2, 2))
    prediction = target.at[0, 0, 0].set(2.0).at[1, 1].set(-3.0)
    hidden = jnp.array([[True, False], [False, False]])
    assert masked_l1(prediction, target, hidden, visible_share=0.25) == pytest.approx(0.75 * 1 + 0.25 * 1)
    assert masked_l2(prediction, target, hidden, visible_share=0.25) == pytest.approx(0.75 * 2 + 0.25 * 3)


@BOTH
@pytest.mark.parametrize("visible_share", [0.0, 0.1, 1.0])
def test_equals_the_reference(loss, power, visible_share):
    prediction, target, hidden = pictures()
    np.testing.assert_allclose(
        loss(prediction, target, hidden, visible_share=visible_share),
        references.masked_loss(prediction, target, hidden, visible_share, power),
        rtol=1e-5,
    )


@BOTH
@pytest.mark.parametrize("all_hidden", [True, False])
def test_nothing_or_everything_hidden_gives_no_nan(loss, power, all_hidden):
    prediction, target, _ = pictures()
    hidden = jnp.full((5, 4), all_hidden)
    value, gradient = jax.value_and_grad(loss)(prediction, target, hidden)
    assert value == pytest.approx(references.masked_loss(prediction, target, hidden, 0.1, power), rel=1e-5)
    assert np.all(np.isfinite(gradient))


@BOTH
def test_without_a_visible_share_visible_pixels_get_no_gradient(loss, power):
    prediction, target, hidden = pictures()
    gradient = jax.grad(lambda p: loss(p, target, hidden, visible_share=0.0))(prediction)
    np.testing.assert_array_equal(np.any(gradient != 0, axis=-1), hidden)


@BOTH
def test_gradients_equal_finite_differences(loss, power):
    with jax.enable_x64(True):
        prediction, target = jax.random.uniform(jax.random.key(3), (2, 3, 2, 2), jnp.float64)
        hidden = jnp.array([[True, False], [False, True], [False, False]])
        check_grads(jax.jit(lambda p: loss(p, target, hidden)), (prediction,), order=1, modes=("fwd", "rev"))


@BOTH
def test_bfloat16_pictures_give_a_float32_loss(loss, power):
    prediction, target, hidden = pictures()
    narrow = prediction.astype(jnp.bfloat16), target.astype(jnp.bfloat16)
    value = loss(*narrow, hidden)
    assert value.dtype == jnp.float32
    assert value == loss(*(each.astype(jnp.float32) for each in narrow), hidden)


def test_the_perceptual_loss_by_hand():
    """Layers count alike: a mean square of 4 over one value, and of (9 + 0) / 2 over two."""
    features = [jnp.full((1, 1, 1), 2.0), jnp.array([[[3.0, 1.0]]])]
    target = [jnp.zeros((1, 1, 1)), jnp.array([[[0.0, 1.0]]])]
    assert perceptual_loss(features, target) == pytest.approx((4 + 4.5) / 2)
    narrow = [each.astype(jnp.bfloat16) for each in features]
    assert perceptual_loss(narrow, target).dtype == jnp.float32


def test_the_loss_of_hidden_poses_is_the_mean_of_one_minus_the_cosine():
    """Alike 0, across 1, opposite 2, a pose of no length 1; what is not hidden does not count."""
    poses = jnp.array([[0.5, 0.0], [0.5, 0.0], [0.5, 0.0], [0.0, 0.0], [0.5, 0.0]])
    prediction = jnp.array([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    hidden = jnp.array([True, True, True, True, False])
    assert hidden_pose_loss(prediction, poses, hidden) == pytest.approx((0 + 1 + 2 + 1) / 4)
    assert hidden_pose_loss(prediction, poses, jnp.zeros(5, bool)) == 0
    check_grads(
        lambda each: hidden_pose_loss(jnp.asarray(each), poses, hidden), (prediction,), order=1, atol=1e-2, rtol=1e-2
    )
    gradient = jax.grad(hidden_pose_loss)(jnp.zeros_like(prediction), poses, hidden)
    assert np.isfinite(gradient).all()
    assert hidden_pose_loss(prediction.astype(jnp.bfloat16), poses.astype(jnp.bfloat16), hidden).dtype == jnp.float32
