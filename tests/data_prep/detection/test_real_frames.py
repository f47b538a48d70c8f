"""29 real frames with fields of view and overlays labelled by eye, before the detector was written.

The labels are in endoscopy_boxes.csv and endoscopy_overlays.csv, in half-open pixels.
"""

import csv
from collections import defaultdict
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.config import Steps
from data_prep.detection.field_of_view import field_of_view_mask
from data_prep.images.box import Box, crop
from data_prep.pipeline.sequence import look
from data_prep.steps.guess_modality import guess_modality
from data_prep.steps.overlays import find_overlays, mask_overlays
from data_prep.steps.step import Findings
from tests.data_prep.fields import found_box, overlap

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent

FAINT = {
    ("colitis/0ecf5900-d4ae-4b7e-8389-8a44f707e866.jpg", 125, 0),
    ("colitis/0ecf5900-d4ae-4b7e-8389-8a44f707e866.jpg", 147, 0),
    ("colitis/0ecf5900-d4ae-4b7e-8389-8a44f707e866.jpg", 169, 0),
    ("colitis/0f498083-9ed1-47a5-bf10-8c83f6362c1e.jpg", 92, 16),
    ("ileum/055d0a29-54d8-44fb-b6be-d3525085677b.jpg", 152, 16),
    ("ileum/4854b304-aa34-42e8-a254-bbd37b373be3.jpg", 352, 16),
}
"""Lines (frame, top, left) that are missed: light grey on light tissue. There must not be more."""


def rows(name: str) -> list[dict[str, str]]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def box_of(row: dict[str, str]) -> Box:
    return Box(*(int(row[side]) for side in ("top", "left", "bottom", "right")))


FIELDS = {row["path"]: box_of(row) for row in rows("endoscopy_boxes.csv")}
OVERLAYS: dict[str, list[tuple[str, Box]]] = defaultdict(list)
for row in rows("endoscopy_overlays.csv"):
    OVERLAYS[row["path"]].append((row["kind"], box_of(row)))


@cache
def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@pytest.fixture
def frames(shared_data: Path) -> Path:
    folder = shared_data / "endoscopy_raw"
    if not folder.is_dir():
        pytest.skip(f"no endoscopy_raw in {shared_data}")
    return folder


def test_the_answer_files_speak_of_the_same_29_frames(frames: Path) -> None:
    present = {path.relative_to(frames).as_posix() for path in frames.glob("*/*.jpg")}
    assert set(FIELDS) == present
    assert len(FIELDS) == 29
    assert set(OVERLAYS) <= present


@pytest.mark.parametrize("name", FIELDS)
def test_the_field_of_view_is_the_labelled_one(frames: Path, name: str) -> None:
    found = found_box(read(frames / name))
    assert found is not None
    assert overlap(found, FIELDS[name]) >= 0.97, found


@pytest.mark.parametrize("name", FIELDS)
def test_the_field_is_found_in_a_whole_screen(frames: Path, name: str) -> None:
    """The frames come cut close to their fields. On a screen twice as wide, with text beside, it takes finding."""
    image = read(frames / name)
    height, width = image.shape[:2]
    screen = np.full((height + 90, 2 * width, 3), 3, np.uint8)
    screen[50 : 50 + height, width - 40 : 2 * width - 40] = image
    for line in range(9):
        cv2.putText(screen, "NAME 1234", (20, 80 + 40 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (240, 240, 240), 2)
    top, left, bottom, right = FIELDS[name]
    expected = Box(top + 50, left + width - 40, bottom + 50, right + width - 40)
    found = found_box(screen)
    assert found is not None
    assert overlap(found, expected) >= 0.97, (found, expected)


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_are_masked(frames: Path, name: str) -> None:
    image = read(frames / name)
    found = find_overlays(image)
    masked = mask_overlays(image, found)
    np.testing.assert_array_equal(masked[~found], image[~found])
    for kind, box in OVERLAYS[name]:
        covered = float(crop(found, box).mean())
        if (name, box.top, box.left) not in FAINT:
            assert covered >= (0.95 if kind == "guide" else 0.8), (kind, box, covered)


@pytest.mark.parametrize("name", FIELDS)
def test_little_of_the_scene_is_masked(frames: Path, name: str) -> None:
    image = read(frames / name)
    labelled = np.zeros(image.shape[:2], bool)
    for _, box in OVERLAYS[name]:
        labelled[max(box.top - 4, 0) : box.bottom + 4, max(box.left - 4, 0) : box.right + 4] = True
    field = field_of_view_mask(image)
    assert field is not None
    assert (find_overlays(image) & ~labelled & field).sum() <= 0.04 * field.sum()


@pytest.mark.parametrize("name", FIELDS)
def test_all_are_white_light(frames: Path, name: str) -> None:
    modality, confidence = guess_modality(read(frames / name))
    assert modality == "WL"
    assert confidence > 0.9


@pytest.mark.parametrize("name", FIELDS)
def test_corners_and_guides_are_not_part_of_the_field(frames: Path, name: str) -> None:
    image = read(frames / name)
    found, _ = look(image, Findings(Box(0, 0, *image.shape[:2])), Steps(borders=True, overlays=True))
    assert found.view is not None
    guides = [guide for kind, guide in OVERLAYS[name] if kind == "guide"]
    assert (0.70 if guides else 0.80) < found.view.mean() < 0.97
    whole = np.zeros(image.shape[:2], bool)
    whole[found.box.top : found.box.bottom, found.box.left : found.box.right] = found.view
    for guide in guides:
        assert crop(whole, guide).mean() <= 0.01
