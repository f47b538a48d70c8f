"""What all commands share."""

import signal
import subprocess
import sys

COMMAND = """
import logging
from jaxcaps.commands import run_command
run_command(lambda: [logging.getLogger("jaxcaps").info("a line of a long output") for _ in range(100_000)])
"""


def test_a_command_whose_reader_has_gone_ends_in_silence():
    """As `train | head` does."""
    process = subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"a line of a long output\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 128 + signal.SIGPIPE
