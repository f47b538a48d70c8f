"""The blur is a Gaussian by its own definition."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from data_prep.steps.denoise import denoise


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.5])
def test_equals_scipys_gaussian(sigma: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="mirror")
    assert np.abs(denoise(image, sigma) - expected).max() <= 1.5


def test_noise_falls_as_a_gaussian_of_one_pixel_makes_it() -> None:
    """White noise keeps 1 / (2 sqrt(pi) sigma) of its deviation."""
    noise = np.random.default_rng(0).normal(128, 20, (200, 200, 3)).astype(np.uint8)
    assert denoise(noise, 1.0).std() == pytest.approx(20 / (2 * np.pi**0.5), rel=0.05)
