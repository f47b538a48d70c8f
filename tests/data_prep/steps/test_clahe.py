"""CLAHE: on lightness alone, against scikit-image in kind, and without the border."""

import cv2
import numpy as np
from skimage.exposure import equalize_adapthist

from data_prep.detection.field_of_view import field_of_view_mask
from data_prep.images.box import Box
from data_prep.steps.clahe import equalise
from tests.data_prep.fields import frame, tissue


def test_grey_is_equalised_as_opencv_does_it() -> None:
    """Of a grey picture the lightness of 8-bit Lab is a curve of its own; the mapping is CLAHE's of that curve."""
    grey = cv2.cvtColor(tissue(np.random.default_rng(0), 128, 128), cv2.COLOR_RGB2GRAY)
    picture = np.repeat(grey[..., None], 3, axis=2)
    lightness = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[..., 0]
    expected = cv2.createCLAHE(2.0, (8, 8)).apply(lightness)
    found = cv2.cvtColor(equalise(picture), cv2.COLOR_RGB2LAB)[..., 0]
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_colours_keep_their_a_and_b() -> None:
    image = tissue(np.random.default_rng(1), 160, 200)
    before, after = (cv2.cvtColor(x, cv2.COLOR_RGB2LAB).astype(int) for x in (image, equalise(image)))
    assert np.abs(after - before)[..., 1:].mean() <= 1.5
    assert after[..., 0].std() > 1.1 * before[..., 0].std()


def test_it_goes_the_way_of_scikit_images() -> None:
    """Not the same numbers (see the module), but the same picture: both flatten the shading."""
    grey = cv2.cvtColor(tissue(np.random.default_rng(2), 256, 256), cv2.COLOR_RGB2GRAY)
    ours = equalise(np.repeat(grey[..., None], 3, axis=2), 2.0, 8)[..., 0] / 255
    theirs = equalize_adapthist(grey, kernel_size=32, clip_limit=2.0 / 256, nbins=256)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.85


def test_more_limit_gives_more_contrast() -> None:
    image = tissue(np.random.default_rng(3), 128, 128)
    spread = [equalise(image, limit).std() for limit in (1.0, 2.0, 6.0)]
    assert spread == sorted(spread)


def test_the_border_neither_counts_nor_changes() -> None:
    box = Box(0, 0, 480, 640)
    image = frame("octagon", box)
    mask = field_of_view_mask(image)
    assert mask is not None
    assert not mask.all()
    found = equalise(image, mask=mask)
    np.testing.assert_array_equal(found[~mask], image[~mask])
    other_border = image.copy()
    other_border[~mask] = 90
    np.testing.assert_array_equal(equalise(other_border, mask=mask)[mask], found[mask])
    assert (equalise(image)[mask] != found[mask]).any(), "without a mask the border counts"
