"""Detection of colourful pictures, and counts of colour bins."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from jaxcaps.data.colours import MOST_PICTURES, bin_counts, check_colourful
from jaxcaps.data.dataset import Split, load_dataset
from jaxcaps.errors import UnsuitableTask, UserError
from jaxcaps.functional import ab_bins


def split_of(images):
    images = np.asarray(images, np.uint8)
    numbers = np.arange(len(images), dtype=np.int32)
    names = tuple(f"{number}.png" for number in numbers)
    return Split(names, numbers, numbers, True, images, None, numbers, image_size=images.shape[1], contents=numbers)


def grey(seed, side=24):
    """A smooth grey picture, all channels equal."""
    noise = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
    return cv2.merge([cv2.GaussianBlur(noise, (5, 5), 2)] * 3)


def red(side=24):
    return np.broadcast_to(np.uint8([190, 90, 60]), (side, side, 3))


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_grey_pictures_are_refused_and_tasks_that_suit_them_named(quality):
    """Grey pictures as stored in colour JPEG files: with a tint and one or two levels of noise in each channel."""
    pictures = []
    for seed in range(20):
        noisy = grey(seed).astype(int) + np.random.default_rng(seed).integers(-2, 3, (24, 24, 3)) + [4, 0, -4]
        _, code = cv2.imencode(".jpg", np.clip(noisy, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
        pictures.append(cv2.imdecode(code, cv2.IMREAD_COLOR))
    assert any((picture != picture[..., :1]).any() for picture in pictures)
    with pytest.raises(UnsuitableTask, match="0 of 20 training pictures are colourful") as caught:
        check_colourful(split_of(pictures), "csv:grey.csv")
    assert isinstance(caught.value, UserError)
    for word in ("--task=colourise", "csv:grey.csv", "--task=inpaint"):
        assert word in str(caught.value)


def test_a_coloured_mark_does_not_make_a_grey_set_colourful():
    pictures = [grey(seed) for seed in range(20)]
    for picture in pictures:
        picture[:2, :4] = [255, 255, 0]
    with pytest.raises(UnsuitableTask):
        check_colourful(split_of(pictures), "synthetic")


@pytest.mark.parametrize(("coloured", "refused"), [(1, True), (2, False), (20, False)])
def test_a_tenth_of_colourful_pictures_is_enough(coloured, refused):
    split = split_of([red() if number < coloured else grey(number) for number in range(20)])
    if refused:
        with pytest.raises(UnsuitableTask, match="1 of 20"):
            check_colourful(split, "synthetic")
    else:
        assert check_colourful(split, "synthetic") == f"Colour: {coloured} of 20 training pictures are colourful."


def test_counts_of_bins_by_hand():
    """By scikit-image, sRGB (190, 90, 60) has a = 38.0 and b = 35.9. For grey, both are 0."""
    counts = bin_counts(split_of([red(4), grey(0, 4), grey(1, 4)]))
    found = {tuple(ab_bins().centres[number].astype(int)): count for number, count in enumerate(counts) if count}
    assert found == {(40, 40): 16, (0, 0): 32}


def test_pictures_are_sampled_from_the_whole_of_a_large_set():
    images = np.zeros((2 * MOST_PICTURES, 1, 1, 3), np.uint8)
    images[MOST_PICTURES:] = [190, 90, 60]
    counts = bin_counts(split_of(images))
    assert counts.sum() == MOST_PICTURES
    assert sorted(counts[counts > 0]) == [MOST_PICTURES / 2] * 2


@pytest.mark.parametrize(("name", "colour"), [("bccd", True), ("busi", False)])
def test_real_sets(name, colour, shared_data):
    dataset = load_dataset(
        data=f"csv:{Path(shared_data) / name / 'labels.csv'}", image_size=24, labels="optional", split_seed=0,
        synthetic_count=1, synthetic_seed=0, max_bad_images=0.0, cache_bytes=2**30, splits=("train",),
    )  # fmt: skip
    train = dataset.splits["train"]
    if colour:
        assert check_colourful(train, name) == "Colour: 1999 of 2000 training pictures are colourful."
    else:
        with pytest.raises(UnsuitableTask, match=f"0 of {len(train)} training"):
            check_colourful(train, name)
