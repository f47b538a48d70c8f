"""Selection of the parameters that a run keeps."""

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
    """The best evaluation so far by one metric.

    Attributes:
        metric: name of a metric, or of a probe's metric such as "linear_probe/balanced_accuracy"; None selects nothing.
        value: value at the best evaluation; None until the metric is first defined.
        step: micro-step of the best evaluation.
        since: number of evaluations since then.
        parameters: parameters of the best evaluation.
    """

    metric: str | None
    value: float | None = None
    step: int = 0
    since: int = 0
    parameters: Parameters | None = None

    def consider(self, row: Row, step: int, parameters: Parameters) -> None:
        """Keeps a copy of the parameters if this evaluation is the best so far."""
        if self.metric is None:
            return
        value = row[f"validation/{self.metric}"]
        sign = 1 if METRICS[self.metric.rpartition("/")[2]].higher_is_better else -1
        if sign * value > (-math.inf if self.value is None else sign * self.value):
            # The state is donated to the next step, so keep a copy.
            copies = jax.tree.map(jnp.copy, parameters)
            self.value, self.step, self.since, self.parameters = value, step, 0, copies
        else:
            self.since += 1

    def meta(self) -> dict[str, Any]:
        return {"metric": self.metric, "value": self.value, "step": self.step, "since": self.since}

    @classmethod
    def from_meta(cls, meta: dict[str, Any], parameters: Parameters | None) -> "Selection":
        """Restores a selection from the `meta()` that was saved in a checkpoint."""
        return cls(meta["metric"], meta["value"], meta["step"], meta["since"], parameters)
