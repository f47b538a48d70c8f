import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxcaps.functional import exponential_squash, safe_norm, squash
from tests import references

jitted_squash = jax.jit(squash)
jitted_exponential_squash = jax.jit(exponential_squash)
vectors = hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32))


def test_norm_by_hand():
    np.testing.assert_array_equal(safe_norm(jnp.array([[3.0, 4.0], [0.0, 0.0]])), [5.0, 0.0])


def test_norm_has_no_bias_for_short_vectors():
    np.testing.assert_allclose(safe_norm(jnp.array([3e-9, 4e-9])), 5e-9, rtol=1e-6)


def test_norm_along_another_axis_keeps_it_where_asked():
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(safe_norm(x, axis=0), np.linalg.norm(x, axis=0), rtol=1e-6)
    assert safe_norm(x, axis=0, keepdims=True).shape == (1, 3)


@pytest.mark.parametrize("function", [safe_norm, squash])
def test_gradient_at_zero_is_zero(function):
    derivative = jax.grad(lambda x: function(x).sum())(jnp.zeros((2, 4)))
    np.testing.assert_array_equal(derivative, np.zeros((2, 4)))
    _, tangent = jax.jvp(function, (jnp.zeros((2, 4)),), (jnp.ones((2, 4)),))
    np.testing.assert_array_equal(tangent, np.zeros_like(tangent))


def test_a_zero_vector_does_not_disturb_its_neighbours_gradient():
    alone = jax.grad(lambda x: safe_norm(x).sum())(jnp.array([[3.0, 4.0]]))
    beside_zero = jax.grad(lambda x: safe_norm(x).sum())(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(beside_zero, np.concatenate([alone, np.zeros((1, 2))]))


def test_squash_of_norm_one_has_norm_a_half():
    np.testing.assert_allclose(squash(jnp.array([0.6, 0.8])), [0.3, 0.4], rtol=1e-6)


def test_squash_of_norm_two_by_hand():
    # 4 / 5 of the unit vector.
    np.testing.assert_allclose(squash(jnp.array([0.0, 2.0, 0.0])), [0.0, 0.8, 0.0], rtol=1e-6)


def test_squash_along_another_axis_equals_the_transposed():
    x = jax.random.normal(jax.random.key(0), (3, 4))
    np.testing.assert_allclose(squash(x, axis=0), squash(x.T).T, rtol=1e-6)


@given(vectors)
def test_squash_equals_the_reference(x):
    np.testing.assert_allclose(jitted_squash(x), [references.squash(v) for v in x], rtol=1e-5, atol=1e-12)


@given(vectors)
def test_squash_keeps_the_direction_and_a_norm_of_at_most_one(x):
    squashed = np.asarray(jitted_squash(x), np.float64)
    assert np.all(np.linalg.norm(squashed, axis=-1) <= 1 + 1e-6)
    longer = np.linalg.norm(x.astype(np.float64), axis=-1)
    np.testing.assert_allclose(squashed * longer[:, None], x * np.linalg.norm(squashed, axis=-1)[:, None], atol=1e-4)


@pytest.mark.parametrize("function", [safe_norm, squash, exponential_squash])
def test_gradients_equal_finite_differences(function):
    with jax.enable_x64(True):
        x = jax.random.normal(jax.random.key(1), (3, 4), jnp.float64)
        check_grads(jax.jit(function), (x,), order=2, modes=("fwd", "rev"))


def test_bfloat16_is_computed_in_float32():
    # Summed in bfloat16, 256 + 1 would stay 256.
    x = jnp.concatenate([jnp.full(1, 16.0), jnp.ones(128)]).astype(jnp.bfloat16)
    norm = safe_norm(x)
    assert norm.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(norm), np.sqrt(256 + 128), rtol=2**-8)
    assert squash(x).dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(squash(x)), squash(x.astype(jnp.float32)), rtol=2**-8)


@pytest.mark.parametrize("length", [1e-30, 1e4, 1e15])
def test_squash_is_finite_from_tiny_to_huge(length):
    x = jnp.full(8, length, jnp.float32)
    assert np.all(np.isfinite(squash(x)))
    assert np.all(np.isfinite(jax.jit(jax.jacobian(squash))(x)))


def test_exponential_squash_of_norm_one_has_norm_1_minus_1_over_e():
    squashed = jitted_exponential_squash(jnp.array([0.6, 0.8]))
    np.testing.assert_allclose(squashed, (1 - 1 / np.e) * np.array([0.6, 0.8]), rtol=1e-6)


def test_exponential_squash_is_the_identity_near_zero_and_has_its_gradient_at_zero():
    tiny = jnp.array([3e-9, 4e-9])
    np.testing.assert_allclose(exponential_squash(tiny), tiny, rtol=1e-6)
    at_zero = jax.jit(jax.jacobian(exponential_squash))
    np.testing.assert_array_equal(at_zero(jnp.zeros(3)), np.eye(3))
    # Without a jump from those beside it, squares of which underflow or not.
    for length in (1e-30, 1e-15, 1e-6):
        np.testing.assert_allclose(at_zero(jnp.full(3, length)), np.eye(3), atol=1e-5)


@given(vectors)
def test_exponential_squash_equals_the_reference(x):
    expected = [references.exponential_squash(v) for v in x]
    np.testing.assert_allclose(jitted_exponential_squash(x), expected, rtol=1e-5, atol=1e-12)


def test_exponential_squash_grows_with_the_norm_towards_one_and_is_steeper_than_squash_near_zero():
    lengths = np.linspace(0, 10, 101, dtype=np.float32)
    squashed = np.asarray(jitted_exponential_squash(lengths[:, None]))[:, 0]
    assert np.all(np.diff(squashed) > 0)
    assert squashed[-1] < 1
    short = lengths[1:11]
    assert np.all(squashed[1:11] > np.asarray(jitted_squash(short[:, None]))[:, 0])


def test_exponential_squash_along_another_axis_equals_the_transposed():
    x = jax.random.normal(jax.random.key(0), (3, 4))
    np.testing.assert_allclose(jax.jit(lambda x: exponential_squash(x, axis=0))(x), jitted_exponential_squash(x.T).T)


def test_exponential_squash_of_bfloat16_is_computed_in_float32():
    x = jnp.concatenate([jnp.full(1, 16.0), jnp.ones(128)]).astype(jnp.bfloat16)
    assert jitted_exponential_squash(x).dtype == jnp.bfloat16
    expected = jitted_exponential_squash(x.astype(jnp.float32))
    np.testing.assert_array_equal(jitted_exponential_squash(x), expected.astype(jnp.bfloat16))


@pytest.mark.parametrize("length", [1e-30, 1e4, 1e15])
def test_exponential_squash_is_finite_from_tiny_to_huge(length):
    x = jnp.full(8, length, jnp.float32)
    assert np.all(np.isfinite(jitted_exponential_squash(x)))
    assert np.all(np.isfinite(jax.jit(jax.jacobian(exponential_squash))(x)))
