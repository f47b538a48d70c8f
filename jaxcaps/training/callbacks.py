"""What a run calls while it trains."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from jaxcaps.data.dataset import Split
from jaxcaps.tasks import Task
from jaxcaps.training.state import Parameters
from jaxcaps.training.writers import Row


class Finished(NamedTuple):
    """A run that has written its results.

    Attributes:
        folder: its folder.
        task, modules: its task, and the network's structure.
        parameters: the parameters that it kept.
        validation: its validation split.
        classes: the class names.
        train_counts: the labelled training pictures of each class.
        made: the task's pictures of a few of them, if the end of the run made them, see `Task.pictures`.
    """

    folder: Path
    task: Task
    modules: nnx.Module
    parameters: Parameters
    validation: Split
    classes: tuple[str, ...]
    train_counts: list[int]
    made: dict[str, np.ndarray] | None = None


class Callback:
    """Methods that `train` calls, each of which does nothing here. Override those that you need.

    Only the first process of a run calls them. What they raise ends the run, which can be resumed: the row is written,
    and a checkpoint saved if one is due, before they are called.
    """

    def on_row(self, row: Row) -> None:
        """Called with each row of metrics, several times per epoch: `step`, `epoch`, `train/loss` and so on."""

    def on_evaluation(self, row: Row, network: Any) -> None:
        """Called after each evaluation, with its row of metrics and the network as a Flax NNX module."""

    def on_end(self, finished: Finished) -> None:
        """Called once, after the results are written. It is not called for a run that had finished before."""
