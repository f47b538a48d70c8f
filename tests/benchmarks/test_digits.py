"""The pictures of the MNIST benchmarks."""

import gzip
import struct

import numpy as np
import pytest

from benchmarks.mnist.digits import (
    CANVAS,
    HELD_OUT,
    Digits,
    affine,
    hold_out,
    jittered,
    on_canvas,
    read_idx,
    shifted_by_pixels,
)


def generator():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def pictures():
    """A bright block off-centre, as far from the border as a digit of MNIST."""
    images = np.zeros((200, 28, 28), np.uint8)
    images[:, 5:20, 8:14] = 255
    return images


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_idx_files_are_read(tmp_path, compress):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    file = tmp_path / "digits"
    file.write_bytes(compress(b"\0\0\x08\x03" + struct.pack(">3i", 2, 3, 4) + values.tobytes()))
    np.testing.assert_array_equal(read_idx(file), values)


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG", b"\0\0\x08\x01" + struct.pack(">i", 5) + b"abc"])
def test_other_files_are_refused_by_name(tmp_path, content):
    file = tmp_path / "digits"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SystemExit, match="digits"):
        read_idx(file)


def test_held_out_digits_are_not_trained_on():
    numbers = np.arange(HELD_OUT + 100)
    training, held_out = hold_out(Digits(numbers, numbers))
    assert sorted([*training.labels, *held_out.labels]) == list(numbers)
    assert len(held_out.images) == HELD_OUT


def test_shifts_are_whole_and_lose_only_what_leaves(pictures):
    shifted = shifted_by_pixels(pictures, generator(), 2)
    assert (shifted.sum(axis=(1, 2)) == pictures[0].sum()).all()
    corners = {tuple(np.argwhere(each)[0]) for each in shifted}
    assert corners == {(row, column) for row in range(3, 8) for column in range(6, 11)}


def test_the_canvas_keeps_each_picture_whole(pictures):
    moved = on_canvas(pictures, generator())
    assert moved.shape == (200, CANVAS, CANVAS)
    assert (moved.sum(axis=(1, 2)) == pictures[0].sum()).all()
    assert len({tuple(np.argwhere(each)[0]) for each in moved}) > 100


def test_affine_maps_keep_the_ink_and_change_the_shape(pictures):
    moved = affine(pictures, generator())
    # Areas scale by 0.64 to 1.44. Resampling blurs edges but keeps the sum within a few percent.
    ratios = moved.sum(axis=(1, 2)) / pictures[0].sum()
    assert 0.6 < ratios.min() < 0.75
    assert 1.3 < ratios.max() < 1.5
    assert len(np.unique(ratios.round(3))) > 150


def test_jitter_is_centred(pictures):
    moved = jittered(pictures, generator())
    centres = np.array([np.argwhere(each > 127).mean(axis=0) for each in moved])
    # The block's centre, (12, 10.5), rotates around the picture's, so on average it moves towards it.
    np.testing.assert_allclose(centres.mean(axis=0), (12, 10.5), atol=0.5)
    assert centres.std(axis=0).min() > 0.8
