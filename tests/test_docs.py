"""The documentation: its Python code runs, its notebooks are current, and it names the package's version.

`make docs` checks the links between the pages of the site; this module those of the pages that are not on it.
"""

import json
import re
import tomllib
from pathlib import Path

import jax
import jupytext
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
            *ROOT.glob("jaxcaps/pretrained/*.md"),
            ROOT / "runs/README.md",
        ]
    )
}
# test_how_to.py runs the modules of the how-to pages. These pages need a run, and tests of their own run them.
WITH_A_RUN = ("docs/tutorial.md", "docs/how-to/explain.md")
BLOCKS = {
    name: re.findall(r"```python\n(.*?)```", MODULE.sub("", text), re.DOTALL)
    for name, text in TEXTS.items()
    if name not in WITH_A_RUN
}
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.md"))


@pytest.mark.parametrize("page", [name for name, blocks in BLOCKS.items() if blocks])
@pytest.mark.slow
def test_the_python_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    """Runs the blocks of a page in order, as a reader would, with JAX's default promotion."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for block in BLOCKS[page]:
            exec(block, names)


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.stem)
def test_a_notebook_has_the_cells_of_its_page(page):
    """`make notebooks` makes it anew. Its code is tested as that of its page."""
    notebook = json.loads(page.with_suffix(".ipynb").read_text(encoding="utf-8"))
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    assert cells == [(cell.cell_type, cell.source) for cell in jupytext.read(page).cells]
    assert not any(cell.get("outputs") for cell in notebook["cells"])


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of headings: lower case, hyphens for spaces, no punctuation."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [name for name in TEXTS if not name.startswith("docs/")])
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


def test_there_is_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == jaxcaps.__version__
    released = re.search(r"^## \[(\d\S*)\] - (\S+)$", TEXTS["CHANGELOG.md"], re.MULTILINE)
    assert released
    assert released.groups() == (jaxcaps.__version__, str(citation["date-released"]))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "jaxcaps.__version__"}
