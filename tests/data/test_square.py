import numpy as np

from jaxcaps.data.decoding import to_square


def test_shrinking_averages_areas():
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :2] = [[[0], [40]], [[80], [120]]]
    np.testing.assert_array_equal(to_square(picture, 2)[..., 0], [[60, 0], [0, 0]])


def test_a_shrinking_side_is_averaged_even_if_the_other_grows():
    columns = np.tile(np.array([0, 200], np.uint8), 8)[None, :, None]
    picture = np.ascontiguousarray(np.broadcast_to(columns, (2, 16, 3)))
    np.testing.assert_array_equal(to_square(picture, 4), np.full((4, 4, 3), 100))


def test_the_square_keeps_every_pixel_in_view():
    wide = np.zeros((2, 8, 3), np.uint8)
    wide[:, :4] = 255
    square = to_square(wide, 2)
    np.testing.assert_array_equal(square[..., 0], [[255, 0], [255, 0]])


def test_a_picture_of_the_right_size_is_untouched():
    square = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(to_square(square, 4), square)
