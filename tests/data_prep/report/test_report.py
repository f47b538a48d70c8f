"""The page: complete, well-formed, of one piece, and with pictures that show what they say."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from data_prep.config import Preparation
from data_prep.pipeline.prepare import prepare
from data_prep.presets import PRESETS
from data_prep.report.pictures import RED, SIDE, _shrunk
from tests.data_prep.piccolo_release import HEIGHT, WIDTH, write_release


class Page(HTMLParser):
    """Text by heading, the addresses of pictures, and a check that every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.parts, self.pictures, self.links = [], {"": ""}, [], []
        self.heading = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.pictures.append(dict(attributes)["src"])
        elif tag not in ("meta", "br"):
            self.open.append(tag)
        self.links += [value for name, value in attributes if name in ("href", "src")]
        if tag in ("h2", "h3"):
            self.heading = ""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h2", "h3"):
            self.heading += data
        self.parts[self.heading] = self.parts.get(self.heading, "") + " " + data


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    source = write_release(folder / "source")
    polyps = next(source.glob("piccolo*/piccolo*/validation/polyps"))
    void = polyps.parent / "void"
    # An almost black frame without a void mask, and a near-copy in another split with markup in its name.
    cv2.imwrite(str(polyps / "005_VP6_frame0090.png"), np.full((HEIGHT, WIDTH, 3), 2, np.uint8))
    near = cv2.imread(str(polyps.parents[1] / "train" / "polyps" / "001_VP1_frame0001.png"))
    cv2.imwrite(str(polyps / "012_VP12_frame0091_<b>.png"), cv2.add(near, 1))
    (void / "012_VP12_frame0091_<b>_Void.tif").write_bytes((void / "012_VP12_frame0014_Void.tif").read_bytes())
    config = Preparation(
        f"piccolo:{source}", str(folder / "out"), workers=1, steps=replace(PRESETS["endoscopy"], size=64)
    )
    prepare(config, lambda _: None)
    return Page((folder / "out" / "report.html").read_text())


def decoded(address):
    kind, content = address.split(",")
    assert re.fullmatch(r"data:image/(png|jpeg);base64", kind)
    image = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def test_the_page_needs_nothing_from_elsewhere(page):
    assert page.links == page.pictures
    assert all(address.startswith("data:") for address in page.links)
    assert all(decoded(address).size for address in page.pictures)


def test_the_counts_are_there(page):
    text = " ".join(page.parts["Counts"].split())
    assert "hyperplasia 2 2 1 5" in text
    assert "adenocarcinoma 2 2 2 6" in text
    assert "all 8 7 4 19" in text


def test_every_step_is_told_and_shown(page):
    done = page.parts["What was done"]
    # 19 frames: two void masks are missing or of another size, and the black frame has none and shows nothing.
    assert "nothing found: 1, picture: 2, void: 16" in done
    for words in ("Gaussian blur, sigma 1", "clip limit 2, 8x8 tiles", "filled in from around them", "64 pixels, pad"):
        assert words in done
    shown = [part for heading, part in page.parts.items() if re.match(r"piccolo.*frame\d+\.png, ", heading)]
    assert len(shown) == 6
    for part in shown:
        steps = "raw borders overlays (text, guide boxes) denoise histogram matching CLAHE specular highlights resize"
        # White light is matched to narrow band.
        expected = steps if "WL" in part else steps.replace("histogram matching ", "")
        assert " ".join(part.split()).endswith(expected)


def test_warnings_and_names_of_the_data_stand_on_the_page_as_text(tmp_path):
    for number in range(2):
        (tmp_path / "source" / f"{number}").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "source" / f"{number}" / "a.png"), np.full((8, 8, 3), 100 + number, np.uint8))
    rows = "path,label\n0/a.png,<script>alert(1)<\n1/a.png,<SCRIPT>alert(1)<\n"
    (tmp_path / "source" / "labels.csv").write_text(rows)
    config = Preparation(f"csv:{tmp_path}/source/labels.csv", f"{tmp_path}/out", split="train", workers=1)
    prepare(config, lambda _: None)
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in text.lower()
    assert "&#39;&lt;script&gt;alert(1)&lt;&#39; (1) differ only in capitals" in text
    assert text.index("differ only in capitals") < text.index("Counts")


def test_what_needs_a_look_is_shown(page):
    headings = set(page.parts)
    assert "no border found: 1" in headings
    assert "almost black: 1" in headings
    assert "odd files: 2" in headings
    assert "near-duplicates in two splits: 1" in headings
    pair = page.parts["near-duplicates in two splits: 1"]
    assert "001_VP1_frame0001.png (train)" in pair
    assert "012_VP12_frame0091_<b>.png (validation)" in pair
    assert "10x10" in page.parts["odd files: 2"]


def test_leaks_skipped_files_and_the_source_are_told(page):
    assert "lesion004 2 1 0" in " ".join(page.parts["Group leakage"].split())
    assert "it has no label" in page.parts["Skipped files"]
    assert "label conflict: lesion 007" in page.parts["About the source"]


def test_histograms_are_drawn_where_something_was_matched(page):
    assert "training frames of NBI" in page.parts["Histograms before and after matching"]
    assert sum(address.startswith("data:image/png") for address in page.pictures) == 1


def test_a_plain_set_has_a_page_without_the_steps_that_were_off(tmp_path):
    for number in range(12):
        path = tmp_path / "source" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8))
    steps = PRESETS["plain"]
    prepare(
        Preparation(f"folder:{tmp_path}/source", f"{tmp_path}/out", "plain", workers=1, steps=steps), lambda _: None
    )
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "Histograms before and after matching" not in page.parts
    assert not any("no border" in heading or "uncertain" in heading for heading in page.parts)
    assert "No group lies in more than one split." in page.parts["Group leakage"]


def test_thumbnails_are_small_and_tell_no_name():
    image = np.zeros((400, 800, 3), np.uint8)
    cv2.putText(image, "JANE DOE", (80, 200), cv2.FONT_HERSHEY_SIMPLEX, 4, (255, 255, 255), 12)
    overlay = np.zeros((400, 800), bool)
    overlay[90:220, 60:760] = True
    small = _shrunk(image, [overlay])
    assert max(small.shape) == SIDE
    inside = small[28:46, 24:170].astype(int)
    bare = _shrunk(image, [])[28:46, 24:170].astype(int)
    assert np.abs(np.diff(bare[..., 1], axis=1)).max() > 150
    assert np.abs(np.diff(inside[..., 1], axis=1)).max() < 25
    assert (small == RED).all(axis=2).any()
