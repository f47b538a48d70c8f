"""In-painting: hidden pixels tell nothing, others do not change, a flat picture stays flat."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.images.inpaint import fill_in


@given(height=st.integers(1, 30), width=st.integers(1, 30), seed=st.integers(0, 1000), share=st.floats(0.05, 0.95))
def test_nothing_hidden_is_used_and_nothing_else_changes(height: int, width: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mask = rng.random((height, width)) < share
    mask[: height // 2, : width // 2] = True
    mask[-1, -1] = False
    another = image.copy()
    another[mask] = rng.integers(0, 256, (int(mask.sum()), 3), dtype=np.uint8)
    filled = fill_in(image, mask)
    np.testing.assert_array_equal(fill_in(another, mask), filled)
    np.testing.assert_array_equal(filled[~mask], image[~mask])


@pytest.mark.parametrize("shape", [(40, 40), (1, 40), (40, 1)])
def test_a_flat_picture_stays_flat(shape: tuple[int, int]) -> None:
    flat = np.full((*shape, 3), (200, 90, 60), np.uint8)
    mask = np.zeros(shape, bool)
    mask[shape[0] // 3 : shape[0] // 3 + 8, shape[1] // 3 : shape[1] // 3 + 8] = True
    image = flat.copy()
    image[mask] = 255
    np.testing.assert_allclose(fill_in(image, mask), flat, atol=1)


def test_with_everything_or_nothing_hidden_the_picture_stays() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    for mask in (np.ones((9, 9), bool), np.zeros((9, 9), bool)):
        np.testing.assert_array_equal(fill_in(image, mask), image)
