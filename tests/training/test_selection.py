"""Selection of the best evaluation."""

import math

import jax.numpy as jnp
import pytest

from jaxcaps.training.selection import Selection


@pytest.mark.parametrize(("metric", "best"), [("mcc", 3), ("ece", 2), ("linear_probe/balanced_accuracy", 3)])
def test_the_metric_says_which_direction_is_better(metric, best):
    selection = Selection(metric)
    for step, value in enumerate([math.nan, 0.5, -0.2, 0.7, 0.7, math.nan]):
        selection.consider({f"validation/{metric}": value}, step, {"w": jnp.full((), step)})
        # As after resuming.
        selection = Selection.from_meta(selection.meta(), selection.parameters)
    assert (selection.step, selection.since, int(selection.parameters["w"])) == (best, 5 - best, best)


def test_a_metric_that_is_never_defined_selects_nothing():
    selection = Selection("macro_roc_auc")
    selection.consider({"validation/macro_roc_auc": math.nan}, 1, {})
    assert selection.meta() == {"metric": "macro_roc_auc", "value": None, "step": 0, "since": 1}
    assert selection.parameters is None
