"""Marks for parametrised tests."""

from typing import Any

import pytest


def slow(*cases: Any) -> list[Any]:
    """Returns cases that only the slow tests run: `[*default, *slow(*others)]`."""
    return [pytest.param(*(case if type(case) is tuple else (case,)), marks=pytest.mark.slow) for case in cases]
