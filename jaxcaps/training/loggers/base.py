"""What a logger is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxcaps.training.writers import Row


class LoggedRun(NamedTuple):
    """A run that starts or goes on.

    Attributes:
        folder: its folder.
        config: its configuration as plain values.
        text: its configuration as YAML.
        rows: the rows of metrics written so far; empty unless the run is resumed.
        step: the micro-step it starts from.
    """

    folder: Path
    config: Mapping[str, Any]
    text: str
    rows: Sequence[Row]
    step: int


class Logger(ABC):
    """Receives the metrics of one run, on the first process alone."""

    @abstractmethod
    def row(self, row: Row) -> None:
        """Takes a row of metrics, with its `step`. Values may not be finite."""

    @abstractmethod
    def picture(self, name: str, step: int, file: Path) -> None:
        """Takes a picture, a PNG file."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """Ends the log. `failed`: the run was interrupted or raised an error."""


class LoggerKind(NamedTuple):
    """An entry of the table.

    Attributes:
        package: the package that it needs.
        open: starts the log of a run, or goes on with it.
    """

    package: str
    open: Callable[[LoggedRun], Logger]
