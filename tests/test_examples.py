"""The examples run and reach the stated accuracy, with JAX's default dtype promotion as for users."""

import importlib
from pathlib import Path

import jax
import pytest

EXAMPLES = sorted(path.stem for path in (Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_learns(name, capsys):
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        accuracy = importlib.import_module(f"examples.{name}").main()
    assert accuracy > 0.8  # chance is 1/3
    assert "accuracy" in capsys.readouterr().out
