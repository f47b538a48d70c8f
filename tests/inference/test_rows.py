"""A table that survives an interruption."""

from pathlib import Path

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


def test_a_command_that_was_stopped_between_its_two_tables_goes_on(tmp_path, monkeypatch):
    out = tmp_path / "table.csv"
    with Rows(out, SETTINGS) as rows:
        rows.add([("a.png", ["x"]), ("b.png", "it is damaged")])
        with monkeypatch.context() as patch:
            patch.setattr("data_prep.atomic.os.replace", _stop_at(out))
            with pytest.raises(KeyboardInterrupt):
                rows.finish(("predicted",))
    assert rows.unreadable.exists()
    with Rows(out, SETTINGS) as rows:
        rows.finish(("predicted",))
    assert out.read_text() == "name,predicted\na.png,x\n"
    assert rows.unreadable.read_text() == "name,reason\nb.png,it is damaged\n"


def _stop_at(target):
    def replace(partial, to):
        if to == target:
            raise KeyboardInterrupt
        Path(partial).rename(to)

    return replace


def test_two_commands_do_not_write_one_table(tmp_path):
    out = tmp_path / "table.csv"
    with Rows(out, SETTINGS) as rows:
        with pytest.raises(UserError, match=r"--out=.*table\.csv: another command is writing this table"):
            Rows(out, SETTINGS)
        rows.add([("a.png", ["x"])])
    with Rows(out, SETTINGS) as rows:
        assert rows.done == ["a.png"]
        rows.finish(("predicted",))
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("line", ['["b.png", ["x', "3", "{}", "[]"])
def test_a_damaged_line_is_told(tmp_path, line):
    out = tmp_path / "table.csv"
    with Rows(out, SETTINGS) as rows:
        rows.add([("a.png", ["x"])])
    with rows.partial.open("a", encoding="utf-8") as file:
        file.write(f'{line}\n["c.png", ["x"]]\n')
    with pytest.raises(UserError, match=r"table\.csv\.partial is damaged; remove it"):
        Rows(out, SETTINGS)
