"""Mistyped flags are refused, and every flag of the help is known."""

import re

import pytest

from data_prep.__main__ import parse
from data_prep.config import Preparation
from data_prep.errors import UserError
from data_prep.flags import check_names, flag_names


@pytest.mark.parametrize(
    ("flag", "nearest"), [("--peprset=x", "--preset"), ("--split_sede=1", "--split-seed"), ("--no-clhae", "--no-clahe")]
)
def test_a_mistyped_flag_gets_the_nearest(flag, nearest):
    with pytest.raises(UserError, match=f"unknown flag; did you mean '{nearest}'"):
        parse([flag])


def test_the_flags_of_the_help_are_the_known_ones(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        parse(["--help"])
    # The sources in the head of the help have a value after =.
    options = re.findall(r"^\W{1,3}((?:-h, )?--[\w-]+(?:, --[\w-]+)*)(?!=)\b", capsys.readouterr().out, re.MULTILINE)
    shown = {name for line in options for name in re.findall(r"--([\w-]+)", line)}
    assert shown == {*flag_names(Preparation), "help"}


def test_values_and_underscores_are_not_flags_to_refuse():
    check_names(["--split_seed", "-3", "--no_clahe", "--source=csv:--odd.csv"], Preparation)
