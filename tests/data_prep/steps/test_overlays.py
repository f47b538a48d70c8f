"""Text, symbols and guide pictures drawn over frames are found, and nothing of them can be read again."""

import cv2
import numpy as np
import pytest

from data_prep.detection.field_of_view import field_of_view_mask
from data_prep.detection.guide import find_guide
from data_prep.detection.text import find_text
from data_prep.images.box import Box, crop
from data_prep.steps.overlays import find_overlays, mask_overlays
from tests.data_prep.fields import TEXT_BOXES, frame, tissue

FIELD = Box(0, 0, 480, 640)


@pytest.mark.parametrize("shape", ["rectangle", "octagon", "circle"])
def test_every_line_of_text_is_covered_over_scene_and_border(shape: str) -> None:
    for seed in range(3):
        found = find_overlays(frame(shape, FIELD, seed=seed, text=True))
        for box in TEXT_BOXES:
            assert crop(found, box).mean() >= 0.95, box


def test_text_on_a_large_frame_is_covered_as_on_a_small_one() -> None:
    small = frame("octagon", FIELD, text=True)
    large = cv2.resize(small, None, fx=2.25, fy=2.25, interpolation=cv2.INTER_CUBIC)
    found = find_overlays(large)
    assert found.shape == (1080, 1440)
    for box in TEXT_BOXES:
        assert crop(found, Box(*(round(2.25 * side) for side in box))).mean() >= 0.95


def test_little_else_is_covered() -> None:
    for shape in ("rectangle", "octagon"):
        for seed in range(5):
            assert find_overlays(frame(shape, FIELD, seed=seed)).mean() <= 0.005


def test_scattered_highlights_are_no_text() -> None:
    rng = np.random.default_rng(0)
    image = tissue(rng, 480, 640)
    for x, y, axis in zip(rng.integers(10, 630, 60), rng.integers(10, 470, 60), rng.integers(4, 9, 60), strict=True):
        cv2.ellipse(image, (int(x), int(y)), (int(axis), 4), float(x), 0, 360, (255, 255, 255), cv2.FILLED, cv2.LINE_AA)
    assert find_text(image).mean() <= 0.005


@pytest.mark.parametrize("colour", [(24, 165, 140), (0, 190, 150), (30, 60, 200)])
def test_the_guide_picture_is_found_with_its_black_frame(colour: tuple[int, int, int]) -> None:
    image = frame("octagon", FIELD)
    image[300:480, 0:200] = 14
    image[312:465, 0:190] = colour
    cv2.line(image, (60, 330), (120, 450), (40, 60, 60), 4)
    guide = find_guide(image)
    assert guide is not None
    assert max(abs(a - b) for a, b in zip(guide, (300, 0, 480, 200), strict=True)) <= 3
    assert crop(find_overlays(image), Box(300, 0, 480, 200)).all()
    assert not crop(mask_overlays(image, find_overlays(image)), Box(302, 0, 480, 198)).any(), "blackened"


def test_tissue_is_no_guide_under_any_light() -> None:
    rng = np.random.default_rng(0)
    for tint in ((1.0, 1.0, 1.0), (0.5, 1.2, 1.2), (0.4, 1.1, 1.3)):
        shaded = tissue(rng, 300, 400) * np.array(tint)
        assert find_guide(np.clip(shaded, 0, 255).astype(np.uint8)) is None


def test_a_symbol_on_black_at_the_edge_of_the_field_is_found() -> None:
    image = frame("octagon", FIELD)
    image[400:436, 592:628] = 4
    cv2.circle(image, (610, 418), 12, (230, 230, 230), 2)
    assert crop(find_overlays(image), Box(406, 598, 430, 622)).all()


def test_whatever_is_bright_on_the_border_is_found() -> None:
    image = frame("octagon", FIELD)
    cv2.putText(image, "J", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2)
    field = field_of_view_mask(image)
    assert field is not None
    letter = (image.min(axis=2) > 200) & ~field
    assert letter.any()
    assert find_overlays(image)[letter].all()


def test_masked_text_leaves_nothing_to_read() -> None:
    plain, written = frame("octagon", FIELD), frame("octagon", FIELD, text=True)
    mask = find_overlays(written)
    masked = mask_overlays(written, mask)
    np.testing.assert_array_equal(masked[~mask], written[~mask])
    # The same mask over another text gives the same picture.
    another = written.copy()
    another[mask] = 255 - another[mask]
    np.testing.assert_array_equal(mask_overlays(another, mask), masked)
    # What is filled in looks like the scene that was there: the strokes' contrast of 100 and more is gone.
    inside = mask & (field_of_view_mask(plain) if field_of_view_mask(plain) is not None else mask)
    assert np.abs(masked.astype(int) - plain)[inside].mean() <= 15


def test_nothing_is_done_without_overlays() -> None:
    image = frame("octagon", FIELD)
    np.testing.assert_array_equal(mask_overlays(image, np.zeros(image.shape[:2], bool)), image)
    assert not mask_overlays(image, np.ones(image.shape[:2], bool)).any()
