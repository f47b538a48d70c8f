"""trackio: a tracker on one's own machine. TRACKIO_SPACE_ID and its other environment variables apply."""

from typing import Any

from jaxcaps.training.loggers.base import LoggedRun, Logger, LoggerKind
from jaxcaps.training.loggers.tracker import Tracker


def _open(run: LoggedRun) -> Logger:
    import trackio

    def start(identifier: str) -> Any:
        # Its runs are known by name.
        name = f"{run.folder.name}-{identifier}"
        return trackio.init(project="jaxcaps", name=name, resume="allow", config=dict(run.config))

    return Tracker(trackio, run, start, lambda started, failed: started.finish())


LOGGER = LoggerKind("trackio", _open)
