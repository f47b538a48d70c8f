"""The documentation: its Python code runs, its links exist, and it names the package's version."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import jaxcaps
from tests.test_how_to import MODULE

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TEXTS = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8")
    for page in sorted(
        [
            *DOCS.rglob("*.md"),
            *ROOT.glob("*.md"),
            *ROOT.glob(".github/**/*.md"),
            ROOT / "runs/README.md",
            *ROOT.glob("jaxcaps/pretrained/*.md"),
        ]
    )
}
# test_how_to.py runs the modules of the how-to pages.
BLOCKS = {name: re.findall(r"```python\n(.*?)```", MODULE.sub("", text), re.DOTALL) for name, text in TEXTS.items()}


@pytest.mark.parametrize("page", [name for name, blocks in BLOCKS.items() if blocks])
@pytest.mark.slow
def test_the_python_blocks_of_a_page_run(page):
    """Runs the blocks of a page in order, as a reader would."""
    names: dict[str, object] = {}
    for block in BLOCKS[page]:
        exec(block, names)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of headings: lower case, hyphens for spaces, no punctuation."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_what_a_page_links_to_exists(page):
    missing = []
    prose = re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL)
    for file, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose):
        target = (ROOT / page).parent / file if file else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(f"{file}#{anchor}")
    assert not missing


def test_the_pages_that_the_code_names_exist():
    """Help texts and error messages mention these paths."""
    missing = [
        f"{file.relative_to(ROOT)}: {path}"
        for package in ("jaxcaps", "data_prep")
        for file in sorted((ROOT / package).rglob("*.py"))
        for path in re.findall(r"\bdocs/[\w/.-]*\w", file.read_text(encoding="utf-8"))
        if not (ROOT / path).exists()
    ]
    assert missing == []


@pytest.mark.parametrize("page", [name for name in TEXTS if name.startswith("docs/")])
def test_every_page_is_within_two_clicks_of_the_index(page):
    def linked(name):
        links = re.findall(r"\]\((?!https?:)([^)#]+)", TEXTS[name])
        files = {((ROOT / name).parent / link).resolve() for link in links}
        return {str(file.relative_to(ROOT)) for file in files if file.suffix == ".md" and file.is_relative_to(ROOT)}

    direct = linked("docs/index.md")
    assert page == "docs/index.md" or page in direct.union(*(linked(name) for name in direct if name in TEXTS))


def test_there_is_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == jaxcaps.__version__
    released = re.search(r"^## \[(\d\S*)\] - (\S+)$", TEXTS["CHANGELOG.md"], re.MULTILINE)
    assert released
    assert released.groups() == (jaxcaps.__version__, str(citation["date-released"]))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "jaxcaps.__version__"}
