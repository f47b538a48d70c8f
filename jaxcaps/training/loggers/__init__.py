"""Where a run's metrics go besides its folder, a table: one file for each logger (`--log`)."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from data_prep.registry import Registry
from jaxcaps.errors import UserError
from jaxcaps.packages import is_installed
from jaxcaps.training.loggers.base import LoggedRun, Logger, LoggerKind
from jaxcaps.training.writers import Row

log = logging.getLogger("jaxcaps")

LOGGERS = Registry[LoggerKind]("jaxcaps.training.loggers", "LOGGER", what="logger")


def find_loggers(names: Sequence[str]) -> dict[str, LoggerKind]:
    """Returns the loggers that a user named.

    Raises:
        UserError: there is no such logger, or its package is not installed.
    """
    kinds = {name: LOGGERS.find(name, "--log") for name in names}
    for name, kind in kinds.items():
        if not is_installed(kind.package):
            raise UserError(f"--log={name} needs {kind.package}: pip install {kind.package}, or choose another --log")
    return kinds


class Loggers:
    """The loggers of a run. One that fails is dropped with a warning: training goes on."""

    def __init__(self, kinds: dict[str, LoggerKind], run: LoggedRun):
        """
        Raises:
            UserError: a logger cannot be opened.
        """
        self.open: dict[str, Logger] = {}
        for name, kind in kinds.items():
            try:
                self.open[name] = kind.open(run)
            # Whatever a service raises: no login, no network, no space.
            except Exception as error:
                self._each(lambda logger: logger.close(failed=True))
                raise UserError(f"--log={name}: {type(error).__name__}: {error}; drop it, or repeat later") from error

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._each(lambda logger: logger.close(failed=kind is not None))

    def row(self, row: Row) -> None:
        """Sends a row of metrics."""
        self._each(lambda logger: logger.row(row))

    def picture(self, name: str, step: int, file: Path) -> None:
        """Sends a PNG file."""
        self._each(lambda logger: logger.picture(name, step, file))

    def _each(self, action: Callable[[Logger], None]) -> None:
        for name, logger in list(self.open.items()):
            try:
                action(logger)
            # Whatever a service raises, the run's own folder has everything.
            except Exception as error:
                del self.open[name]
                log.warning("--log=%s failed and is dropped: %s: %s", name, type(error).__name__, error)
