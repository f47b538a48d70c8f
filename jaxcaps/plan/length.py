"""How long a run is, by arithmetic."""

import math
from typing import NamedTuple

from jaxcaps.plan.config import Config


class Length(NamedTuple):
    """How long a run is.

    Attributes:
        micro_steps: calls of the train step, a multiple of `accumulate`.
        accumulate: micro-steps per update.
        updates: applied updates, `micro_steps // accumulate`.
        per_epoch: micro-steps per epoch, a fraction where an epoch ends inside a batch.
    """

    micro_steps: int
    accumulate: int
    updates: int
    per_epoch: float


def run_length(config: Config, examples: int) -> Length:
    """The length of a run over a training split of `examples` pictures; the last update is a whole one."""
    training = config.training
    accumulate = training.effective_batch // training.batch_size
    updates = max(1, math.ceil(training.epochs * examples / training.effective_batch - 1e-9))
    return Length(updates * accumulate, accumulate, updates, examples / training.batch_size)
