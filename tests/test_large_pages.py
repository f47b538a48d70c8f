"""The restart with large pages."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from jaxcaps.large_pages import SETTING, VARIABLE

PROGRAM = f"""
import os, sys
from jaxcaps.large_pages import use_large_pages
print("begun", os.getpid())
use_large_pages()
print(os.environ.get({VARIABLE!r}), sys.argv[1:])
"""


def lines(tmp_path, variable):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[1])} | ({VARIABLE: variable} if variable else {})
    done = subprocess.run(
        [sys.executable, str(program), "--flag=a b"], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc only")
def test_the_program_restarts_once_in_its_process_with_its_arguments(tmp_path):
    first, second, last = lines(tmp_path, None)
    assert first == second
    assert first.startswith("begun ")
    assert last == f"{SETTING} ['--flag=a b']"


def test_the_users_setting_is_kept(tmp_path):
    first, last = lines(tmp_path, "glibc.malloc.check=0")
    assert first.startswith("begun ")
    assert last == "glibc.malloc.check=0 ['--flag=a b']"
