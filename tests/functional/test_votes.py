import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcaps.functional import convolutional_votes, coordinate_addition, dense_votes, matrix_votes
from tests import references
from tests.gradients import assert_equal_finite_differences

# The weights of one pair, and the length of a pose: vectors of 4 to vectors of 3, and 2x2 matrices.
TRANSFORMS = {"vector": ((3, 4), 4), "matrix": ((2, 2), 4)}
every_transform = pytest.mark.parametrize("transform", TRANSFORMS)


def draw(*shapes, dtype=np.float32):
    generator = np.random.default_rng(0)
    return [generator.normal(size=shape).astype(dtype) for shape in shapes]


def draw_convolutional(transform, own, kernel, stride, padding, dtype=np.float32):
    """Weights of 2 in and 3 out types, shared or each position's own, and a map of poses."""
    generator = np.random.default_rng(0)
    pair, dim_in = TRANSFORMS[transform]
    positions = [(side + 2 * padding - kernel) // stride + 1 for side in (5, 4)] if own else []
    weights = generator.normal(size=(*positions, kernel, kernel, 2, 3, *pair))
    return weights.astype(dtype), generator.normal(size=(5, 4, 2, dim_in)).astype(dtype)


def test_by_hand():
    # One in capsule, two out capsules: the first doubles the pose, the second swaps its entries.
    weights = np.array([[[[2, 0], [0, 2]], [[0, 1], [1, 0]]]], np.float32)
    votes = jax.jit(dense_votes)(weights, np.array([[3, 5]], np.float32))
    np.testing.assert_array_equal(votes, [[[6.0, 10.0], [5.0, 3.0]]])


def test_equals_the_reference():
    weights, poses = draw((7, 3, 5, 4), (7, 4))
    expected = references.dense_votes(weights, poses)
    np.testing.assert_allclose(jax.jit(dense_votes)(weights, poses), expected, rtol=2e-5, atol=1e-6)


def test_gradients_equal_finite_differences():
    arguments = draw((3, 2, 4, 3), (3, 3), dtype=np.float64)
    assert_equal_finite_differences(dense_votes, tuple(arguments), reference=references.dense_votes)


def test_bfloat16_stays_bfloat16_and_close_with_gradients():
    @jax.jit
    def votes_and_gradients(weights, poses):
        gradients = jax.grad(lambda w, u: dense_votes(w, u).sum(), (0, 1))(weights, poses)
        return dense_votes(weights, poses), gradients

    weights, poses = draw((7, 3, 5, 4), (7, 4), dtype=jnp.bfloat16)
    votes, gradients = votes_and_gradients(weights, poses)
    assert votes.dtype == jnp.bfloat16
    expected = references.dense_votes(np.float32(weights), np.float32(poses))
    # A GPU rounds each product where terms are few, so an element that cancels is close as a share of the largest.
    np.testing.assert_allclose(np.float32(votes), expected, rtol=2**-8, atol=2**-8 * np.abs(expected).max())
    assert [each.dtype for each in gradients] == [jnp.bfloat16, jnp.bfloat16]


def test_matrix_votes_by_hand():
    # The weights swap the columns of the pose on their left: M W, not W M, which would swap its rows.
    swap = np.array([[[[0, 1], [1, 0]]]], np.float32)
    votes = jax.jit(matrix_votes)(swap, np.array([[1, 2, 3, 4]], np.float32))
    np.testing.assert_array_equal(votes, [[[2.0, 1.0, 4.0, 3.0]]])


def test_matrix_votes_equal_the_reference():
    weights, poses = draw((5, 3, 4, 4), (5, 16))
    expected = references.matrix_votes(weights, poses)
    np.testing.assert_allclose(jax.jit(matrix_votes)(weights, poses), expected, rtol=2e-5, atol=1e-6)


def test_gradients_of_matrix_votes_equal_finite_differences():
    arguments = draw((3, 2, 2, 2), (3, 4), dtype=np.float64)
    assert_equal_finite_differences(matrix_votes, tuple(arguments), reference=references.matrix_votes)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 1, 0), (3, 1, 1), (2, 2, 0), (3, 2, 1)])
@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@every_transform
def test_convolutional_votes_equal_the_reference(transform, own, kernel, stride, padding):
    settings = {"stride": stride, "padding": padding, "transform": transform}
    weights, poses = draw_convolutional(transform, own, kernel, stride, padding)
    votes = jax.jit(functools.partial(convolutional_votes, **settings))(weights, poses)
    expected = references.convolutional_votes(weights, poses, **settings)
    assert votes.shape == expected.shape
    np.testing.assert_allclose(votes, expected, rtol=2e-5, atol=1e-6)


def test_convolutional_votes_summed_are_a_convolution():
    weights, poses = draw_convolutional("vector", False, 3, 2, 1)
    votes = jax.jit(functools.partial(convolutional_votes, stride=2, padding=1))(weights, poses)
    # [kernel, kernel, in, out, dim_out, dim_in] to [kernel, kernel, in * dim_in, out * dim_out].
    kernel = weights.transpose(0, 1, 2, 5, 3, 4).reshape(3, 3, 8, 9)
    convolve = functools.partial(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    convolve = jax.jit(functools.partial(convolve, window_strides=(2, 2), padding=((1, 1), (1, 1))))
    sums = np.asarray(convolve(poses.reshape(1, 5, 4, 8), kernel))
    np.testing.assert_allclose(
        np.asarray(votes).sum(axis=(2, 3, 4)).reshape(sums[0].shape), sums[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
@every_transform
def test_gradients_of_convolutional_votes_equal_finite_differences(transform, own):
    arguments = draw_convolutional(transform, own, 2, 2, 0, np.float64)
    function, reference = (
        functools.partial(votes, stride=2, transform=transform)
        for votes in (convolutional_votes, references.convolutional_votes)
    )
    assert_equal_finite_differences(function, arguments, reference)


@every_transform
def test_bfloat16_poses_give_bfloat16_convolutional_votes_and_gradients(transform):
    arguments = draw_convolutional(transform, False, 2, 1, 0, jnp.bfloat16)

    @jax.jit
    def votes_and_gradients(weights, poses):
        votes, backward = jax.vjp(functools.partial(convolutional_votes, transform=transform), weights, poses)
        return votes, *backward(votes)

    results = votes_and_gradients(*arguments)
    assert {each.dtype for each in results} == {np.dtype(jnp.bfloat16)}
    expected = references.convolutional_votes(*map(np.float32, arguments), transform=transform)
    np.testing.assert_allclose(np.float32(results[0]), expected, rtol=2**-7, atol=2**-6)


def test_coordinates_by_hand():
    # Two rows, of centres 1/4 and 3/4, and four columns, of 1/8 to 7/8.
    votes = np.asarray(jax.jit(lambda v: coordinate_addition(v, places=(1, 0)))(np.ones((2, 4, 1, 1, 3), np.float32)))
    np.testing.assert_array_equal(votes[:, 0, 0, 0, 1], [1.25, 1.75])
    np.testing.assert_array_equal(votes[0, :, 0, 0, 0], [1.125, 1.375, 1.625, 1.875])
    np.testing.assert_array_equal(votes[..., 2], np.ones((2, 4, 1, 1)))


def test_coordinates_equal_the_reference():
    (votes,) = draw((3, 5, 2, 3, 16))
    added = jax.jit(functools.partial(coordinate_addition, places=(3, 7)))(votes)
    np.testing.assert_allclose(added, references.coordinate_addition(votes, (3, 7)), rtol=1e-6)


def test_coordinates_leave_dtype_and_gradient_alone():
    @jax.jit
    def added_and_gradient(votes):
        added, backward = jax.vjp(functools.partial(coordinate_addition, places=(0, 1)), votes)
        return added, backward(votes)[0]

    votes = np.ones((2, 2, 1, 1, 4), jnp.bfloat16)
    added, gradient = added_and_gradient(votes)
    assert added.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, votes)


@pytest.mark.parametrize("places", [(0, 4), (-1, 0)])
def test_a_coordinate_outside_the_vote_is_refused(places):
    with pytest.raises(ValueError, match=re.escape(f"places={places}: two elements of a vote of 4 expected")):
        jax.eval_shape(lambda votes: coordinate_addition(votes, places=places), np.ones((2, 2, 1, 1, 4), np.float32))


@pytest.mark.parametrize(
    ("function", "weights", "poses", "message"),
    [
        (dense_votes, (6, 3, 4), (6, 5), "weights: shape [in, out, dim_out, dim_in] expected, found [6, 3, 4]"),
        (dense_votes, (6, 3, 4, 5), (6, 4), "poses: shape [6, 5] (in dim_in) expected for weights of shape"),
        (matrix_votes, (6, 3, 4, 5), (6, 16), "weights: shape [in, out, side, side] expected, found [6, 3, 4, 5]"),
        (matrix_votes, (6, 3, 4, 4), (6, 4), "poses: shape [6, 16] (in side*side) expected for weights of shape"),
        (convolutional_votes, (3, 2, 2, 3, 4, 4), (5, 5, 2, 4), "weights: shape [kernel, kernel, in, out, ...] or"),
        (convolutional_votes, (2, 2, 3, 4, 4), (5, 5, 2, 4), "expected, found [2, 2, 3, 4, 4]"),
        (convolutional_votes, (2, 2, 2, 3, 4, 4), (5, 5, 8), "poses: shape [height, width, in, dim_in] expected"),
        (convolutional_votes, (2, 2, 2, 3, 4, 4), (5, 5, 3, 4), "poses: shape [8, 4] (in dim_in) expected"),
        (convolutional_votes, (3, 4, 2, 2, 2, 3, 4, 4), (5, 5, 2, 4), "one set for each of 4x4 positions expected"),
        (convolutional_votes, (6, 6, 2, 3, 4, 4), (5, 5, 2, 4), "kernel=6 does not fit into a map of 5x5"),
    ],
)
def test_wrong_shapes_are_named(function, weights, poses, message, no_type_checks):
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.eval_shape(function, np.ones(weights, np.float32), np.ones(poses, np.float32))


@pytest.mark.parametrize(
    ("function", "weights", "poses"),
    [
        (dense_votes, (6, 3, 4, 5), (6, 5)),
        (matrix_votes, (6, 3, 4, 4), (6, 16)),
        (convolutional_votes, (2, 2, 2, 3, 4, 4), (5, 5, 2, 4)),
    ],
)
def test_poses_of_another_dtype_than_the_weights_are_refused(function, weights, poses):
    with pytest.raises(ValueError, match="poses: float32 expected, as the weights are, found bfloat16"):
        jax.eval_shape(function, np.ones(weights, np.float32), np.ones(poses, jnp.bfloat16))
