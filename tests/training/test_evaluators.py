"""Evaluations between training steps."""

import dataclasses

import numpy as np
import pytest

from jaxcaps.errors import UserError
from jaxcaps.plan.presets import preset
from jaxcaps.training.evaluators import Classification, Classified, HeldOutLoss, Probe
from jaxcaps.training.loop import Run
from tests.data.test_loader import make_split
from tests.training.test_step import config_of, mesh_of, network_of, task_for

COUNT, BATCH = 32, 8


def test_the_held_out_contrast_does_not_compare_adjacent_pictures():
    """A batch of adjacent pictures is often one lesion, whose pictures are not negatives, so NT-Xent would be 0."""
    config = config_of("ssl", inpaint={"inpaint_weight": 0.0, "masked_views": "none"})
    modules, parameters = network_of(config)
    pictures = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 3), np.uint8)
    # As many lesions as batches, in sequence.
    groups = (np.arange(COUNT) // BATCH).astype(np.int32)
    split = dataclasses.replace(make_split(resident=True, count=COUNT), images=pictures, groups=groups, image_size=16)
    evaluator = HeldOutLoss(task_for(config), modules, split, mesh_of(1), BATCH)
    measured = dict(evaluator(parameters))
    assert measured["nt_xent"] > 1
    assert measured == dict(evaluator(parameters))
    evaluator.order = np.arange(COUNT)
    np.testing.assert_allclose(dict(evaluator(parameters))["nt_xent"], 0, atol=1e-6)


def not_finite(kind):
    """An evaluator whose network gives values that are not finite."""
    split = make_split(resident=True, count=COUNT)
    values = np.full((COUNT, 3), np.nan, np.float32)
    if kind is Classification:
        evaluator = Classification(None, split, ("a", "b", "c"), mesh_of(1), BATCH, 16)
        evaluator.predict = lambda parameters, split: Classified(values, values, values, values)
    elif kind is Probe:
        evaluator = Probe(None, split, split, mesh_of(1), BATCH, 16)
        evaluator.features = lambda parameters, split: values
    else:
        evaluator = HeldOutLoss(task_for(config_of("ssl")), None, split, mesh_of(1), BATCH)
        evaluator.evaluate = lambda parameters, batch, number: {"loss": np.float32(np.nan)}
    return evaluator


@pytest.mark.parametrize("kind", [Classification, Probe, HeldOutLoss])
def test_divergence_is_named_with_its_remedy(kind):
    """As with --lr=1000, whatever meets it first."""
    run = object.__new__(Run)
    run.config, run.evaluators = preset("tiny", "ssl"), [not_finite(kind)]
    with pytest.raises(UserError, match=r"diverged: .* not finite at micro-step 7. Try a lower --lr \(now 0.00"):
        run._evaluate({}, 7, {})
