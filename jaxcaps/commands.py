"""Shared behaviour of the commands: logging and exit statuses."""

import errno
import logging
import sys
from collections.abc import Callable
from typing import TextIO

from jaxcaps.errors import UserError


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stdout`, which a progress bar replaces to keep log lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def run_command(main: Callable[[], None]) -> None:
    """Runs a command. User errors and files that cannot be accessed give one message on standard error and exit
    status 2."""
    output = _StandardOutput()
    output.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("jaxcaps")
    log.addHandler(output)
    log.setLevel(logging.INFO)
    # A handler that another library adds to the root logger would print every line twice.
    log.propagate = False
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # A folder that cannot be created or a full disk is not a bug.
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        print(f"error: {error.filename or 'writing'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; repeat the command to go on where it stopped", file=sys.stderr)
        sys.exit(130)
