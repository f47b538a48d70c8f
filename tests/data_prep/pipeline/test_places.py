import os
import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.errors import UserError
from data_prep.pipeline.places import check_place, targets
from data_prep.sources.listing import RawFrame


def placed(*names):
    return [targets([RawFrame(name, Path(name)) for name in names])[name] for name in names]


def test_a_picture_keeps_its_name_and_becomes_a_png():
    assert placed("a/b c.JPG", "Käse/ü.tif", "x.y.jpeg") == ["images/a/b c.png", "images/Käse/ü.png", "images/x.y.png"]


def test_names_that_would_meet_are_told_apart():
    assert placed("a.png", "a.jpg", "A.png", "a.jpg.gif") == [
        *("images/a.png", "images/a-jpg.png", "images/A-png.png", "images/a.jpg.png"),
    ]
    composed, decomposed = (unicodedata.normalize(form, "ü.png") for form in ("NFC", "NFD"))
    assert len({unicodedata.normalize("NFC", path) for path in placed(composed, decomposed)}) == 2


def test_a_short_name_goes_before_the_long_one():
    frame = RawFrame("deep/down/x.png", Path("x"), short="train/x")
    assert targets([frame]) == {"deep/down/x.png": "images/train/x.png"}


TRICKS = ["../../etc/passwd.png", "/etc/passwd.png", "a/../../b.png", "..\\b.png", "....//b.png"]


@pytest.mark.parametrize("name", TRICKS)
def test_a_path_trick_stays_inside(name):
    (path,) = placed(name)
    parts = PurePosixPath(path).parts
    assert parts[0] == "images"
    assert ".." not in parts
    assert os.path.normpath(path) == path


def test_what_tables_and_shells_stumble_over_is_replaced():
    assert placed("a\nb.png", " a .png") == ["images/a_b.png", "images/_a_.png"]
    assert placed(os.fsdecode(b"\xff.png")) == ["images/_.png"]
    (path,) = placed("é" * 200 + ".png")
    assert len(path.removeprefix("images/").encode()) <= 255


@given(st.lists(st.text(st.characters(exclude_categories=()), min_size=1, max_size=12), unique=True, max_size=8))
def test_any_names_give_different_paths_inside(names):
    paths = placed(*names)
    assert len({unicodedata.normalize("NFC", path).casefold() for path in paths}) == len(names)
    for path in paths:
        path.encode()
        assert path.startswith("images/")
        assert path.endswith(".png")
        assert ".." not in path.split("/")
        assert not any(ord(character) < 32 for character in path)


def test_the_source_is_no_place_to_write(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "link").symlink_to(source)
    for out, words in {
        source: "it is the source folder",
        source / "prepared": "it lies in the source folder",
        tmp_path: "it contains the source",
        tmp_path / "link": "it is the source folder",
        tmp_path / "link" / "x": "it lies in the source folder",
        source / ".." / "source": "it is the source folder",
    }.items():
        with pytest.raises(UserError, match=words):
            check_place(out, source, f"--out={out}")
    check_place(tmp_path / "source2", source, "--out")


def test_a_file_or_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1").touch()
    for out, words in {"file": "is a file", "file/x": "is a file", "thesis": "already holds something else"}.items():
        with pytest.raises(UserError, match=words):
            check_place(tmp_path / out, tmp_path / "source", f"--out={out}")
