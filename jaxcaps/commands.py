"""What the commands share: where their messages go, and which exit status a mistake has."""

import errno
import logging
import sys
from collections.abc import Callable
from typing import TextIO

from jaxcaps.errors import UserError


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stdout` is at the moment: a progress bar puts itself there, to keep lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def run_command(main: Callable[[], None]) -> None:
    """Runs a command; a user's mistake, or a file that cannot be had, becomes one message on standard error and exit
    status 2."""
    output = _StandardOutput()
    output.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("jaxcaps")
    log.addHandler(output)
    log.setLevel(logging.INFO)
    # A handler that some library gives the root logger would print every line twice.
    log.propagate = False
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # A folder that cannot be made or a full disk is not the program's fault.
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        print(f"error: {error.filename or 'writing'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        sys.exit(130)
