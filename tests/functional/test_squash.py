import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcaps.functional import exponential_squash, safe_norm, squash
from tests import references
from tests.gradients import assert_equal_finite_differences

jitted_norm = jax.jit(safe_norm, static_argnames=("axis", "keepdims"))
jitted_squash = jax.jit(squash, static_argnames="axis")
jitted_exponential_squash = jax.jit(exponential_squash, static_argnames="axis")
WIDE = np.concatenate([np.full(1, 16), np.ones(128)]).astype(jnp.bfloat16)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


vectors = hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32))


def test_norm_by_hand():
    np.testing.assert_array_equal(jitted_norm(np.array([[3, 4], [0, 0]], np.float32)), [5.0, 0.0])


def test_norm_has_no_bias_for_short_vectors():
    np.testing.assert_allclose(jitted_norm(np.array([3e-9, 4e-9], np.float32)), 5e-9, rtol=1e-6)


def test_norm_along_another_axis_keeps_it_where_asked():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(jitted_norm(x, axis=0), np.linalg.norm(x, axis=0), rtol=1e-6)
    assert jitted_norm(x, axis=0, keepdims=True).shape == (1, 3)


@jax.jit
def values_and_derivatives(x):
    functions = {"squash": squash, "exponential_squash": exponential_squash}
    return {name: (function(x), jax.jacobian(function)(x)) for name, function in functions.items()}


@pytest.mark.parametrize("function", [safe_norm, squash])
def test_gradient_at_zero_is_zero(function):
    @jax.jit
    def derivatives(x, direction):
        return jax.grad(lambda x: function(x).sum())(x), jax.jvp(function, (x,), (direction,))[1]

    derivative, tangent = derivatives(np.zeros((2, 4), np.float32), np.ones((2, 4), np.float32))
    np.testing.assert_array_equal(derivative, np.zeros((2, 4)))
    np.testing.assert_array_equal(tangent, np.zeros_like(tangent))


def test_a_zero_vector_does_not_disturb_its_neighbours_gradient():
    gradient = jax.jit(jax.grad(lambda x: safe_norm(x).sum()))
    alone = gradient(np.array([[3, 4]], np.float32))
    beside_zero = gradient(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_array_equal(beside_zero, np.concatenate([alone, np.zeros((1, 2))]))


def test_squash_of_norm_one_has_norm_a_half():
    np.testing.assert_allclose(jitted_squash(np.array([0.6, 0.8], np.float32)), [0.3, 0.4], rtol=1e-6)


def test_squash_of_norm_two_by_hand():
    # 4 / 5 of the unit vector.
    np.testing.assert_allclose(jitted_squash(np.array([0, 2, 0], np.float32)), [0.0, 0.8, 0.0], rtol=1e-6)


def test_squash_along_another_axis_equals_the_transposed():
    x = normal(3, 4)
    np.testing.assert_allclose(jitted_squash(x, axis=0), np.asarray(jitted_squash(x.T)).T, rtol=1e-6)


@given(vectors)
def test_squash_equals_the_reference(x):
    np.testing.assert_allclose(jitted_squash(x), [references.squash(v) for v in x], rtol=1e-5, atol=1e-12)


@given(vectors)
def test_squash_keeps_the_direction_and_a_norm_of_at_most_one(x):
    squashed = np.asarray(jitted_squash(x), np.float64)
    assert np.all(np.linalg.norm(squashed, axis=-1) <= 1 + 1e-6)
    longer = np.linalg.norm(x.astype(np.float64), axis=-1)
    np.testing.assert_allclose(squashed * longer[:, None], x * np.linalg.norm(squashed, axis=-1)[:, None], atol=1e-4)


def test_gradients_equal_finite_differences():
    def all_three(x):
        return safe_norm(x), squash(x), exponential_squash(x)

    def expected(x):
        squashed = ([function(v) for v in x] for function in (references.squash, references.exponential_squash))
        return np.linalg.norm(x, axis=-1), *map(np.array, squashed)

    def first_derivatives(x, tangent, cotangents):
        return jax.jvp(all_three, (x,), (tangent,))[1], jax.vjp(all_three, x)[1](cotangents)

    x, tangent, *cotangents = (normal(3, 4, seed=seed).astype(np.float64) for seed in range(4))
    assert_equal_finite_differences(all_three, (x,), reference=expected)
    assert_equal_finite_differences(first_derivatives, (x, tangent, (x[:, 0], *cotangents)))


def test_bfloat16_is_computed_in_float32():
    # Summed in bfloat16, 256 + 1 would stay 256.
    norm, squashed = jitted_norm(WIDE), jitted_squash(WIDE)
    assert norm.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(norm), np.sqrt(256 + 128), rtol=2**-8)
    assert squashed.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(squashed), jitted_squash(WIDE.astype(np.float32)), rtol=2**-8)


@pytest.mark.parametrize("length", [1e-30, 1e4, 1e15])
@pytest.mark.parametrize("name", ["squash", "exponential_squash"])
def test_both_are_finite_from_tiny_to_huge(name, length):
    for result in values_and_derivatives(np.full(8, length, np.float32))[name]:
        assert np.all(np.isfinite(result))


def test_exponential_squash_of_norm_one_has_norm_1_minus_1_over_e():
    squashed = jitted_exponential_squash(np.array([0.6, 0.8], np.float32))
    np.testing.assert_allclose(squashed, (1 - 1 / np.e) * np.array([0.6, 0.8]), rtol=1e-6)


def test_exponential_squash_is_the_identity_near_zero_and_has_its_gradient_at_zero():
    tiny = np.array([3e-9, 4e-9], np.float32)
    np.testing.assert_allclose(jitted_exponential_squash(tiny), tiny, rtol=1e-6)

    def derivative(length):
        return values_and_derivatives(np.full(8, length, np.float32))["exponential_squash"][1]

    np.testing.assert_array_equal(derivative(0), np.eye(8))
    # Without a jump from those beside it, squares of which underflow or not.
    for length in (1e-30, 1e-15, 1e-6):
        np.testing.assert_allclose(derivative(length), np.eye(8), atol=1e-5)


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
    x = normal(3, 4)
    transposed = np.asarray(jitted_exponential_squash(x.T)).T
    np.testing.assert_allclose(jitted_exponential_squash(x, axis=0), transposed)


def test_exponential_squash_of_bfloat16_is_computed_in_float32():
    squashed = np.asarray(jitted_exponential_squash(WIDE))
    assert squashed.dtype == jnp.bfloat16
    expected = np.asarray(jitted_exponential_squash(WIDE.astype(np.float32)))
    np.testing.assert_array_equal(squashed, expected.astype(jnp.bfloat16))
