"""Lab against scikit-image, the bins against all of sRGB, weights by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.color import lab2rgb, rgb2lab

from jaxcaps.functional import ab_bins, annealed_mean, bin_weights, chroma, lab_from_rgb, nearest_bin, rgb_from_lab
from jaxcaps.functional import soft_bins as soft

lab_once, rgb_once, nearest_once, soft_once = map(jax.jit, (lab_from_rgb, rgb_from_lab, nearest_bin, soft))
LATTICE = np.stack(np.meshgrid(*[np.linspace(0, 1, 14)] * 3), axis=-1).reshape(49, 56, 3)


def rounded(ab):
    return {tuple(place) for place in np.unique(np.round(np.reshape(ab, (-1, 2)) / 10).astype(int), axis=0)}


def colours(count=200, seed=0):
    """a and b of random colours of sRGB, [count, 1, 2]."""
    return rgb2lab(np.random.default_rng(seed).uniform(size=(count, 1, 3)))[..., 1:].astype(np.float32)


def test_lab_is_scikit_images():
    with jax.enable_x64(True):
        np.testing.assert_allclose(lab_once(LATTICE), rgb2lab(LATTICE), atol=1e-9)
    np.testing.assert_allclose(lab_once(np.float32(LATTICE)), rgb2lab(LATTICE), atol=2e-4)


def test_rgb_is_scikit_images_within_and_beyond_the_screen():
    numbers = np.random.default_rng(0)
    lab = numbers.uniform([0, -110, -110], [100, 110, 110], (40, 40, 3))
    with jax.enable_x64(True), pytest.warns(UserWarning, match="negative Z"):
        np.testing.assert_allclose(rgb_once(lab), lab2rgb(lab), atol=1e-6)


def test_there_and_back():
    back = rgb_once(lab_once(np.float32(LATTICE)))
    np.testing.assert_allclose(back, LATTICE, atol=1e-5)


def test_grey_has_no_colour_and_bfloat16_is_widened():
    grey = np.tile(np.linspace(0, 1, 16)[:, None, None].astype(jnp.bfloat16), (1, 1, 3))
    lab = np.asarray(lab_once(grey))
    assert lab.dtype == np.float32
    assert np.abs(lab[..., 1:]).max() < 0.01
    np.testing.assert_allclose(lab[..., 0][-1], 100, atol=1e-3)


@pytest.mark.parametrize("function", [lab_from_rgb, rgb_from_lab])
def test_the_gradient_is_finite_at_black_and_at_white(function):
    jacobian = jax.jit(jax.jacobian(function))
    for value in (0, 1, 100):
        picture = [value, 0, 0] if function is rgb_from_lab else [value] * 3
        gradient = np.asarray(jacobian(np.array([[picture]], np.float32)))
        assert np.isfinite(gradient).all()
        if value < 100:
            assert np.abs(gradient).max() > 0


def test_the_gradient_is_the_difference_quotient():
    picture = np.random.default_rng(0).uniform(0.02, 0.98, (2, 2, 3))
    direction = np.random.default_rng(1).normal(size=(2, 2, 3))
    step = 1e-6 * direction
    for function, theirs, at in ((lab_from_rgb, rgb2lab, picture), (rgb_from_lab, lab2rgb, rgb2lab(picture))):
        with jax.enable_x64(True):
            slope = jax.jit(lambda *a, function=function: jax.jvp(function, a[:1], a[1:])[1])(at, direction)
        np.testing.assert_allclose(slope, (theirs(at + step) - theirs(at - step)) / 2e-6, rtol=1e-5, atol=1e-6)


def test_all_of_srgb_falls_into_262_bins():
    """The bins hold every 8-bit colour, and the one bin that these miss holds a real-valued one."""
    bins = {tuple(place) for place in (ab_bins().centres / 10).astype(int)}
    assert len(bins) == len(ab_bins().centres) == 262
    levels = np.arange(256, dtype=np.float32) / 255
    found = set()
    for red in levels[::3]:
        found |= rounded(rgb2lab(np.stack(np.meshgrid(red, levels[::3], levels[::3]), axis=-1))[..., 1:])
    # The edges of the cube at full depth: the outline of the plane.
    corners = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [1, 0, 0]])
    for start, end in itertools.pairwise(corners):
        found |= rounded(rgb2lab((start + levels[:, None] * (end - start))[None])[..., 1:])
    assert bins - found == {(2, -8)}
    assert not found - bins
    assert rounded(rgb2lab([[[0, 0.464, 1]]])[..., 1:]) == {(2, -8)}


@pytest.mark.slow
def test_all_16_million_colours_fall_into_261_of_them():
    levels = np.arange(256) / 255
    found = set()
    for red in levels:
        found |= rounded(rgb2lab(np.stack(np.meshgrid(red, levels, levels), axis=-1))[..., 1:])
    assert {tuple(place) for place in (ab_bins().centres / 10).astype(int)} - found == {(2, -8)}
    assert len(found) == 261


def test_the_nearest_bin_is_the_nearest():
    ab, centres = colours(), ab_bins().centres
    distances = np.linalg.norm(ab[:, 0, None] - centres, axis=-1)
    chosen = np.asarray(nearest_once(ab))[:, 0]
    np.testing.assert_allclose(distances[np.arange(len(ab)), chosen], distances.min(axis=1), atol=1e-4)
    # Beyond all colours too there is a bin, and the one of red's corner is red.
    beyond, red = np.asarray(nearest_once(np.array([[[500, 500], [80, 67]]], np.float32)))[0]
    assert 0 <= beyond < 262
    np.testing.assert_array_equal(centres[red], [80, 70])


def test_soft_bins_by_hand():
    """Half way between two bins both get the same; a Gaussian of deviation 5 at distance 10 is e^-2 of its peak."""
    centres = [tuple(centre) for centre in ab_bins().centres]
    on, between = np.asarray(soft_once(np.array([[[0, 0], [5, 0]]], np.float32)))[0]
    side, corner = np.exp(-2), np.exp(-4)
    total = 1 + 4 * side + 4 * corner
    assert on[centres.index((0, 0))] == pytest.approx(1 / total)
    assert on[centres.index((10, 0))] == pytest.approx(side / total)
    assert on[centres.index((-10, 10))] == pytest.approx(corner / total)
    assert np.count_nonzero(on) == 9
    assert between[centres.index((0, 0))] == pytest.approx(between[centres.index((10, 0))])


def test_soft_bins_are_a_distribution_close_to_that_of_the_five_nearest():
    ab, centres = colours(), ab_bins().centres
    shares = np.asarray(soft_once(ab))[:, 0]
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(shares.argmax(axis=1), np.asarray(nearest_once(ab))[:, 0])
    squares = np.sum(np.square(ab[:, 0, None] - centres), axis=-1)
    five = np.exp(-squares / 50) * (squares <= np.sort(squares, axis=1)[:, 4:5])
    assert np.abs(shares - five / five.sum(axis=1, keepdims=True)).sum(axis=1).mean() < 0.1


def test_weights_of_bins_by_hand():
    """All pixels in one bin in the middle of the plane: its neighbours get e^-2 and e^-4 of its share, and so on."""
    centres = [tuple(centre) for centre in ab_bins().centres]
    counts = np.zeros(262)
    counts[centres.index((0, 0))] = 7
    weights = bin_weights(counts, uniform_share=0.5)
    along = np.exp(-np.square(10 * np.arange(-9, 10)) / 50)
    peak = 1 / along.sum() ** 2
    raw = {(0, 0): 1 / (peak / 2 + 1 / 524), (10, 0): 1 / (peak * np.exp(-2) / 2 + 1 / 524), (80, 70): 524}
    ratio = weights[centres.index((0, 0))] / raw[0, 0]
    for centre, value in raw.items():
        assert weights[centres.index(centre)] / value == pytest.approx(ratio, rel=1e-6)
    # A pixel of a colour never seen counts for more, and the mean pixel for 1.
    assert weights[centres.index((80, 70))] > 10 * weights[centres.index((0, 0))]


def test_the_mean_weight_is_one_and_a_uniform_share_of_one_weighs_alike():
    counts = np.random.default_rng(0).integers(0, 1000, 262)
    np.testing.assert_allclose(bin_weights(counts, uniform_share=1.0), 1, rtol=1e-12)
    weights = bin_weights(counts)
    # The counts are rough and the frequencies smoothed: about one over the counts, too.
    assert np.sum(weights * counts) / counts.sum() == pytest.approx(1, abs=0.05)


def test_the_annealed_mean_lies_between_mean_and_mode():
    centres = ab_bins().centres
    first, second = np.asarray(nearest_once(np.array([[[40, 0], [-40, 0]]], np.float32)))[0]
    logits = np.full((1, 1, 262), -1e9, np.float32)
    logits[0, 0, [first, second]] = np.log([0.8, 0.2])

    @jax.jit
    def means(logits):
        return [annealed_mean(logits, **settings) for settings in ({"temperature": 1.0}, {"temperature": 0.01}, {})]

    mean, mode, default = (np.asarray(each)[0, 0] for each in means(logits))
    np.testing.assert_allclose(mean, [24, 0], atol=1e-4)
    np.testing.assert_allclose(mode, centres[first], atol=1e-4)
    odds = 4 ** (1 / 0.38)
    np.testing.assert_allclose(default, [40 * (odds - 1) / (odds + 1), 0], atol=1e-3)


def test_decoding_the_soft_assignment_gives_the_colour_back():
    ab = colours()
    decoded = jax.jit(lambda ab: annealed_mean(jnp.log(soft(ab)), temperature=1.0))(ab)
    # Rounding would be off by 3.8 on average; at the border of the plane neighbours are missing.
    assert np.linalg.norm(np.asarray(decoded) - ab, axis=-1).mean() < 2


def test_chroma_by_hand():
    np.testing.assert_allclose(jax.jit(chroma)(np.array([[[3, -4], [0, 0]]], np.float32)), [[5, 0]])
