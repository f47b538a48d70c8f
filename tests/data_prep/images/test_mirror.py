"""The field continued by mirroring: by hand, and against a loop over pixels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep.images.mirror import mirror_outwards, nearest_inside


def test_hand_worked() -> None:
    row = np.array([[10, 20, 30, 40, 0, 0]], np.uint8)
    mask = np.array([[True, True, True, True, False, False]])
    assert mirror_outwards(row, mask).tolist() == [[10, 20, 30, 40, 30, 20]]
    # The only pixel inside has nothing behind it.
    assert mirror_outwards(row, np.eye(1, 6, 2, dtype=bool)).tolist() == [[30] * 6]


@given(seed=st.integers(0, 500))
def test_the_nearest_is_the_nearest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((9, 11)) < rng.uniform(0.05, 0.9)
    mask[rng.integers(9), rng.integers(11)] = True
    rows, columns = nearest_inside(mask)
    assert mask[rows, columns].all()
    inside = np.argwhere(mask)
    for (y, x), row, column in zip(np.argwhere(~mask), rows, columns, strict=True):
        least = np.hypot(*(inside - (y, x)).T).min()
        # OpenCV's distances along a 5x5 neighbourhood are off by up to 2%.
        assert np.hypot(row - y, column - x) <= 1.05 * least + 1e-9


def test_pixels_inside_stay() -> None:
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8), rng.random((20, 30)) < 0.5
    np.testing.assert_array_equal(mirror_outwards(image, mask)[mask], image[mask])
