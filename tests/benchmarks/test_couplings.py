"""The benchmark of couplings: its votes, and the table in the documentation."""

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.couplings import AGREEING, ITERATIONS, example_votes, found, route, with_remainder
from jaxcaps.functional import ROUTINGS, coupling_entropy
from tests.marks import slow

DOCS = Path(__file__).parent.parent.parent / "docs/explanation"


@pytest.fixture(scope="module")
def votes():
    return jnp.asarray(example_votes(), jnp.float32)


def test_votes_agree_where_they_are_said_to():
    """Votes deviate from their mean by 0.3 if they agree, else by 1, within the accuracy of 40 and 16 numbers."""
    votes = example_votes()
    for members, out in AGREEING:
        assert votes[members, out].std(axis=0).mean() == pytest.approx(0.3, abs=0.1)
        assert votes[members, 2].std(axis=0).mean() == pytest.approx(1, abs=0.3)
    assert votes[20:].std(axis=(0, 1)).mean() == pytest.approx(1, abs=0.3)


def test_found_by_hand():
    couplings = np.zeros((24, 3))
    couplings[:10, 0] = 0.6
    couplings[10:20, 1] = 0.2
    couplings[20:, 2] = 1.0
    assert found(couplings) == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["dynamic", *slow(*(name for name in ROUTINGS if name != "dynamic"))])
def test_the_documented_table_matches_the_last_iteration(name, votes):
    page = (DOCS / "routing.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{name}` \| ([\d., ]+) \| ([\d., ]+) \|$", page, re.MULTILINE)
    assert row, f"docs/explanation/routing.md has no measurement of {name}"
    entropies, shares = ([float(each) for each in cell.split(", ")] for cell in row.groups())
    iterated = hasattr(ROUTINGS[name], "iterations")
    assert len(entropies) == len(shares) == (len(ITERATIONS) if iterated else 1)
    couplings = with_remainder(name, np.asarray(route(name, votes, ITERATIONS[-1] if iterated else None).couplings))
    assert couplings.sum(axis=1) == pytest.approx(np.ones(24), abs=1e-5)
    # The table is rounded to two decimals; the tolerance allows for differences between machines.
    assert float(coupling_entropy(jnp.asarray(couplings))) == pytest.approx(entropies[-1], abs=0.01)
    assert found(couplings) == pytest.approx(shares[-1], abs=0.01)


@pytest.mark.parametrize("name", ROUTINGS)
def test_every_routing_is_explained_with_its_figure(name):
    overview = (DOCS / "routing.md").read_text(encoding="utf-8")
    link = re.search(rf"^\| \[`{name}`\]\(([^)#]+)", overview, re.MULTILINE)
    assert link, f"docs/explanation/routing.md has no link to an explanation of {name}"
    assert f"../figures/couplings-{name}.png" in (DOCS / link[1]).read_text(encoding="utf-8")
