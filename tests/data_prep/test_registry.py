"""Tables of extensions: their own modules, and those of other packages."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from data_prep import registry
from data_prep.errors import UserError
from data_prep.registry import Registry


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table with one extension of its own, `plain`, and the entry points that a test names."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "plain.py").write_text("TOY = 'plain'")
    (tmp_path / "bought.py").write_text("TOY = 'bought'\nOTHER = 'other'")
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    monkeypatch.syspath_prepend(tmp_path)

    def make(**points):
        found = EntryPoints(EntryPoint(name, value, "shop") for name, value in points.items())
        elsewhere = EntryPoint("far", "bought", "shop.toys")
        monkeypatch.setattr(registry, "installed", lambda: EntryPoints((*found, elsewhere)))
        return Registry("shop", "TOY", what="toy")

    return make


def test_other_packages_add_modules_or_objects(table):
    toys = table(my_toy="bought", third="bought:OTHER")
    assert list(toys) == ["my-toy", "plain", "third"]
    assert dict(toys) == {"my-toy": "bought", "plain": "plain", "third": "other"}
    with pytest.raises(KeyError):
        toys["far"]
    with pytest.raises(UserError, match="--toy=my-tyo: unknown toy; did you mean 'my-toy'"):
        toys.find("my-tyo", "--toy")


def test_listing_imports_nothing(table):
    toys = table(broken="broken", typo="bought:TOI", missing="nowhere")
    assert len(toys) == 4
    for name, reason in (("broken", "nothing_of_this_name"), ("typo", "no attribute 'TOI'"), ("missing", "nowhere")):
        with pytest.raises(UserError, match=rf"shop has an extension '{name}' of the package .*{reason}"):
            toys[name]


def test_two_packages_cannot_share_a_name(table):
    with pytest.raises(UserError, match="shop and bought both define 'plain' in shop; rename"):
        list(table(plain="bought"))
