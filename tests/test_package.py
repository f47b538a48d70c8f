"""The public names of the package: found by tab completion and by type checkers, and imported at first use."""

import subprocess
import sys

import pytest

import jaxcaps


def test_public_names_are_listed_and_exist():
    assert {"functional", "nnx", "linen", "DenseCaps", "load", "UserError"} <= set(dir(jaxcaps))
    for name in dir(jaxcaps):
        assert getattr(jaxcaps, name) is not None


def test_importing_the_package_imports_no_jax():
    command = "import jaxcaps, sys; assert 'jax' not in sys.modules; assert 'scipy' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)


@pytest.mark.slow
def test_type_checkers_know_the_public_names(tmp_path):
    file = tmp_path / "user.py"
    file.write_text(
        "import jaxcaps\nreveal_type(jaxcaps.DenseCaps)\nreveal_type(jaxcaps.nnx.ConvCaps)\njaxcaps.Densecaps\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file=pyproject.toml", str(file)]
    shown = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    assert "-> jaxcaps.nnx.DenseCaps" in shown[0]
    assert "-> jaxcaps.nnx.ConvCaps" in shown[1]
    assert 'Module has no attribute "Densecaps"' in shown[2]
