"""The page in a headless Chromium: nothing on the console, no request, controls that work, two widths."""

import pytest

from jaxcaps.explaining.page import render
from tests.browser import browser, open_quietly  # noqa: F401
from tests.explaining import build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(render(build.explanation(), build.HOSTILE[1], "run", ("a note",)))
    return path


@pytest.fixture
def opened(browser, file):  # noqa: F811
    with open_quietly(browser) as open_page:
        yield lambda **options: open_page(file, **options)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits(opened, scheme, width):
    page = opened(viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_the_class_and_the_iteration_choose_the_maps(opened):
    page = opened()
    votes = page.locator("[data-kind=votes] img:visible")
    assert (page.locator(".capsule:visible").count(), votes.count()) == (1, 1)
    before = votes.get_attribute("src")
    page.locator("#iteration").press("ArrowLeft")
    assert page.locator("#entropy").inner_text().startswith("2 of 3, entropy")
    second = votes.get_attribute("src")
    page.locator("#capsule").select_option("1")
    assert len({before, second, votes.get_attribute("src")}) == 3
    assert page.locator(".capsule:visible h2").inner_text() == f"Class {build.HOSTILE[1]}"


def test_sliders_change_the_picture(opened):
    page = opened(viewport={"width": 390, "height": 900})
    figure = page.locator(".frames figure").first
    slider, frame = figure.locator("input"), figure.locator(".frame")
    middle = frame.screenshot()
    slider.press("End")
    assert figure.locator("output").inner_text() == "+0.25"
    assert slider.get_attribute("aria-valuetext") == "+0.25"
    end = frame.screenshot()
    slider.press("Home")
    assert len({middle, end, frame.screenshot()}) == 3
    page.get_by_role("button", name="Back to 0").click()
    assert slider.input_value() == "2"
    page.mouse.move(0, 0)
    assert figure.locator("output").inner_text() == "+0.00"
    assert frame.screenshot() == middle


def test_the_page_is_readable_on_paper_and_without_scripts(opened):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 27, 27)"
    assert page.locator(".controls:visible").count() == 0
    assert len(page.pdf()) > 20_000
    plain = opened(java_script_enabled=False)
    # Every class, every iteration, and all frames of a dimension beside each other.
    assert plain.locator(".capsule:visible").count() == 3
    assert plain.locator("[data-iteration]:visible").count() == 2 * 3 * 3
    box = plain.locator(".frame").first.bounding_box()
    assert round(box["width"] / box["height"]) == build.STEPS
