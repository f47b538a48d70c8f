"""Attributions of scores that are known: linear and quadratic functions of the pixels, and couplings by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcaps.functional import (
    assigned_activation,
    dynamic_routing,
    erasure_curves,
    integrated_gradient,
    occlusion,
    place_map,
    smooth_gradient,
    vote_contributions,
)

NUMBERS = np.random.default_rng(0)


def array(*shape):
    return NUMBERS.normal(size=shape).astype(np.float32)


def test_an_in_capsule_assigns_its_whole_activation():
    couplings = jnp.asarray([[0.5, 0.5], [0.9, 0.1]], jnp.float32)
    assigned = assigned_activation(couplings, jnp.asarray([1, 0.5], jnp.float32))
    np.testing.assert_allclose(assigned, [[0.5, 0.5], [0.45, 0.05]], rtol=1e-6)


def test_the_contributions_of_votes_sum_to_the_length_of_what_is_squashed():
    votes = array(12, 3, 4)
    routed = dynamic_routing(jnp.asarray(votes), iterations=3)
    found = vote_contributions(routed.couplings, jnp.asarray(votes), routed.poses)
    sums = np.einsum("ij,ijd->jd", np.asarray(routed.couplings), votes)
    np.testing.assert_allclose(np.asarray(found).sum(axis=0), np.linalg.norm(sums, axis=1), rtol=1e-5)
    assert np.min(found) < 0


def test_a_pose_of_zero_has_no_contributions():
    found = vote_contributions(jnp.ones((2, 1)), jnp.ones((2, 1, 3)), jnp.zeros((1, 3)))
    np.testing.assert_array_equal(found, np.zeros((2, 1)))


def test_places_are_in_the_order_row_column_type():
    # Two types at each of 2x2 places; the second out capsule gets twice as much.
    shares = np.arange(8, dtype=np.float32)[:, None] * np.array([1, 2], np.float32)
    maps = np.asarray(place_map(jnp.asarray(shares), grid=2, side=2))
    np.testing.assert_allclose(maps[0], [[1, 5], [9, 13]])
    np.testing.assert_allclose(maps[1], 2 * maps[0])
    enlarged = np.asarray(place_map(jnp.asarray(shares), grid=2, side=4))
    assert enlarged.shape == (2, 4, 4)
    np.testing.assert_allclose(enlarged[0, [0, 0, -1, -1], [0, -1, 0, -1]], [1, 5, 9, 13])


def test_the_smooth_gradient_of_a_linear_score_is_its_weight():
    weights = array(4, 5, 3)
    found = smooth_gradient(
        lambda images: jnp.broadcast_to(jnp.asarray(weights), images.shape), jnp.asarray(array(4, 5, 3)),
        jax.random.key(0), samples=4,
    )  # fmt: skip
    np.testing.assert_allclose(found, np.abs(weights).sum(axis=-1), rtol=1e-6)


def test_the_smooth_gradient_averages_over_noise_of_the_range_of_the_picture():
    image = jnp.asarray(array(3, 3, 1))
    seen = []

    def gradients(images):
        seen.append(np.asarray(images))
        return images

    smooth_gradient(gradients, image, jax.random.key(0), samples=2000, noise=0.1)
    spread = 0.1 * np.ptp(np.asarray(image))
    np.testing.assert_allclose((seen[0] - np.asarray(image)).std(axis=0), spread, rtol=0.1)


def test_integrated_gradients_sum_to_the_difference_of_the_scores():
    image, baseline = array(4, 5, 3), array(4, 5, 3)
    # The gradient of the sum of squares: the midpoint rule is exact.
    found = integrated_gradient(lambda images: 2 * images, jnp.asarray(image), jnp.asarray(baseline), steps=8)
    np.testing.assert_allclose(found, (image**2 - baseline**2).sum(axis=-1), atol=1e-5)


def test_occlusion_averages_over_the_squares_that_cover_a_pixel():
    image, weights = array(9, 7, 2), array(9, 7, 2)
    side, stride = 3, 2

    def scores(images):
        total = jnp.sum(images * jnp.asarray(weights)[None], axis=(1, 2, 3))
        return jnp.stack([total, -2 * total], axis=1)

    # More squares than one chunk holds.
    found = occlusion(scores, jnp.asarray(image), jnp.zeros((9, 7, 2)), patch=side, stride=stride)
    falls, counts = np.zeros((9, 7)), np.zeros((9, 7))
    for top in range(stride - side, 9, stride):
        for left in range(stride - side, 7, stride):
            square = slice(max(top, 0), top + side), slice(max(left, 0), left + side)
            falls[square] += (image * weights)[square].sum()
            counts[square] += 1
    np.testing.assert_allclose(found[0], falls / counts, atol=1e-4)
    np.testing.assert_allclose(found[1], -2 * falls / counts, atol=1e-4)


def test_deletion_and_insertion_by_hand():
    image = jnp.asarray([[[4], [1]], [[2], [3]]], jnp.float32)
    filling = jnp.full((2, 2, 1), 0.5)
    upside_down = jnp.stack([image[..., 0], -image[..., 0], jnp.zeros((2, 2))])
    deletion, insertion = erasure_curves(
        lambda images: jnp.sum(images, axis=(1, 2)), image, filling, upside_down, steps=4
    )
    assert deletion.shape == insertion.shape == (3, 5, 1)
    np.testing.assert_allclose(deletion[0, :, 0], [10, 6.5, 4, 2.5, 2])
    np.testing.assert_allclose(insertion[0, :, 0], [2, 5.5, 8, 9.5, 10])
    np.testing.assert_allclose(deletion[1, :, 0], insertion[0, ::-1, 0])
    # Equal pixels are taken row by row.
    np.testing.assert_allclose(deletion[2, :, 0], [10, 6.5, 6, 4.5, 2])


def test_parts_of_pixels_that_steps_do_not_divide():
    image = jnp.ones((3, 3, 1))
    deletion, _ = erasure_curves(
        lambda images: jnp.sum(images, axis=(1, 2)), image, jnp.zeros((3, 3, 1)), image[None, ..., 0], steps=2
    )
    np.testing.assert_allclose(deletion[0, :, 0], [9, 5, 0])
