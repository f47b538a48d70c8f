"""Which parameters a run ends with."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxcaps.training.state import Parameters
from jaxcaps.training.writers import Row


@dataclass
class Selection:
    """Which evaluation was the best so far, by one metric; higher is better."""

    metric: str | None
    value: float = -math.inf
    step: int = 0
    since: int = 0
    parameters: Parameters | None = None

    def consider(self, row: Row, step: int, parameters: Parameters) -> None:
        """Keeps a copy of the parameters if this evaluation beats the best."""
        if self.metric is None:
            return
        value = row[f"validation/{self.metric}"]
        if value > self.value:
            # The state is donated to the next step: what is kept must be a copy.
            copies = jax.tree.map(jnp.copy, parameters)
            self.value, self.step, self.since, self.parameters = value, step, 0, copies
        else:
            self.since += 1

    def meta(self) -> dict[str, Any]:
        value = self.value if math.isfinite(self.value) else None
        return {"metric": self.metric, "value": value, "step": self.step, "since": self.since}

    @classmethod
    def from_meta(cls, meta: dict[str, Any], parameters: Parameters | None) -> "Selection":
        """As it was when `meta()` was written beside a checkpoint."""
        value = -math.inf if meta["value"] is None else meta["value"]
        return cls(meta["metric"], value, meta["step"], meta["since"], parameters)
