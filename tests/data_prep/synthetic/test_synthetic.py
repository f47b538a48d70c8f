"""The built-in images: their table of contents, the purity of drawing, and a task neither trivial nor hopeless."""

import hashlib
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from data_prep.synthetic import CLASSES, Frame, describe, draw


def frames(indices: range, *, count: int, seed: int, size: int) -> list[Frame]:
    return [draw(index, count=count, seed=seed, size=size) for index in indices]


def digest(indices: list[int]) -> str:
    images = {index: draw(index, count=60, seed=3, size=48).image for index in indices}
    return hashlib.sha256(b"".join(images[index].tobytes() for index in sorted(images))).hexdigest()


@pytest.fixture(scope="module")
def the_set() -> list[Frame]:
    """Half of the 600 frames that training sees by default, small."""
    return frames(range(300), count=600, seed=0, size=24)


@given(count=st.integers(9, 1500), seed=st.integers(0, 2**32))
def test_every_set_has_its_count_of_frames_in_lesions_of_3_to_6_frames_of_one_class(count: int, seed: int) -> None:
    table = describe(count, seed)
    assert len(table) == count
    assert {row.label for row in table} == set(CLASSES)
    frames_of_group = Counter(row.group for row in table)
    assert min(frames_of_group.values()) >= 3
    assert max(frames_of_group.values()) <= 6
    lesions = Counter(label for _, label in {(row.group, row.label) for row in table})
    assert sum(lesions.values()) == len(frames_of_group), "a lesion has one class"
    if count >= 27:
        assert min(lesions.values()) >= 3, "each of three splits can have a lesion of every class"


def test_classes_are_imbalanced_as_announced_and_modalities_are_mixed_within_each() -> None:
    table = describe(2000, 5)
    labels = Counter(row.label for row in table)
    assert labels == {"adenocarcinoma": 240, "adenoma": 1200, "hyperplastic": 560}
    for label in CLASSES:
        narrow = np.mean([row.modality == "narrow-band" for row in table if row.label == label])
        assert 0.25 < narrow < 0.5
    modalities_of_group = Counter(group for group, _ in {(row.group, row.modality) for row in table})
    both = np.mean([modalities == 2 for modalities in modalities_of_group.values()])
    assert 0.1 < both < 0.8, "some lesions are seen under both lights, some under one"


def test_group_names_sort_in_the_order_of_the_frames() -> None:
    for count in (60, 6000):
        names = [row.group for row in describe(count, 0)]
        assert names == sorted(names)
    assert describe(60, 0)[0].group == "lesion000"


def test_a_table_belongs_to_its_caller() -> None:
    table = describe(60, 0)
    unchanged = list(table)
    table.clear()
    assert describe(60, 0) == unchanged


@pytest.mark.parametrize("size", [8, 16, 48, 97, 224])
def test_a_frame_is_what_the_table_says_as_rgb_bytes_of_the_size(size: int) -> None:
    table = describe(60, 1)
    for index in (0, 31, 59):
        image, *description = draw(index, count=60, seed=1, size=size)
        assert tuple(description) == tuple(table[index])
        assert image.shape == (size, size, 3)
        assert image.dtype == np.uint8


def test_drawing_depends_on_nothing_drawn_before_nor_on_threads() -> None:
    forward = digest(list(range(0, 60, 7)))
    np.random.seed(7)  # noqa: NPY002 - the global generator must not matter
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(0)
        assert digest(list(range(0, 60, 7))[::-1]) == forward
    finally:
        cv2.setNumThreads(threads)


def test_another_process_draws_the_same_bytes() -> None:
    program = (
        "import hashlib; from data_prep.synthetic import draw; "
        "data = b''.join(draw(i, count=60, seed=3, size=48).image.tobytes() for i in (4, 50)); "
        "print(hashlib.sha256(data).hexdigest())"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest([50, 4])


def test_another_seed_draws_other_frames_and_frames_differ_from_one_another() -> None:
    images = [draw(index, count=60, seed=seed, size=32).image for seed in (0, 1) for index in range(12)]
    assert len({image.tobytes() for image in images}) == len(images)
    assert describe(60, 0) != describe(60, 1)


def test_a_scene_is_the_same_scene_at_each_size() -> None:
    for index in (2, 40):
        small = draw(index, count=60, seed=0, size=48).image.astype(float)
        large = cv2.resize(draw(index, count=60, seed=0, size=224).image, (48, 48), interpolation=cv2.INTER_AREA)
        other = draw(index + 6, count=60, seed=0, size=48).image.astype(float)
        assert np.abs(small - large).mean() < 8 < np.abs(small - other).mean()


def test_the_field_of_view_is_an_octagon_in_black(the_set: list[Frame]) -> None:
    images = np.stack([frame.image for frame in the_set])
    across = np.abs(np.arange(24) - 11.5) / 12
    corners = across[:, None] + across > 1.68
    assert corners.sum() == 4 * 6
    assert not images[:, corners].any()
    brightest = images.max(axis=(0, 3))
    middle = slice(9, 15)
    for side in (brightest[1, middle], brightest[-2, middle], brightest[middle, 1], brightest[middle, -2]):
        assert side.min() > 100, "the flat sides reach further out than the corners"
    # At a size where the pixels that the edge cuts count for little: the areas of the smallest and the largest octagon.
    for frame in frames(range(12), count=60, seed=0, size=192):
        assert 0.75 < np.mean(frame.image.max(axis=2) > 0) < 0.90


def test_white_light_is_red_and_narrow_band_green_to_blue(the_set: list[Frame]) -> None:
    redness: dict[str, list[float]] = {"white-light": [], "narrow-band": []}
    for frame in the_set:
        red, green, blue = frame.image.reshape(-1, 3).mean(axis=0)
        redness[frame.modality].append(2 * red / (green + blue))
    assert np.percentile(redness["white-light"], 5) > 1.3
    assert np.percentile(redness["narrow-band"], 95) < 1.2


def test_frames_of_one_lesion_differ_in_viewpoint_and_light(the_set: list[Frame]) -> None:
    for before, after in pairwise(the_set):
        if before.group == after.group:
            assert np.abs(before.image.astype(float) - after.image).mean() > 4


def test_pixels_alone_tell_the_classes_above_chance_and_far_from_fully(the_set: list[Frame]) -> None:
    pixels = np.stack([frame.image.ravel() for frame in the_set]) / 255
    mean_colours = np.stack([frame.image.reshape(-1, 3).mean(axis=0) for frame in the_set])
    assert 0.40 < _balanced_accuracy(pixels, the_set) < 0.75
    assert _balanced_accuracy(mean_colours, the_set) < 0.55


@pytest.mark.slow
def test_the_pattern_tells_more_than_the_pixels() -> None:
    the_set = frames(range(600), count=600, seed=0, size=48)
    pixels = [cv2.resize(frame.image, (24, 24), interpolation=cv2.INTER_AREA).ravel() / 255 for frame in the_set]
    textures = np.stack([_texture(frame.image) for frame in the_set])
    assert _balanced_accuracy(textures, the_set) > _balanced_accuracy(np.stack(pixels), the_set) + 0.1


def _texture(image: np.ndarray) -> np.ndarray:
    """Logarithms of how strong Gabor responses get, over all places, by wavelength and rank of the orientation."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    features = []
    for wavelength in (3.0, 4.0, 5.5, 8.0):
        responses = []
        for angle in np.arange(4) * np.pi / 4:
            kernel = cv2.getGaborKernel((13, 13), wavelength / 2, angle, wavelength, 1.0, 0)
            responses.append(np.abs(cv2.filter2D(grey, -1, kernel - kernel.mean()))[6:-6, 6:-6].ravel())
        features.append(np.quantile(np.sort(responses, axis=0), (0.5, 0.8, 0.95), axis=1).ravel())
    return np.log(np.concatenate(features) + 1e-3)


def _balanced_accuracy(features: np.ndarray, the_set: list[Frame]) -> float:
    """Of a class-weighted linear classifier, cross-validated over lesions."""
    labels, groups = [frame.label for frame in the_set], [frame.group for frame in the_set]
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=features.shape[1], class_weight="balanced"))
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    # The matrices are small: threads that wait for one another would take most of the time.
    with threadpool_limits(1):
        return balanced_accuracy_score(labels, cross_val_predict(model, features, labels, groups=groups, cv=folds))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"index": 60}, IndexError, "index is 60, expected 0 to 59"),
        ({"index": -1}, IndexError, "index is -1"),
        ({"count": 8}, ValueError, "count is 8, expected at least 9"),
        ({"seed": -2}, ValueError, "seed is -2"),
        ({"size": 4}, ValueError, "size is 4, expected at least 8"),
    ],
)
def test_arguments_out_of_range_are_named(arguments: dict[str, int], error: type[Exception], message: str) -> None:
    right = {"index": 0, "count": 60, "seed": 0, "size": 16}
    with pytest.raises(error, match=message):
        draw(**{**right, **arguments})
