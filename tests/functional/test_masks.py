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

hide_once = jax.jit(hide)


def draw(mask, count, *arguments, **options):
    """Masks of the seeds from 0 to `count` - 1."""
    of_seed = jax.jit(jax.vmap(lambda seed: mask(jax.random.key(seed), *arguments, **options)))
    return np.asarray(of_seed(np.arange(count)))


@pytest.fixture(scope="module")
def block_masks():
    return draw(block_mask, 4000, 64, 64)


def central(height, width):
    return np.asarray(jax.jit(lambda: central_mask(height, width))())


def test_central_mask_is_the_central_quarter():
    expected = np.zeros((8, 12), bool)
    expected[2:6, 3:9] = True
    np.testing.assert_array_equal(central(8, 12), expected)
    assert central(64, 64).mean() == 0.25


def test_central_mask_of_odd_sides_is_central_within_a_pixel():
    mask = central(7, 5)
    np.testing.assert_array_equal(mask.any(1), [False, False, True, True, True, False, False])
    np.testing.assert_array_equal(mask.any(0), [False, True, True, False, False])


@pytest.mark.parametrize(
    ("height", "width", "fraction", "blocks"),
    [(24, 40, 0.5, 8), (16, 16, 0.25, 4), (8, 8, 0.25, 8), (32, 32, 0.9, 1), (32, 32, 0.1, 3)],
)
def test_blocks_hide_the_asked_fraction_on_average(height, width, fraction, blocks):
    drawn = draw(block_mask, 4000, height, width, fraction=fraction, blocks=blocks)
    assert drawn.shape == (4000, height, width)
    assert drawn.dtype == bool
    np.testing.assert_allclose(drawn.mean(), fraction, atol=0.005)


def test_share_of_one_mask_varies_as_documented(block_masks):
    np.testing.assert_allclose(block_masks.mean(), 0.25, atol=0.005)
    np.testing.assert_allclose(block_masks.mean((1, 2)).std(), 0.018, atol=0.002)


def test_border_and_centre_are_hidden_as_often(block_masks):
    # 0.04 is more than five standard errors.
    np.testing.assert_allclose(block_masks.mean(0), 0.25, atol=0.04)


def test_one_block_is_a_rectangle_that_may_cross_the_border():
    crossing = 0
    for mask in draw(block_mask, 200, 64, 64, blocks=1):
        rows, columns = mask.any(1), mask.any(0)
        np.testing.assert_array_equal(mask, np.outer(rows, columns))
        for side in (rows, columns):
            # Going round, the hidden part begins once: it is one interval, through the border or not.
            assert np.sum(side & ~np.roll(side, 1)) == 1
        crossing += bool(rows[0] and rows[-1])
        assert 0.4 < rows.sum() / columns.sum() < 2.5
    assert 0 < crossing < 200


def test_masks_follow_their_keys():
    of_seed = jax.jit(lambda seed: block_mask(jax.random.key(seed), 32, 32))
    first = np.asarray(of_seed(0))
    np.testing.assert_array_equal(first, of_seed(0))
    assert (first != of_seed(1)).any()
    np.testing.assert_array_equal(draw(block_mask, 3, 32, 32)[1], of_seed(1))


@pytest.mark.parametrize(
    ("height", "width", "fraction", "strokes"),
    [(32, 32, 0.25, 4), (24, 40, 0.5, 4), (15, 17, 0.1, 1), (32, 32, 0.9, 9)],
)
def test_strokes_hide_exactly_the_asked_fraction(height, width, fraction, strokes):
    drawn = draw(free_form_mask, 100, height, width, fraction=fraction, strokes=strokes)
    assert drawn.dtype == bool
    np.testing.assert_array_equal(drawn.sum((1, 2)), round(fraction * height * width))
    assert len(np.unique(drawn.reshape(100, -1), axis=0)) == 100


def test_one_stroke_is_one_connected_region():
    for mask in draw(free_form_mask, 50, 48, 48, strokes=1):
        # Background, and the stroke.
        assert cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] == 2


def test_distances_to_a_segment_are_those_to_its_nearest_point():
    begins, steps = np.array([[2.0, 3.0], [10.0, 14.0]]), np.array([[6.0, 2.0], [-4.0, -3.0]])
    pixels = np.stack(np.meshgrid(np.arange(16), np.arange(20), indexing="ij"), -1).reshape(-1, 2).astype(np.float32)
    found = np.asarray(jax.jit(_squared_distances)(pixels, np.float32(begins), np.float32(steps)))
    for k in range(2):
        points = begins[k] + np.linspace(0, 1, 4001)[:, None] * steps[k]
        expected = ((pixels[:, None] - points) ** 2).sum(-1).min(1)
        np.testing.assert_allclose(found[:, k], expected, atol=0.01)


@pytest.mark.parametrize("fill", [0.5, np.array([0.1, 0.2, 0.3], np.float32)])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
def test_hide_replaces_hidden_pixels_alone(fill, dtype):
    image = np.random.default_rng(0).uniform(size=(6, 4, 3)).astype(dtype)
    mask = central(6, 4)
    hidden = np.asarray(hide_once(image, mask, fill))
    assert hidden.dtype == dtype
    np.testing.assert_array_equal(hidden[~mask], image[~mask])
    np.testing.assert_array_equal(hidden[mask], np.broadcast_to(np.asarray(fill).astype(dtype), (6, 3)))


def test_nothing_of_a_hidden_pixel_is_left():
    mask = central(4, 4)
    image = np.where(mask[:, :, None], np.nan, np.full((4, 4, 3), 0.7)).astype(np.float32)
    assert np.isfinite(hide_once(image, mask, 0.0)).all()
    derivative = jax.jit(jax.grad(lambda x: hide(x, jnp.asarray(mask), 0.0).sum()))(image)
    np.testing.assert_array_equal(derivative, np.broadcast_to(~mask[:, :, None], (4, 4, 3)))


def test_places_are_hidden_in_the_share_that_was_asked_for_all_alike():
    drawn = draw(place_mask, 2000, 10, fraction=0.3)
    np.testing.assert_array_equal(drawn.sum(axis=1), 3)
    # The standard deviation of each mean is 0.01.
    np.testing.assert_allclose(drawn.mean(axis=0), 0.3, atol=0.05)
