"""Weights & Biases. WANDB_PROJECT, WANDB_MODE=offline and its other environment variables apply."""

import os
from typing import Any

from jaxcaps.training.loggers.base import LoggedRun, Logger, LoggerKind
from jaxcaps.training.loggers.tracker import Tracker


def _open(run: LoggedRun) -> Logger:
    import wandb

    def start(identifier: str) -> Any:
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT", "jaxcaps"),
            name=run.folder.name,
            id=identifier,
            resume="allow",
            dir=run.folder,
            config=dict(run.config),
        )

    return Tracker(wandb, run, start, lambda started, failed: started.finish(exit_code=int(failed)))


LOGGER = LoggerKind("wandb", _open)
