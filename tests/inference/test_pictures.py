"""Pictures from files and arrays, in batches."""

import os
import threading
import time

import cv2
import numpy as np
import pytest

from data_prep.pipeline.applying import FittedSteps
from data_prep.presets import PRESETS
from jaxcaps.data.decoding import BadImage
from jaxcaps.data.prepared import as_in_training
from jaxcaps.data.source import Settings
from jaxcaps.errors import UserError
from jaxcaps.inference.pictures import BATCHES_AHEAD, as_bytes, batches, list_files, open_pictures
from tests.preparations import MATCHED, write_record

SETTINGS = Settings(16, 20, 0)
PLAIN = FittedSteps(PRESETS["plain"])


def save(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8, 3), value, np.uint8))
    return path


def names(source):
    return [item.name for item in source.items]


def test_a_folder_is_searched_whatever_its_folders_mean(tmp_path):
    for name in ("b.png", "train/x.png", "class a/1/c.JPG", ".hidden/d.png", "empty/notes.txt"):
        save(tmp_path / name) if "txt" not in name else (tmp_path / "empty").mkdir()
    assert names(open_pictures(str(tmp_path), SETTINGS)) == ["b.png", "class a/1/c.JPG", "train/x.png"]
    source = open_pictures(str(tmp_path / "b.png"), SETTINGS)
    assert names(source) == [str(tmp_path / "b.png")]
    assert source.read(0).shape == (8, 8, 3)
    assert len(open_pictures("synthetic", SETTINGS).items) == 20
    assert names(list_files([tmp_path / "train" / "x.png", str(tmp_path / "b.png")]))[1] == str(tmp_path / "b.png")


def test_places_without_pictures_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"--images=.*: no image file in this folder"):
        open_pictures(str(tmp_path), SETTINGS)
    with pytest.raises(UserError, match=r"--images=nowhere: no such file or folder; give a folder, .*csv:FILE"):
        open_pictures("nowhere", SETTINGS)
    with pytest.raises(UserError, match=r"--images=csb:x: expected one of"):
        open_pictures("csb:x", SETTINGS)
    (tmp_path / "labels.csv").write_text("path\n")
    with pytest.raises(UserError, match="did you mean --images=csv:"):
        open_pictures(str(tmp_path / "labels.csv"), SETTINGS)
    with pytest.raises(UserError, match=r"--images=csv:gone\.csv: no such file"):
        open_pictures("csv:gone.csv", SETTINGS)
    with pytest.raises(UserError, match=r"gone\.png: no such image file \(1 of 2 are missing\)"):
        list_files([tmp_path / "gone.png", save(tmp_path / "here.png")])


def test_pictures_are_prepared_once(tmp_path):
    raw = open_pictures(str(save(tmp_path / "raw" / "a.png").parent), SETTINGS)
    save(tmp_path / "out" / "images" / "class" / "a.png")
    write_record(tmp_path / "out", PLAIN)
    assert as_in_training(raw, None, "here") is raw
    changed = as_in_training(raw, PLAIN, "here")
    assert changed.read(0).shape == (PLAIN.steps.size, PLAIN.steps.size, 3)
    assert changed.items == raw.items
    # The record is found from any folder of the output folder.
    for place in ("out", "out/images", "out/images/class", "out/images/class/a.png"):
        done = open_pictures(str(tmp_path / place), SETTINGS)
        assert as_in_training(done, PLAIN, "here") is done
        with pytest.raises(UserError, match="here: data_prep made these pictures, but the model learnt from pictures"):
            as_in_training(done, None, "here")
        with pytest.raises(UserError, match=r"here: .* with other steps or another reference histogram"):
            as_in_training(done, MATCHED, "here")
    with pytest.raises(UserError, match="but not all in the same way"):
        list_files([tmp_path / "raw" / "a.png", tmp_path / "out" / "images" / "class" / "a.png"])


@pytest.mark.parametrize("place", ["images/out", "out/images/train/images", "images/out/images/images"])
def test_the_record_is_found_whichever_folders_are_called_images(tmp_path, place):
    save(tmp_path / place / "a.png")
    write_record(tmp_path / place.partition("/images/")[0], PLAIN)
    assert open_pictures(str(tmp_path / place), SETTINGS).prepared == PLAIN


def test_names_that_are_not_utf_8_are_escaped_and_their_files_read(tmp_path):
    file = save(tmp_path / "cafe" / "a.png")
    file.rename(file.with_name(os.fsdecode(b"\xff.png")))
    file.parent.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    source = open_pictures(str(tmp_path), SETTINGS)
    assert names(source) == ["caf\\xe9/\\xff.png"]
    assert source.read(0).shape == (8, 8, 3)
    (item,) = open_pictures(f"folder:{tmp_path}", SETTINGS).items
    assert item.label == "caf\\xe9"


def test_batches_keep_the_order_leave_out_bad_pictures_and_read_only_a_little_ahead():
    running, lock, begun = set(), threading.Lock(), []

    def read(row):
        with lock:
            begun.append(row)
            running.add(threading.get_ident())
        time.sleep(0.001 * (row % 3))
        if row % 5 == 2:
            raise BadImage(f"bad {row}")
        return np.full((2, 2, 1), row, np.uint8)

    found = []
    for batch in batches(read, range(3, 50), (2, 2, 1), 8):
        assert len(begun) <= len(found) + 2 * 8 * BATCHES_AHEAD + 8
        assert [row for row, _ in batch.bad] == [row for row in range(3, 50) if row % 5 == 2 and row in dict(batch.bad)]
        np.testing.assert_array_equal(batch.images[:, 0, 0, 0], batch.rows)
        found += [*batch.rows, *(row for row, _ in batch.bad)]
    assert sorted(found) == list(range(3, 50))
    assert len(running) > 1
    (only_bad,) = batches(read, [2, 7], (2, 2, 1), 8)
    assert (only_bad.rows, len(only_bad.images)) == ([], 0)
    assert only_bad.bad == [(2, "bad 2"), (7, "bad 7")]
    assert list(batches(read, [], (2, 2, 1), 8)) == []


def test_arrays_become_bytes():
    bytes_ = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    assert as_bytes(bytes_, 3) is bytes_
    np.testing.assert_array_equal(as_bytes(bytes_[0], 3), bytes_)
    np.testing.assert_array_equal(as_bytes((bytes_ / 255).astype(np.float32), 3), bytes_)
    for shape in ((4, 4), (1, 4, 4), (4, 4, 1), (1, 4, 4, 1)):
        assert as_bytes(np.zeros(shape, np.uint8), 1).shape == (1, 4, 4, 1)


@pytest.mark.parametrize(
    ("pictures", "channels", "message"),
    [
        (np.full((1, 4, 4, 3), 200.0), 3, "values from 200 to 200: floats must lie in"),
        (np.full((1, 4, 4, 3), np.nan), 3, "values from nan to nan"),
        (np.full((1, 4, 4, 3), -0.1), 3, "values from -0.1"),
        (np.zeros((1, 4, 4, 3), np.int64), 3, "type int64: give uint8"),
        (np.zeros((2, 4, 4, 1), np.uint8), 3, r"shape \[2, 4, 4, 1\]: this model takes colour pictures"),
        (np.zeros((2, 4, 4), np.uint8), 3, r"shape \[2, 4, 4\]: this model takes colour"),
        (np.zeros((2, 4, 4, 3), np.uint8), 1, r"shape \[2, 4, 4, 3\]: this model takes grey pictures"),
        (np.zeros((2, 0, 4, 3), np.uint8), 3, "shape"),
    ],
)
def test_other_arrays_are_refused(pictures, channels, message):
    with pytest.raises(UserError, match=message):
        as_bytes(pictures, channels)
