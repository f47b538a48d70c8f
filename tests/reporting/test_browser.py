"""The page in a headless Chromium: nothing on the console, no request, controls that work, two widths."""

import pytest

from jaxcaps.reporting.comparison import compare
from jaxcaps.reporting.page import render
from jaxcaps.reporting.results import read_results
from tests.browser import browser, open_quietly  # noqa: F401
from tests.reporting import build

pytestmark = pytest.mark.slow

# The place of the first point of the map on the screen, as Bokeh has drawn it.
POINT = """() => {
  const isPoints = each => each.name === "points";
  const plot = Bokeh.documents.flatMap(each => each.roots()).find(each => each.renderers.some(isPoints));
  const glyph = Bokeh.index.find_one(plot.renderers.find(isPoints)).glyph;
  const box = Bokeh.index.find_one(plot).canvas_view.el.getBoundingClientRect();
  return [box.x + glyph.sx[0], box.y + glyph.sy[0]];
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of a classifier with hostile names beside another run, and of a pre-training run."""
    root = tmp_path_factory.mktemp("runs")
    names = tuple(f"{n}{build.HOSTILE[n % 3]}" for n in range(build.COUNT))
    folders = [
        build.classifier(root / name, classes=build.HOSTILE, names=names, seed=seed)
        for name, seed in (("mine", 0), ("other", 5))
    ]
    comparisons = compare(read_results(folders[0]), [read_results(folders[1])])
    groups = build.labels() // 2
    classifier = render(build.inputs(folders[0], names=names, comparisons=comparisons, groups=groups))
    (root / "classifier.html").write_text(classifier)
    (root / "ssl.html").write_text(render(build.inputs(build.pretraining(root / "ssl", ["a warning"]), made=False)))
    return root


@pytest.fixture
def opened(browser, pages):  # noqa: F811
    with open_quietly(browser) as open_page:
        yield lambda name, **options: open_page(pages / f"{name}.html", **options)


@pytest.mark.parametrize("name", ["classifier", "ssl"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_is_drawn(opened, name, scheme, width):
    page = opened(name, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # Every chart that is not folded away has a canvas, and no picture stands in for one.
    charts = page.locator(".live:visible")
    assert charts.count() >= 4
    for number in range(charts.count()):
        assert charts.nth(number).locator("canvas").count() >= 1
    assert page.locator(".still:visible").count() == 0
    assert len(page.screenshot(full_page=True)) > 20_000
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_a_table_is_sorted_by_a_click_on_its_head(opened):
    page = opened("classifier")
    heads = page.locator("#scores .sortable button")
    heads.get_by_text("recall", exact=True).click()

    def recalls():
        cells = page.locator("#scores .sortable tbody tr td:nth-child(3)").all()
        return [float(cell.get_attribute("data-key")) for cell in cells]

    rising = recalls()
    assert rising == sorted(rising)
    heads.get_by_text("recall", exact=True).click()
    assert recalls() == rising[::-1]
    assert page.locator("#scores th[aria-sort=descending]").count() == 1


def test_a_thumbnail_appears_over_a_point(opened):
    page = opened("classifier", viewport={"width": 1280, "height": 900})
    page.locator("#chart-embedding").scroll_into_view_if_needed()
    page.mouse.move(*page.evaluate(POINT), steps=3)
    tooltip = page.locator(".bk-tooltip-content:visible")
    tooltip.wait_for()
    # The file name and the class as text, not as markup.
    assert any(text in tooltip.inner_text() for text in build.HOSTILE)
    picture = tooltip.locator("[style*='--sprite']")
    assert "data:image/webp" in picture.evaluate("node => getComputedStyle(node).backgroundImage")


def test_a_tap_shows_the_picture_below_the_map(opened):
    page = opened("classifier", viewport={"width": 390, "height": 900}, has_touch=True, is_mobile=True)
    page.locator("#chart-embedding").scroll_into_view_if_needed()
    page.touchscreen.tap(*page.evaluate(POINT))
    page.locator("#seen").wait_for()
    assert any(text in page.locator("#seen").inner_text() for text in build.HOSTILE)


def test_a_click_on_the_legend_hides_a_curve(opened):
    page = opened("classifier", viewport={"width": 1280, "height": 900})
    page.locator("#chart-roc").scroll_into_view_if_needed()
    hidden = """() => Bokeh.documents.flatMap(each => each.roots()).flatMap(each => each.renderers)
      .filter(each => !each.visible).length"""
    assert page.evaluate(hidden) == 0
    x, y = page.evaluate("""() => {
      const roots = Bokeh.documents.flatMap(each => each.roots());
      const plot = roots.find(each => each.below.some(one => one.items?.length === 3));
      const legend = Bokeh.index.find_one(plot.below.find(one => one.items));
      const box = legend.el.getBoundingClientRect();
      return [box.x + 20, box.y + 10];
    }""")
    page.mouse.click(x, y)
    page.wait_for_timeout(300)
    assert page.evaluate(hidden) >= 1


def test_pictures_are_recoloured(opened):
    page = opened("classifier")
    fills = """() => Bokeh.documents.flatMap(each => each.roots()).flatMap(each => each.renderers)
      .filter(each => each.name === "points").map(each => JSON.stringify(each.glyph.fill_color))"""
    before = page.evaluate(fills)
    page.locator("#colour").select_option("by_group")
    assert before != page.evaluate(fills)
    assert all("by_group" in each for each in page.evaluate(fills))


@pytest.mark.parametrize("how", ["print", "no scripts"])
def test_pictures_stand_in_on_paper_and_without_scripts(opened, how):
    page = opened("classifier", java_script_enabled=how == "print", color_scheme="dark")
    if how == "print":
        page.emulate_media(media="print")
        assert len(page.pdf()) > 50_000
        color = page.evaluate("getComputedStyle(document.body).color")
        assert color == "rgb(27, 27, 27)"
    assert page.locator(".live:visible").count() == page.locator(".drawings:visible").count() == 0
    assert page.locator(".control:visible").count() == 0
    assert page.locator("#training .still:visible").count() == 1
    assert page.locator("#thresholds .still:visible").count() == 3
