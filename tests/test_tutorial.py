"""Every command and every block of Python of the tutorial runs, in its order, at tiny settings."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from data_prep.synthetic import describe, draw
from tests.command import run

ROOT = Path(__file__).parent.parent
TUTORIAL = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
# Language and contents; those that name no language hold commands.
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TUTORIAL, re.DOTALL | re.MULTILINE)
# What takes long for a reader, and the same made small. A flag that a command has is replaced.
TINY = {"--preset": "tiny", "--folds": "0", "--seeds": "0", "--jobs": "1"}
COUNT = 60


def commands(block):
    """The commands of a block, with those that `make demo` runs in its place."""
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe
    for line in block.splitlines():
        if line == "make demo":
            yield from re.findall(r"(python -m .*)", recipe[1])
        elif line != "source .venv/bin/activate":
            yield line


def at_tiny_settings(command):
    """The module and the arguments of `python -m MODULE ...`."""
    python, option, module, *arguments = shlex.split(command)
    assert (python, option) == ("python", "-m"), command
    small = []
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        small.append(f"{name}={TINY[name]}" if equals and name in TINY else argument)
    if module == "jaxcaps.train":
        small.append("--epochs=1")
    if module in ("jaxcaps.train", "jaxcaps.study") and "--restore" not in command:
        small.append("--extra-convs=3")  # the fewest compile the soonest
        if "--preset" not in command:
            small.append("--preset=tiny")
    return module, small


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A folder to work in, with pictures and a table in `DIR`, as the tutorial has them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "DIR/images").mkdir(parents=True)
    lines = ["path,label,group"]
    for number, drawn in enumerate(describe(COUNT, 0)):
        Image.fromarray(draw(number, count=COUNT, seed=0, size=32).image).save(f"DIR/images/{number}.png")
        lines.append(f"images/{number}.png,{drawn.label},{number}")
    (tmp_path / "DIR/labels.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_a_reader_can_follow_the_tutorial(capsys):
    names: dict[str, object] = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(block, names)
        for command in commands(block) if not language else ():
            module, arguments = at_tiny_settings(command)
            if module == "jaxcaps.study":  # starts processes, which need the package
                environment = os.environ | {"PYTHONPATH": str(ROOT)}
                subprocess.run([sys.executable, "-m", module, *arguments], check=True, env=environment)
            else:
                outcome = run(capsys, *arguments, command=module.removeprefix("jaxcaps."))
                assert outcome.status == 0, f"{command}: {outcome.errors}"

    assert names["model"].classes_.tolist() == sorted({str(each.label) for each in describe(COUNT, 0)})
    assert Path("predictions.csv").read_text().count("\n") == 1 + 9
    # The files that the text tells the reader to look at. These runs were made without their report.
    named = set(re.findall(r"`(runs/[\w/.-]+)`", TUTORIAL)) - {"runs/demo-finetune/report.html"}
    assert named
    assert {name for name in named if not Path(name).exists()} == set()
