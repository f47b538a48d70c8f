import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from jaxcaps.functional import dense_votes
from tests import references


def test_by_hand():
    # One in capsule, two out capsules: the first doubles the pose, the second swaps its entries.
    weights = jnp.array([[[[2.0, 0.0], [0.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]]]])
    np.testing.assert_array_equal(dense_votes(weights, jnp.array([[3.0, 5.0]])), [[[6.0, 10.0], [5.0, 3.0]]])


def test_equals_the_reference():
    weights = jax.random.normal(jax.random.key(0), (7, 3, 5, 4))
    poses = jax.random.normal(jax.random.key(1), (7, 4))
    np.testing.assert_allclose(
        dense_votes(weights, poses), references.dense_votes(weights, poses), rtol=2e-5, atol=1e-6
    )


def test_gradients_equal_finite_differences():
    with jax.enable_x64(True):
        weights = jax.random.normal(jax.random.key(0), (3, 2, 4, 3), jnp.float64)
        poses = jax.random.normal(jax.random.key(1), (3, 3), jnp.float64)
        check_grads(jax.jit(dense_votes), (weights, poses), order=1, modes=("fwd", "rev"))


def test_bfloat16_stays_bfloat16_and_close_with_gradients():
    weights = jax.random.normal(jax.random.key(0), (7, 3, 5, 4), jnp.bfloat16)
    poses = jax.random.normal(jax.random.key(1), (7, 4), jnp.bfloat16)
    votes = jax.jit(dense_votes)(weights, poses)
    assert votes.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        np.float32(votes),
        references.dense_votes(np.float32(weights), np.float32(poses)),
        rtol=2**-8,
        atol=1e-6,
    )
    gradients = jax.jit(jax.grad(lambda w, u: dense_votes(w, u).sum(), (0, 1)))(weights, poses)
    assert [each.dtype for each in gradients] == [jnp.bfloat16, jnp.bfloat16]
