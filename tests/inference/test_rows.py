"""A table that survives an interruption."""

import pytest

from jaxcaps.errors import UserError
from jaxcaps.inference.rows import Rows

SETTINGS = {"run": "a"}


def test_an_interrupted_table_goes_on_and_ends_as_if_it_had_not_stopped(tmp_path):
    out = tmp_path / "new" / "table.csv"
    with Rows(out, SETTINGS) as rows:
        rows.add([("a.png", ["x, y", 0.5, None, True]), ("b.png", "it is damaged")])
    assert not out.exists()
    with rows.partial.open("a", encoding="utf-8") as file:
        file.write('["c.png", ["x')  # a kill cuts a line short
    with Rows(out, SETTINGS) as rows:
        assert rows.done == ["a.png", "b.png"]
        rows.add([("c.png", ["z", 0.25, 1.0, False])])
        assert [name for name, _ in rows] == ["a.png", "b.png", "c.png"]
        rows.finish(("predicted", "p", "activation", "ood"))
    assert out.read_text() == 'name,predicted,p,activation,ood\na.png,"x, y",0.5,,True\nc.png,z,0.25,1.0,False\n'
    assert rows.unreadable.read_text() == "name,reason\nb.png,it is damaged\n"
    assert sorted(path.name for path in out.parent.iterdir()) == ["table.csv", "table.unreadable.csv"]


def test_nothing_is_overwritten(tmp_path):
    out = tmp_path / "table.csv"
    with Rows(out, SETTINGS) as rows:
        rows.add([("a.png", ["x"])])
    with pytest.raises(UserError, match="holds the beginning of other predictions"):
        Rows(out, {"run": "b"})
    rows.partial.write_text("not a table\n")
    with pytest.raises(UserError, match="holds the beginning of other predictions"):
        Rows(out, SETTINGS)
    out.write_text("mine\n")
    with pytest.raises(UserError, match="exists and was not changed"):
        Rows(out, SETTINGS)
    assert out.read_text() == "mine\n"
    with pytest.raises(UserError, match=r"--out=.*cannot be written \(File exists\)"):
        Rows(out / "below.csv", SETTINGS)
