"""What Weights & Biases and trackio share: trackio has the interface of W&B."""

import json
import math
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxcaps.training.loggers.base import LoggedRun, Logger
from jaxcaps.training.writers import Row, replace_text


class Tracker(Logger):
    """A log kept by an experiment tracker.

    The run folder remembers the tracker's identifier of the run and the last step sent (`wandb.json`, `trackio.json`).
    A resumed run computes the same rows again, so that those sent before are not sent twice.

    Args:
        module: the tracker's package.
        run: the run.
        start: (identifier) -> the tracker's run.
        finish: (failed) -> ends it.
    """

    def __init__(self, module: Any, run: LoggedRun, start: Callable[[str], Any], finish: Callable[[Any, bool], None]):
        self.module, self.finish = module, finish
        self.memory = run.folder / f"{module.__name__}.json"
        known = json.loads(self.memory.read_text(encoding="utf-8")) if self.memory.is_file() else {}
        self.identifier, self.sent = known.get("id", secrets.token_hex(4)), known.get("step", -1)
        self.run = start(self.identifier)
        self._remember()
        for row in run.rows:
            self.row(row)

    def row(self, row: Row) -> None:
        step = int(row["step"])
        if step > self.sent:
            self.run.log({name: value for name, value in row.items() if name != "step" and math.isfinite(value)}, step)
            self.sent = step
            self._remember()

    def _remember(self) -> None:
        replace_text(self.memory, json.dumps({"id": self.identifier, "step": self.sent}) + "\n")

    def picture(self, name: str, step: int, file: Path) -> None:
        # W&B drops what comes with an earlier step than the last.
        self.run.log({name: self.module.Image(str(file))}, max(step, self.sent))

    def close(self, *, failed: bool) -> None:
        self.finish(self.run, failed)
