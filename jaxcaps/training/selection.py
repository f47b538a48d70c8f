"""Which parameters a run ends with."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.training.state import Parameters
from jaxcaps.training.writers import Row


@dataclass
class Selection:
    """The best evaluation so far, by one metric, which says itself whether higher is better.

    Attributes:
        metric: its name, or that of a probe's metric, as in "linear_probe/balanced_accuracy"; None selects nothing.
        value: of the best evaluation; None before the first one in which the metric is defined.
        step: of the best evaluation.
        since: the number of evaluations since then.
        parameters: of the best evaluation.
    """

    metric: str | None
    value: float | None = None
    step: int = 0
    since: int = 0
    parameters: Parameters | None = None

    def consider(self, row: Row, step: int, parameters: Parameters) -> None:
        """Keeps a copy of the parameters if this evaluation is better than the best so far."""
        if self.metric is None:
            return
        value = row[f"validation/{self.metric}"]
        sign = 1 if METRICS[self.metric.rpartition("/")[2]].higher_is_better else -1
        if sign * value > (-math.inf if self.value is None else sign * self.value):
            # The state is donated to the next step: what is kept must be a copy.
            copies = jax.tree.map(jnp.copy, parameters)
            self.value, self.step, self.since, self.parameters = value, step, 0, copies
        else:
            self.since += 1

    def meta(self) -> dict[str, Any]:
        return {"metric": self.metric, "value": self.value, "step": self.step, "since": self.since}

    @classmethod
    def from_meta(cls, meta: dict[str, Any], parameters: Parameters | None) -> "Selection":
        """As it was when `meta()` was written beside a checkpoint."""
        return cls(meta["metric"], meta["value"], meta["step"], meta["since"], parameters)
