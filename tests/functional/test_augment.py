import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.color import rgb2yiq, yiq2rgb

from jaxcaps.functional.augment import (
    adjust_colour,
    affine_matrix,
    augment,
    colour_jitter,
    gaussian_blur,
    into_oversampled,
    inverse_affine,
    shrink,
    warp,
)

LUMA = np.array([0.299, 0.587, 0.114])
NO_MOTION = {"crop_scale": (1.0, 1.0), "flip": False, "rotation_degrees": 0.0, "shear_degrees": 0.0, "translation": 0.0}
NO_COLOUR = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
STRENGTHS = {
    "crop_scale": (0.25, 0.81),
    "flip": True,
    "rotation_degrees": 30.0,
    "shear_degrees": 10.0,
    "translation": 0.1,
}
# Compiled once for each shape.
augment_once = jax.jit(lambda seed, image: augment(jax.random.key(seed), image))
augment_four = jax.jit(jax.vmap(lambda seed, image: augment(jax.random.key(seed), image)))
adjust_colour_once = jax.jit(adjust_colour)
blur_once = jax.jit(gaussian_blur, static_argnames="radius")
inverse_affine_once = jax.jit(inverse_affine, static_argnums=(0, 1))
shrink_once = jax.jit(shrink, static_argnums=1)
warp_once = jax.jit(warp, static_argnames="size")
matrix_once = jax.jit(lambda seed: affine_matrix(jax.random.key(seed), 24, 31, translation=0.5))


def picture(height=12, width=17, low=0.0, high=1.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (height, width, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def matrices():
    """2000 for a picture of 20 x 30 pixels, under each of the strengths alone."""

    @jax.jit
    @jax.vmap
    def draw(seed):
        return {
            name: affine_matrix(jax.random.key(seed), 20, 30, **NO_MOTION | {name: strength})
            for name, strength in STRENGTHS.items()
        }

    return jax.tree.map(np.asarray, draw(np.arange(2000)))


# ---- geometry


def test_neutral_affine_map_is_the_identity_bit_by_bit():
    matrix = inverse_affine_once(12, 17)
    np.testing.assert_array_equal(matrix, [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(warp_once(picture(), matrix), picture())


@pytest.mark.parametrize(("mirrors", "axes"), [((-1.0, 1.0), 1), ((1.0, -1.0), 0), ((-1.0, -1.0), (0, 1))])
def test_mirrors_are_exact(mirrors, axes):
    matrix = inverse_affine_once(12, 17, mirror_x=mirrors[0], mirror_y=mirrors[1])
    np.testing.assert_array_equal(warp_once(picture(), matrix), np.flip(picture(), axes))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_those_of_rot90(quarters):
    matrix = inverse_affine_once(16, 16, angle=quarters * np.pi / 2)
    expected = np.rot90(picture(16, 16), quarters)
    np.testing.assert_allclose(warp_once(picture(16, 16), matrix), expected, atol=1e-5)
    np.testing.assert_array_equal(warp_once(picture(16, 16), np.round(matrix)), expected)


def test_matrix_is_the_product_of_its_steps():
    height, width, angle, slant = 12, 17, 0.7, np.tan(0.2)
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    shift = np.array([[1, 0, 0.1 * width], [0, 1, -0.2 * height], [0, 0, 1]])
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    shear = np.array([[1, slant, 0], [0, 1, 0], [0, 0, 1]])
    scaled_mirror = np.diag([0.6, -0.6, 1])
    expected = shift @ centre @ rotation @ shear @ scaled_mirror @ np.linalg.inv(centre)
    changes = {"scale": 0.6, "mirror_y": -1.0, "angle": angle, "shear": 0.2, "shift_x": 0.1, "shift_y": -0.2}
    matrix = inverse_affine_once(height, width, **changes)
    np.testing.assert_allclose(matrix, expected[:2], atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_warp_equals_scipy_everywhere_and_opencv_within_its_rounding(seed):
    image = cv2.GaussianBlur(picture(24, 31, seed=seed), (0, 0), 2)
    matrix = np.asarray(matrix_once(seed))
    warped = warp_once(image, matrix)

    y, x = np.mgrid[:24, :31].astype(np.float64)
    source = np.einsum("ij,jhw->ihw", matrix.astype(np.float64), [x, y, np.ones_like(x)])
    wide = image.astype(np.float64)
    expected = [ndimage.map_coordinates(wide[..., c], source[::-1], order=1, mode="mirror") for c in range(3)]
    np.testing.assert_allclose(warped, np.stack(expected, -1), atol=1e-5)

    # OpenCV rounds the source coordinates to 1/32 pixel.
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    opencv = cv2.warpAffine(image, matrix, (31, 24), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    steepest = max(np.abs(np.diff(image, axis=axis)).max() for axis in (0, 1))
    np.testing.assert_allclose(warped, opencv, atol=steepest / 32)


def test_central_crop_is_the_resized_centre():
    image = picture(16, 16)
    enlarged = np.asarray(warp_once(image, inverse_affine_once(16, 16, scale=0.5)))
    expected = cv2.resize(image[4:12, 4:12], (16, 16), interpolation=cv2.INTER_LINEAR)
    # At the crop's border OpenCV repeats its outermost pixels; the warp sees those of the picture beyond.
    np.testing.assert_allclose(enlarged[1:-1, 1:-1], expected[1:-1, 1:-1], atol=1e-6)


def test_crops_lie_inside_the_picture_and_keep_the_asked_area(matrices):
    crops = matrices["crop_scale"]
    scale = crops[:, 0, 0]
    np.testing.assert_array_equal(scale, crops[:, 1, 1])
    assert 0.5 <= scale.min() < 0.52
    assert 0.88 < scale.max() <= 0.9
    np.testing.assert_allclose(np.mean(scale**2), (0.25 + 0.81) / 2, atol=0.01)
    for axis, size in enumerate((30, 20)):
        first = -0.5 * scale + crops[:, axis, 2] + 0.5
        assert first.min() > -1e-4
        assert (first + scale * size).max() < size + 1e-4
        # Anywhere inside: the crop's place in its room is spread from end to end.
        place = first / (size * (1 - scale))
        np.testing.assert_allclose([place.min(), place.mean(), place.max()], [0, 0.5, 1], atol=0.03)


@pytest.mark.parametrize("name", ["rotation_degrees", "shear_degrees", "translation"])
def test_strengths_are_the_greatest_change_either_way(name, matrices):
    moved, strength = matrices[name], STRENGTHS[name]
    measured = {
        "rotation_degrees": np.degrees(np.arctan2(moved[:, 1, 0], moved[:, 0, 0])),
        "shear_degrees": np.degrees(np.arctan(moved[:, 0, 1])),
        "translation": moved[:, 0, 2] / 30,
    }[name]
    expected = [-strength, 0, strength]
    np.testing.assert_allclose([measured.min(), measured.mean(), measured.max()], expected, atol=0.05 * strength)
    assert np.abs(measured).max() <= strength * (1 + 1e-4)


def test_half_of_the_views_are_mirrored_left_to_right_and_none_top_to_bottom(matrices):
    flips = matrices["flip"]
    np.testing.assert_allclose((flips[:, 0, 0] == -1).mean(), 0.5, atol=0.05)
    np.testing.assert_array_equal(np.abs(flips[:, 0, 0]), 1)
    np.testing.assert_array_equal(flips[:, 1, 1], 1)


# ---- pictures kept larger than their views


def test_shrinking_is_the_mean_of_blocks_as_opencvs_area_interpolation():
    whole = picture(24, 24)
    expected = cv2.resize(whole, (8, 8), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(shrink_once(whole, 8), expected, atol=1e-6)
    np.testing.assert_array_equal(shrink_once(whole, 24), whole)
    half = shrink_once(whole.astype(jnp.bfloat16), 12)
    assert half.dtype == jnp.bfloat16
    for shape, size in (((24, 23), 12), ((24, 24), 10)):
        with pytest.raises(ValueError, match=f"a picture of {shape[0]} x {shape[1]} pixels.*multiple of {size}"):
            shrink_once(picture(*shape), size)


def test_a_view_that_does_not_move_is_the_shrunk_picture():
    @jax.jit
    def still(images):
        return [
            augment(jax.random.key(0), image, size=8, blur_probability=0.0, **NO_MOTION, **NO_COLOUR)
            for image in images
        ]

    wholes = [picture(side, side) for side in (8, 16)]
    for view, whole in zip(still(wholes), wholes, strict=True):
        np.testing.assert_allclose(view, shrink_once(whole, 8), atol=1e-6)


def test_the_same_pixels_are_found_in_a_larger_picture():
    """A ramp has one value at each place, at any resolution."""
    places = (np.arange(48) + 0.5) / 48
    ramp = np.repeat((places[:, None] + 2 * places).astype(np.float32)[..., None], 3, axis=-1)
    matrix = inverse_affine_once(16, 16, scale=0.6, angle=0.3, shift_x=0.1, shift_y=-0.05)
    small = warp_once(shrink_once(ramp, 16), matrix)
    large = jax.jit(lambda image, matrix: warp(image, into_oversampled(matrix, 3), size=16))(ramp, matrix)
    np.testing.assert_allclose(large, small, atol=1e-5)


def test_views_of_larger_pictures_are_as_sharp_as_whole_ones():
    """Trap: views that were resampled from pixels of their own size are blurred, and what is learnt from them does not
    fit the whole pictures that are classified."""

    def detail(pictures):
        return float(np.mean(np.square(np.diff(np.asarray(pictures), axis=-2))))

    # Speckle with detail down to a pixel of the large picture.
    large = picture(96, 96)
    moved = {**NO_MOTION, "translation": 0.1, "rotation_degrees": 20.0}

    @jax.jit
    def views(image):
        def view(seed):
            return augment(jax.random.key(seed), image, size=48, blur_probability=0.0, **moved, **NO_COLOUR)

        return jax.vmap(view)(jnp.arange(64))

    small = shrink_once(large, 48)
    whole = detail(small)
    assert detail(views(small)) < 0.5 * whole
    assert 0.9 * whole < detail(views(large)) < 2 * whole


# ---- colour


def blend(image, other, factor):
    """torchvision's `_blend`, in float64 and without its clipping."""
    return factor * image + (1 - factor) * other


def test_brightness_contrast_and_saturation_are_torchvisions():
    image = picture(low=0.35, high=0.6)
    expected = blend(image.astype(np.float64), 0.0, 1.2)
    expected = blend(expected, (expected @ LUMA).mean(), 0.7)
    expected = blend(expected, (expected @ LUMA)[..., None], 1.4)
    assert 0 < expected.min() < expected.max() < 1
    adjusted = adjust_colour_once(image, brightness=1.2, contrast=0.7, saturation=1.4)
    np.testing.assert_allclose(adjusted, expected, atol=1e-6)


@pytest.mark.parametrize("turn", [-0.1, 0.05, 0.5])
def test_hue_turns_the_chrominance_and_keeps_the_luma(turn):
    image = picture(low=0.4, high=0.6)
    yiq = rgb2yiq(image.astype(np.float64))
    chrominance = (yiq[..., 1] + 1j * yiq[..., 2]) * np.exp(-2j * np.pi * turn)
    expected = yiq2rgb(np.stack([yiq[..., 0], chrominance.real, chrominance.imag], -1))
    adjusted = adjust_colour_once(image, hue=turn)
    np.testing.assert_allclose(adjusted, expected, atol=1e-6)
    np.testing.assert_allclose(np.asarray(adjusted) @ LUMA, image @ LUMA, atol=1e-6)


def test_positive_hue_turns_red_towards_yellow_and_negative_towards_magenta():
    red = np.tile(np.array([0.8, 0.4, 0.4], np.float32), (12, 17, 1))
    _, green, blue = np.asarray(adjust_colour_once(red, hue=0.1))[0, 0]
    assert green > blue
    _, green, blue = np.asarray(adjust_colour_once(red, hue=-0.1))[0, 0]
    assert green < blue


def test_colours_are_clipped():
    image = picture()
    adjusted = adjust_colour_once(image, brightness=3.0, contrast=1.0, saturation=1.0)
    np.testing.assert_allclose(adjusted, np.minimum(3 * image, 1), atol=1e-6)
    assert np.asarray(adjust_colour_once(image, brightness=1.0, contrast=5.0, saturation=1.0)).min() == 0


@given(
    grey=st.floats(0, 1, width=32),
    brightness=st.floats(0, 3),
    contrast=st.floats(0, 3),
    saturation=st.floats(0, 3),
    hue=st.floats(-0.5, 0.5),
)
def test_grey_stays_grey(grey, brightness, contrast, saturation, hue):
    image = np.array([[[grey] * 3, [0.5] * 3]], np.float32)
    changes = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    adjusted = np.asarray(adjust_colour_once(image, **changes))
    np.testing.assert_allclose(adjusted, np.broadcast_to(adjusted[..., :1], (1, 2, 3)), atol=5e-6)


def test_colour_jitter_without_strengths_is_the_identity_bit_by_bit():
    jittered = jax.jit(lambda image: colour_jitter(jax.random.key(0), image, **NO_COLOUR))(picture())
    np.testing.assert_array_equal(jittered, picture())


@pytest.mark.parametrize(("strength", "lowest", "highest"), [(0.4, 0.6, 1.4), (1.5, 0.0, 2.5)])
def test_factors_are_uniform_within_the_strength(strength, lowest, highest):
    only_brightness = NO_COLOUR | {"brightness": strength}

    @jax.jit
    @jax.vmap
    def jittered(seed):
        return colour_jitter(jax.random.key(seed), jnp.full((1, 1, 3), 0.25), **only_brightness)

    factors = np.asarray(jittered(np.arange(2000)))[:, 0, 0, 0] / 0.25
    assert lowest - 1e-6 <= factors.min()
    assert factors.max() <= highest + 1e-6
    quartiles = np.quantile(factors, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quartiles, np.linspace(lowest, highest, 5), atol=0.04 * (highest - lowest))


# ---- blur


@pytest.mark.parametrize(("sigma", "radius"), [(0.3, 3), (1.0, 3), (2.0, 6)])
def test_blur_equals_opencvs(sigma, radius):
    side = 2 * radius + 1
    expected = cv2.GaussianBlur(picture(), (side, side), sigma, borderType=cv2.BORDER_REFLECT_101)
    np.testing.assert_allclose(blur_once(picture(), sigma, radius=radius), expected, atol=1e-6)


def test_blur_of_width_zero_is_the_identity_bit_by_bit():
    np.testing.assert_array_equal(blur_once(picture(), 0.0, radius=3), picture())


def test_blurring_happens_as_often_as_asked():
    def blurred(seed, image):
        return augment(jax.random.key(seed), image, **NO_MOTION, **NO_COLOUR, blur_probability=0.3)

    views = np.asarray(jax.jit(jax.vmap(blurred, (0, None)))(np.arange(2000), picture(8, 8)))
    # At sigma = 0.2, a ninth of the range, a neighbour weighs 4e-6.
    changed = (np.abs(views - picture(8, 8)) > 1e-6).any((1, 2, 3)).mean()
    np.testing.assert_allclose(changed, 0.3, atol=0.05)


# ---- all together


def test_view_without_strengths_is_the_picture_bit_by_bit():
    @jax.jit
    def views(image):
        return [
            augment(jax.random.key(0), image, **NO_MOTION, **NO_COLOUR, **blur)
            for blur in ({"blur_probability": 0.0}, {"blur_probability": 1.0, "blur_sigma": (0.0, 0.0)})
        ]

    for view in views(picture()):
        np.testing.assert_array_equal(view, picture())


@given(seed=st.integers(0, 2**31), extreme=st.booleans())
def test_views_are_finite_and_in_range(seed, extreme):
    image = picture(seed=seed)
    view = np.asarray(augment_once(np.uint32(seed), np.round(image) if extreme else image))
    assert view.dtype == np.float32
    assert view.shape == image.shape
    assert view.min() >= 0
    assert view.max() <= 1


def test_views_of_a_grey_picture_are_grey():
    grey = np.tile(picture()[..., :1], (4, 1, 1, 3))
    for first in range(0, 20, 4):
        views = np.asarray(augment_four(np.arange(first, first + 4), grey))
        np.testing.assert_allclose(views, np.broadcast_to(views[..., :1], views.shape), atol=2e-6)


def test_vmapped_views_equal_looped_ones_and_differ_from_each_other():
    views = np.asarray(augment_four(np.arange(4), np.stack([picture()] * 4)))
    looped = np.stack([augment_once(np.uint32(seed), picture()) for seed in range(4)])
    np.testing.assert_allclose(views, looped, atol=1e-5)
    for i in range(4):
        for j in range(i):
            assert np.abs(views[i] - views[j]).mean() > 0.01


def test_same_key_makes_the_same_view():
    first, second = (augment_once(np.uint32(3), picture()) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_half_precision_is_rounded_once_at_the_end():
    image = picture().astype(jnp.bfloat16)
    view = augment_once(np.uint32(1), image)
    assert view.dtype == jnp.bfloat16
    wide = augment_once(np.uint32(1), image.astype(np.float32))
    np.testing.assert_array_equal(view, np.asarray(wide).astype(jnp.bfloat16))


def test_double_precision_makes_the_same_view():
    single = augment_once(np.uint32(1), picture())
    with jax.enable_x64(True):
        double = augment_once(np.uint32(1), picture().astype(np.float64))
        assert double.dtype == np.float64
    np.testing.assert_allclose(double, single, atol=1e-5)
