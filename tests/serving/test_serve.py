"""`python -m jaxcaps.serve` as a visitor meets it, in a headless Chromium, and what it refuses."""

import importlib.machinery
import importlib.util
import re
import signal
import socket
import subprocess
import sys
import types
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

import jaxcaps
from jaxcaps.data.decoding import BadImage
from jaxcaps.errors import UserError
from jaxcaps.serving.answers import answer
from tests.browser import browser  # noqa: F401
from tests.command import run as command
from tests.explaining.conftest import config
from tests.inference.build import write_run

HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with a decoder."""
    folder = tmp_path_factory.mktemp("serve") / "run"
    write_run(config(folder, "--reconstruction-weight=0.1"), folder)
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    file = tmp_path_factory.mktemp("pictures") / HOSTILE
    cv2.imwrite(str(file), np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    return file


@pytest.fixture(scope="module")
def url(run):
    """The address of the page, from the words of the command."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Ctrl-C has to end it, also where these tests run in the background of a shell, which has that ignored.
    program = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "runpy.run_module('jaxcaps.serve', run_name='__main__', alter_sys=True)"
    call = [sys.executable, "-c", program, f"--restore={run}", f"--port={port}", "--most-megabytes=1"]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+", said)
            assert found, said
            yield found[0]
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0
        finally:
            server.kill()


@pytest.fixture
def visit(browser, url):  # noqa: F811
    """Opens the page; at the end, it must not have loaded anything from elsewhere, nor have met an error."""
    odd, contexts = [], []

    def opened(width=1280):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: odd.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: odd.append(str(error)))
        page.on("dialog", lambda dialog: (odd.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: odd.append(request.url) if not own(request.url) else None)
        page.goto(url)
        return page

    def own(address):
        return address.startswith((url, url.replace("http", "ws"), "data:", "blob:"))

    yield opened
    for context in contexts:
        context.close()
    assert odd == []


def shown(page, label, *, after=None):
    """The address of a shown picture, which its contents make, as soon as it is another one than `after`."""
    image = page.locator(".block", has_text=label).locator("img").last
    image.wait_for()
    page.wait_for_function("([image, old]) => image.src !== old", arg=[image.element_handle(), after])
    return image.get_attribute("src")


def replace_file(page, file):
    page.get_by_label("Clear").or_(page.get_by_label("Remove this file")).first.click()
    page.set_input_files("input[type=file]", file)


SEEN, MAP, MADE = "As the network sees it", "The map over the picture", "What the decoder makes of the capsule"


@pytest.mark.slow
def test_a_dropped_picture_is_classified_as_predict_does(visit, run, picture):
    page = visit()
    page.set_input_files("input[type=file]", picture)
    shown(page, SEEN)
    model = jaxcaps.load(run)
    expected = dict(zip(model.classes_, model.predict_proba(str(picture))[0], strict=True))
    assert page.get_by_test_id("label-output-value").inner_text().strip() == max(expected, key=expected.get)
    for name, probability in expected.items():
        assert page.get_by_text(f"{probability:.0%}").count(), name
    score = model.unfamiliarity(str(picture))[0]
    assert page.get_by_text(f"(score {score:.2f}").count() == 1
    assert page.get_by_text("Not a medical device").count() == 1
    # A class, its map, and its capsule's picture follow.
    assert page.get_by_label("Why this class?").input_value() == max(expected, key=expected.get)
    shown(page, MAP)
    shown(page, MADE)


@pytest.mark.slow
def test_maps_and_sliders_change_the_pictures(visit, picture):
    page = visit()
    page.set_input_files("input[type=file]", picture)
    first, made = shown(page, MAP), shown(page, MADE)
    page.get_by_label("votes").check()
    second = shown(page, MAP, after=first)
    assert page.get_by_text("What the coupled votes add").count() == 1
    slider = page.get_by_label("range slider for dimension 1", exact=True)
    slider.focus()
    slider.press("End")
    slider.press("Tab")
    slider.dispatch_event("pointerup")
    moved = shown(page, MADE, after=made)
    page.get_by_role("button", name="Back to 0").click()
    assert shown(page, MADE, after=moved) == made
    assert slider.input_value() == "0"
    page.get_by_label("Why this class?").click()
    page.get_by_role("option").last.click()
    shown(page, MAP, after=second)
    shown(page, MADE, after=made)


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits(visit, picture, width):
    page = visit(width)
    page.set_input_files("input[type=file]", picture)
    shown(page, MADE)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_what_cannot_be_read_is_said_and_the_next_picture_works(visit, tmp_path, picture):
    (tmp_path / "broken.png").write_text("no picture")
    page = visit()
    page.set_input_files("input[type=file]", picture)
    shown(page, MADE)
    replace_file(page, tmp_path / "broken.png")
    page.get_by_text("Not classified: it is not an image, or it is damaged.").wait_for()
    # Nothing of the picture before stays.
    for label in (SEEN, MAP, MADE):
        page.locator(".block", has_text=label).locator("img").last.wait_for(state="detached")
    assert page.get_by_label("Why this class?").input_value() == ""
    replace_file(page, picture)
    shown(page, SEEN)
    shown(page, MADE)


@pytest.mark.slow
def test_only_this_machine_reaches_the_page_and_only_the_page(url):
    port = int(url.rpartition(":")[2])
    listening = [line.split()[1:4] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = [local for local, _, state in listening if local.endswith(f":{port:04X}") and state == "0A"]
    assert addresses == [f"0100007F:{port:04X}"]
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{url}/gradio_api/file=/etc/passwd")


@pytest.mark.slow
def test_a_taken_port_is_named(run, url):
    port = url.rpartition(":")[2]
    call = [sys.executable, "-m", "jaxcaps.serve", f"--restore={run}", f"--port={port}"]
    outcome = subprocess.run(call, capture_output=True, text=True)
    assert outcome.returncode == 2
    assert f"--host=127.0.0.1 --port={port}: cannot listen there; the port is taken or not allowed" in outcome.stderr


def test_a_file_that_cannot_be_opened_says_nothing_of_the_server(tmp_path, caplog):
    def source(images):
        raise UserError(f"--images={images}: no DICOM picture found among 1 files; give a folder of DICOM files")

    with pytest.raises(BadImage) as error:
        answer(types.SimpleNamespace(source=source), tmp_path / "x.dcm")
    assert str(error.value) == "it is not a picture that this page can open"
    assert f"--images=dicom:{tmp_path}: no DICOM picture found" in caplog.text


def test_a_picture_that_cannot_be_read_takes_the_place_of_the_one_before(monkeypatch):
    pytest.importorskip("gradio", reason="pip install '.[serve]'")
    from jaxcaps.serving import page

    def refuse(model, file):
        raise BadImage("it is damaged")

    monkeypatch.setattr(page, "answer", refuse)
    found = page.Page.classify(types.SimpleNamespace(model=None), "x.png")
    assert found == (None, None, "**Not classified:** it is damaged.", None, None)


@pytest.mark.parametrize("restore", ["RUN", "mine.jaxcaps"])
def test_the_page_has_the_name_of_the_run(restore, monkeypatch):
    pytest.importorskip("gradio", reason="pip install '.[serve]'")
    from jaxcaps.serving import page, server

    class Named(Exception):
        pass

    def stop(model, name):
        raise Named(name)

    model = types.SimpleNamespace(origin=types.SimpleNamespace(title="run"))
    monkeypatch.setattr(server, "load_classifier", lambda restore, batch_size: model)
    monkeypatch.setattr(page, "Page", stop)
    with pytest.raises(Named, match=r"^run$"):
        server.serve(Path(restore), "127.0.0.1", 7860, 1)


def test_without_gradio_the_command_says_how_to_get_it(capsys, monkeypatch):
    # A folder of that name is found like a package, but has no origin.
    for found in (None, importlib.machinery.ModuleSpec("gradio", None)):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, found=found: found)
        outcome = command(capsys, "--restore=runs/mine", command="serve")
        assert outcome.status == 2
        assert "pip install 'jaxcaps[serve]'" in outcome.errors


def test_a_folder_that_is_not_a_run_is_named(capsys, tmp_path):
    outcome = command(capsys, f"--restore={tmp_path}", command="serve")
    assert outcome.status == 2
    assert f"{tmp_path} is not a run folder" in outcome.errors
