"""Runs commands in this process."""

import logging
import sys
from typing import NamedTuple

import pytest

import jaxcaps.convert
import jaxcaps.evaluate
import jaxcaps.explain
import jaxcaps.export
import jaxcaps.predict
import jaxcaps.report
import jaxcaps.runs
import jaxcaps.serve
import jaxcaps.study
import jaxcaps.train
from jaxcaps.commands import run_command


class Outcome(NamedTuple):
    status: int
    output: str
    errors: str


def run(capsys: pytest.CaptureFixture[str], *arguments: str, command: str = "train") -> Outcome:
    """Returns exit status, standard output and standard error of `python -m jaxcaps.<command> <arguments>`.

    `train` makes no report, which would take as long as a short run.
    """
    module = getattr(jaxcaps, command)
    log, argv = logging.getLogger("jaxcaps"), sys.argv
    handlers = list(log.handlers)
    sys.argv = [command, *arguments, *(["--no-report"] if command == "train" else [])]
    try:
        run_command(module.main)
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    finally:
        sys.argv = argv
        log.handlers[:] = handlers
    captured = capsys.readouterr()
    return Outcome(status, captured.out, captured.err)
