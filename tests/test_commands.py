"""What all commands share."""

import signal
import subprocess
import sys

import pytest

from jaxcaps.commands import run_command

COMMAND = """
import logging
from jaxcaps.commands import run_command
run_command(lambda: [logging.getLogger("jaxcaps").info("a line of a long output") for _ in range(100_000)])
"""
WAITING = """
import atexit, time
from jaxcaps.commands import run_command
atexit.register(print, "removed")
run_command(lambda: [print("waiting", flush=True), time.sleep(60)])
"""


def test_a_command_whose_reader_has_gone_ends_in_silence():
    """As `train | head` does."""
    process = subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"a line of a long output\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("resumes", "words"),
    [(True, "interrupted; repeat the command to go on where it stopped\n"), (False, "interrupted\n")],
)
def test_an_interrupted_command_says_whether_it_goes_on(capsys, monkeypatch, resumes, words):
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        run_command(main, resumes=resumes)
    assert (stop.value.code, capsys.readouterr().err) == (130, words)


def test_a_command_that_is_told_to_stop_removes_its_temporary_files():
    process = subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "waiting\n"
    process.terminate()
    assert process.communicate(timeout=60)[0] == "removed\n"
    assert process.returncode == 128 + signal.SIGTERM
