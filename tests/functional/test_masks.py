import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcaps.functional.masks import (
    _squared_distances,
    block_mask,
    central_mask,
    free_form_mask,
    hide,
    place_mask,
)


def masks(count, height=64, width=64, **options):
    draw = jax.jit(jax.vmap(lambda key: block_mask(key, height, width, **options)))
    return np.asarray(draw(jax.random.split(jax.random.key(0), count)))


def test_central_mask_is_the_central_quarter():
    expected = np.zeros((8, 12), bool)
    expected[2:6, 3:9] = True
    np.testing.assert_array_equal(central_mask(8, 12), expected)
    assert central_mask(64, 64).mean() == 0.25


def test_central_mask_of_odd_sides_is_central_within_a_pixel():
    np.testing.assert_array_equal(central_mask(7, 5).any(1), [False, False, True, True, True, False, False])
    np.testing.assert_array_equal(central_mask(7, 5).any(0), [False, True, True, False, False])


@pytest.mark.parametrize(
    ("height", "width", "fraction", "blocks"),
    [(64, 64, 0.25, 8), (48, 80, 0.5, 8), (16, 16, 0.25, 4), (8, 8, 0.25, 8), (32, 32, 0.9, 1), (32, 32, 0.1, 3)],
)
def test_blocks_hide_the_asked_fraction_on_average(height, width, fraction, blocks):
    drawn = masks(4000, height, width, fraction=fraction, blocks=blocks)
    assert drawn.shape == (4000, height, width)
    assert drawn.dtype == bool
    np.testing.assert_allclose(drawn.mean(), fraction, atol=0.005)


def test_share_of_one_mask_varies_as_documented():
    np.testing.assert_allclose(masks(4000).mean((1, 2)).std(), 0.018, atol=0.002)


def test_border_and_centre_are_hidden_as_often():
    # 0.04 is more than five standard errors.
    np.testing.assert_allclose(masks(4000).mean(0), 0.25, atol=0.04)


def test_one_block_is_a_rectangle_that_may_cross_the_border():
    crossing = 0
    for mask in masks(200, blocks=1):
        rows, columns = mask.any(1), mask.any(0)
        np.testing.assert_array_equal(mask, np.outer(rows, columns))
        for side in (rows, columns):
            # Going round, the hidden part begins once: it is one interval, through the border or not.
            assert np.sum(side & ~np.roll(side, 1)) == 1
        crossing += bool(rows[0] and rows[-1])
        assert 0.4 < rows.sum() / columns.sum() < 2.5
    assert 0 < crossing < 200


def test_masks_follow_their_keys():
    first = block_mask(jax.random.key(0), 32, 32)
    np.testing.assert_array_equal(first, block_mask(jax.random.key(0), 32, 32))
    assert (first != block_mask(jax.random.key(1), 32, 32)).any()
    np.testing.assert_array_equal(masks(3, 32, 32)[1], block_mask(jax.random.split(jax.random.key(0), 3)[1], 32, 32))


@pytest.mark.parametrize(
    ("height", "width", "fraction", "strokes"),
    [(64, 64, 0.25, 4), (48, 80, 0.5, 4), (15, 17, 0.1, 1), (32, 32, 0.9, 9)],
)
def test_strokes_hide_exactly_the_asked_fraction(height, width, fraction, strokes):
    draw = jax.jit(jax.vmap(lambda key: free_form_mask(key, height, width, fraction=fraction, strokes=strokes)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 100)))
    assert drawn.dtype == bool
    np.testing.assert_array_equal(drawn.sum((1, 2)), round(fraction * height * width))
    assert len(np.unique(drawn.reshape(100, -1), axis=0)) == 100


def test_one_stroke_is_one_connected_region():
    for key in jax.random.split(jax.random.key(0), 50):
        mask = free_form_mask(key, 48, 48, strokes=1)
        # Background, and the stroke.
        assert cv2.connectedComponents(np.asarray(mask, np.uint8), connectivity=8)[0] == 2


def test_distances_to_a_segment_are_those_to_its_nearest_point():
    begins, steps = np.array([[2.0, 3.0], [10.0, 14.0]]), np.array([[6.0, 2.0], [-4.0, -3.0]])
    pixels = np.stack(np.meshgrid(np.arange(16), np.arange(20), indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
    found = _squared_distances(*(jnp.asarray(each, jnp.float32) for each in (pixels, begins, steps)))
    for k in range(2):
        points = begins[k] + np.linspace(0, 1, 4001)[:, None] * steps[k]
        expected = ((pixels[:, None] - points) ** 2).sum(-1).min(1)
        np.testing.assert_allclose(found[:, k], expected, atol=0.01)


@pytest.mark.parametrize("fill", [0.5, jnp.array([0.1, 0.2, 0.3])])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_hide_replaces_hidden_pixels_alone(fill, dtype):
    image = jax.random.uniform(jax.random.key(0), (6, 4, 3)).astype(dtype)
    mask = central_mask(6, 4)
    hidden = hide(image, mask, fill)
    assert hidden.dtype == dtype
    np.testing.assert_array_equal(hidden[~mask], image[~mask])
    np.testing.assert_array_equal(hidden[mask], jnp.broadcast_to(jnp.asarray(fill, dtype), (6, 3)))


def test_nothing_of_a_hidden_pixel_is_left():
    mask = central_mask(4, 4)
    image = jnp.where(mask[:, :, None], jnp.nan, jnp.full((4, 4, 3), 0.7))
    assert jnp.isfinite(hide(image, mask, 0.0)).all()
    derivative = jax.grad(lambda x: hide(x, mask, 0.0).sum())(image)
    np.testing.assert_array_equal(derivative, np.broadcast_to(~mask[:, :, None], (4, 4, 3)))


def test_places_are_hidden_in_the_share_that_was_asked_for_all_alike():
    draw = jax.vmap(lambda key: place_mask(key, 10, fraction=0.3))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 2000)))
    np.testing.assert_array_equal(drawn.sum(axis=1), 3)
    # The standard deviation of each mean is 0.01.
    np.testing.assert_allclose(drawn.mean(axis=0), 0.3, atol=0.05)
