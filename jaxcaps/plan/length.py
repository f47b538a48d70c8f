"""The length of a run in micro-steps, updates and epochs."""

import math
from typing import NamedTuple

from jaxcaps.plan.config import Config


class Length(NamedTuple):
    """The length of a run.

    Attributes:
        micro_steps: calls of the training step, a multiple of `accumulate`.
        accumulate: micro-steps per update.
        updates: applied updates, `micro_steps // accumulate`.
        per_epoch: micro-steps per epoch, fractional if an epoch ends within a batch.
    """

    micro_steps: int
    accumulate: int
    updates: int
    per_epoch: float


def run_length(config: Config, examples: int) -> Length:
    """Computes the length of a run over `examples` training pictures. The last update is complete."""
    training = config.training
    accumulate = training.effective_batch // training.batch_size
    updates = max(1, math.ceil(training.epochs * examples / training.effective_batch - 1e-9))
    return Length(updates * accumulate, accumulate, updates, examples / training.batch_size)
