"""`python -m jaxcaps.explain` and `predict --explain`: what they write, and what they refuse."""

import csv
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from jaxcaps.explaining.drawing import overlay
from jaxcaps.explaining.overlays import Overlays
from jaxcaps.explaining.page import render
from jaxcaps.explaining.writing import page_name
from jaxcaps.inference.pictures import PictureBatch
from tests.command import run as command
from tests.explaining import build
from tests.explaining.conftest import config
from tests.inference.build import write_run


class Tags(HTMLParser):
    """Counts the tags of a page, and keeps its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)


def rows(file):
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three pictures of which one is broken."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        cv2.imwrite(str(folder / f"<b>{number}.png"), pixels)
    (folder / "bad.png").write_text("hello")
    return folder


def test_names_and_classes_are_text_and_nothing_is_loaded():
    page = render(build.explanation(), "<script>alert(0)</script>.png", "run")
    found = Tags(page)
    tags = [tag for tag, _ in found.tags]
    assert tags.count("script") == 1
    assert not any("onerror" in attributes for _, attributes in found.tags)
    assert "default-src 'none'" in page
    assert all(attributes["src"].startswith("data:") for tag, attributes in found.tags if tag == "img")
    assert "<script>alert(0)</script>.png" in found.text
    for name in build.HOSTILE:
        assert any(name in text for text in found.text)


def test_the_page_has_an_overlay_for_each_iteration_and_a_slider_for_each_dimension():
    found = Tags(render(build.explanation(), "a.png", "run"))
    iterations = [attributes for tag, attributes in found.tags if tag == "img" and "data-iteration" in attributes]
    assert len(iterations) == 2 * build.ITERATIONS * len(build.HOSTILE)
    sliders = [each for tag, each in found.tags if tag == "input" and "data-offsets" in each]
    assert len(sliders) == build.DIMENSIONS
    assert sliders[0]["data-offsets"] == "-0.25 -0.12 +0.00 +0.12 +0.25"
    assert len([tag for tag, _ in found.tags if tag == "polyline"]) == 2 * 6 * len(build.HOSTILE)


@pytest.mark.parametrize("parts", [{"classes": False}, {"capsules": False, "decoder": False}])
def test_what_a_network_lacks_is_not_shown(parts):
    page = render(build.explanation(**parts), "a.png", "run", ("No sliders: because",))
    tags = [tag for tag, _ in Tags(page).tags]
    assert ("polyline" in tags) == parts.get("classes", True)
    assert ("data-iteration=" in page) == parts.get("capsules", True)
    assert "No sliders: because" in page


def test_colours_are_transparent_at_zero_and_tell_signs_apart():
    image = np.full((1, 3, 3), 0.5)
    found = overlay(image, np.array([[-1, 0, 1.0]]), 1.0, signed=True).astype(int)
    np.testing.assert_array_equal(found[0, 1], [128, 128, 128])
    assert found[0, 0, 2] > found[0, 0, 0] + 50
    assert found[0, 2, 0] > found[0, 2, 2] + 50
    # A map of zeros leaves the picture as it is.
    assert (overlay(image, np.zeros((1, 3)), 0.0, signed=False) == 128).all()


def test_names_of_pages_suit_every_file_system():
    assert page_name(3, "a/b c<>:é.png", ".html") == "00003-b-c.html"
    assert page_name(3, "../..", ".html") == "00003.html"
    assert len(page_name(3, "x" * 300 + ".png", ".html")) < 80


def test_dimensions_that_change_little_are_left_out_of_a_large_capsule():
    made = build.explanation()
    frames = np.zeros((171, build.STEPS, 128, 128, 1), np.float32)
    # The 70th changes most, and the first not at all.
    frames[:, -1] = np.minimum(np.arange(171), 70)[:, None, None, None] / 100
    moved = made.frames[0]._replace(frames=frames, pose=np.zeros(171, np.float32))
    page = render(replace(made, frames={0: moved}), "a.png", "run")
    sliders = [each["aria-label"] for tag, each in Tags(page).tags if tag == "input" and "data-offsets" in each]
    assert sliders == [f"Dimension {number}" for number in range(70, 70 + 64)]
    assert "come first; 107 that change it less are left out." in page
    assert "left out" not in render(made, "a.png", "run")


def test_what_is_said_of_overlays_is_what_was_drawn(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("jaxcaps.explaining.overlays.write_overlay", lambda model, stored, file: file.touch())
    caplog.set_level("INFO", "jaxcaps")
    stored = np.zeros((2, 4, 4, 3), np.uint8)
    names = ["a.png", "b.png", "c.png", "d.png"]
    # The command goes on after a picture that it predicted without --explain.
    Overlays(None, tmp_path / "x.csv", 3)(names, PictureBatch([1, 3], stored, [(2, "damaged")]))
    folder = tmp_path / "x.overlays"
    assert [path.name for path in folder.iterdir()] == ["00001-b.png"]
    # All of the pictures that are left are beyond the limit: no folder is in the way of the next command.
    Overlays(None, tmp_path / "y.csv", 3)(names, PictureBatch([3], stored[:1], []))
    assert not (tmp_path / "y.overlays").exists()
    assert [record.getMessage() for record in caplog.records] == [
        f"Drew maps over 1 of the first 3 pictures, see {folder}; --explain-limit=4 draws over all 4",
        "Drew maps over 0 of the first 3 pictures; --explain-limit=4 draws over all 4",
    ]


@pytest.mark.slow
def test_overlays_lie_beside_the_predictions(run, pictures, tmp_path, capsys):
    arguments = (f"--restore={run}", f"--images={pictures}", f"--out={tmp_path}/table.csv", "--explain")
    outcome = command(capsys, *arguments, "--explain-limit=2", command="predict")
    assert outcome.status == 0, outcome.errors
    assert "--explain-limit=3 draws over all 3" in outcome.output
    names = sorted(path.name for path in (tmp_path / "table.overlays").iterdir())
    assert names == ["00000-b-0.png", "00001-b-1.png"]
    drawn = cv2.imread(str(tmp_path / "table.overlays" / "00000-b-0.png"))
    assert drawn.shape == (224, 3 * 224, 3)
    assert len(rows(tmp_path / "table.csv")) == 2
    (tmp_path / "table.csv").unlink()
    (tmp_path / "table.unreadable.csv").unlink()
    again = command(capsys, *arguments, command="predict")
    assert again.status == 2
    assert "table.overlays exists and was not changed" in again.errors
    assert command(capsys, *arguments, "--explain-limit=0", command="predict").status == 2


def test_what_cannot_be_explained_is_refused_with_words(run, pictures, tmp_path, capsys):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    for arguments, out, message in (
        (("--restore=nowhere", "--images=x"), "out", "nowhere: no such folder"),
        (("--restore=pretrained:busi-demo", "--images=x"), "out", "an encoder has no classes and no decoder"),
        ((f"--restore={run}", f"--images={pictures}/bad.png"), "out", "none of its 1 pictures can be used"),
        ((f"--restore={run}", f"--images={pictures}"), "full", "has files and was not changed"),
        ((f"--restore={run}", "--images=x", "--limit=0"), "out", "--limit=0"),
        ((f"--restore={run}", "--image=x"), "out", "unknown flag"),
    ):
        outcome = command(capsys, *arguments, f"--out={tmp_path}/{out}", command="explain")
        assert outcome.status == 2, arguments
        assert message in outcome.errors
    assert [path.name for path in full.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_pages_and_scores_of_a_folder(pictures, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "out"
    write_run(config(run), run)
    arguments = (f"--restore={run}", f"--images={pictures}", f"--out={out}")
    outcome = command(capsys, *arguments, command="explain")
    assert outcome.status == 0, outcome.errors
    assert "train it with --reconstruction-weight=0.1" in outcome.output
    assert "Means over the pictures" in outcome.output
    scores = rows(out / "scores.csv")
    pages = sorted(path.name for path in out.glob("*.html"))
    assert sorted({row["page"] for row in scores}) == pages == ["00000-b-0.html", "00001-b-1.html"]
    # Three classes, six maps.
    assert len(scores) == 2 * 3 * 6
    assert rows(out / "unreadable.csv")[0]["name"] == "bad.png"
    page = (out / pages[0]).read_text()
    assert "No sliders" in page
    assert str(tmp_path) not in page
    assert re.search(r"&lt;b&gt;0\.png", page)


@pytest.mark.slow
def test_a_pre_training_has_sliders_of_its_latent_capsules(tmp_path, pictures, capsys):
    trained = command(capsys, "--stage=ssl", "--preset=tiny", "--extra-convs=3", "--epochs=1", f"--out={tmp_path}/ssl")
    assert trained.status == 0, trained.errors
    given = f"--images={pictures}/<b>0.png"
    outcome = command(capsys, f"--restore={tmp_path}/ssl", given, f"--out={tmp_path}/out", command="explain")
    assert outcome.status == 0, outcome.errors
    page = next((tmp_path / "out").glob("*.html")).read_text()
    assert str(pictures) not in page
    assert page.count('class="frames"') == 3
    assert "polyline" not in Tags(page).tags
    assert rows(tmp_path / "out" / "scores.csv") == []
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "ssl" / "metrics.json").unlink()
    outcome = command(capsys, f"--restore={tmp_path}/ssl", given, f"--out={tmp_path}/out", command="explain")
    assert outcome.status == 2
    assert "has not finished" in outcome.errors
