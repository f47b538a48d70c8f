"""Shared behaviour of the commands: flags, logging and exit statuses."""

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import TextIO, TypeVar

import tyro

from data_prep.bounds import check_bounds
from data_prep.flags import check_names
from jaxcaps.errors import UserError

F = TypeVar("F")


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stdout`, which a progress bar replaces to keep log lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Ends the command if nobody reads its output any more, as `train | head` does."""
        error = sys.exc_info()[1]
        if isinstance(error, BrokenPipeError):
            raise error
        super().handleError(record)


def read_flags(cls: type[F], command: str, description: str) -> F:
    """Reads the flags of `python -m jaxcaps.COMMAND`.

    Raises:
        UserError: there is no such flag, or a value is out of its bounds.
        SystemExit: `--help`, or a value that tyro refuses (status 2).
    """
    check_names(sys.argv[1:], cls)
    flags = tyro.cli(cls, prog=f"python -m jaxcaps.{command}", description=description)
    check_bounds(flags)
    return flags


def log_to_console() -> None:
    """Prints what jaxcaps reports, such as the progress of a training, as its commands do."""
    log = logging.getLogger("jaxcaps")
    if not any(isinstance(handler, _StandardOutput) for handler in log.handlers):
        output = _StandardOutput()
        output.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(output)
    log.setLevel(logging.INFO)
    # A handler that another library adds to the root logger would print every line twice.
    log.propagate = False


def run_command(main: Callable[[], None], *, resumes: bool = False) -> None:
    """Runs a command. User errors and files that cannot be accessed give one message on standard error and exit
    status 2. A command whose output is no longer read (`train | head`) ends in silence, as other programs do; a run
    goes on when its command is repeated.

    Args:
        main: the command.
        resumes: whether the command goes on where it stopped when it is repeated.
    """
    log_to_console()
    _end_by_exception()
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # Python flushes standard output once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        # A folder that cannot be created or a full disk is not a bug.
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        print(f"error: {error.filename or 'writing'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"interrupted{'; repeat the command to go on where it stopped' if resumes else ''}", file=sys.stderr)
        sys.exit(130)


def _end_by_exception() -> None:
    """Ends by an exception when told to stop: temporary files go, a study ends its cells, and a cell writes down its
    seconds."""

    def stop(number: int, frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        # `nohup` has it ignored.
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)
