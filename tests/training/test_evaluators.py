"""Evaluations between training steps."""

import dataclasses

import numpy as np

from jaxcaps.training.evaluators import HeldOutLoss
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
