"""The network on validation pictures, and what happens when the page cannot be made."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcaps.data.dataset import Dataset
from jaxcaps.errors import UserError
from jaxcaps.plan.presets import preset
from jaxcaps.reporting import making
from jaxcaps.reporting.observation import look, observe
from jaxcaps.reporting.results import read_results
from jaxcaps.tasks import CLASSIFICATION_TASKS, PRETRAINING_TASKS
from jaxcaps.tasks.base import whole_pictures
from jaxcaps.training import Finished
from jaxcaps.training.setup import make_modules
from jaxcaps.training.state import with_parameters
from tests.reporting import build

TASKS = {**PRETRAINING_TASKS, **CLASSIFICATION_TASKS}


def made(name, **classify):
    """A task on the hand-made pictures, its network and the function that draws its parameters."""
    stage = "ssl" if name in PRETRAINING_TASKS else "finetune"
    config = preset("tiny", stage)
    config = dataclasses.replace(
        config,
        stage=stage,
        task=name if stage == "ssl" else "inpaint",
        classify=dataclasses.replace(config.classify, **classify),
    )
    dataset = Dataset(build.CLASSES, {"train": build.split(), "validation": build.split()}, (), (), "")
    task = TASKS[name].make(config, dataset)
    return task, *make_modules(config, task)


@pytest.mark.parametrize("name", TASKS)
def test_the_networks_of_all_tasks_are_observed(name):
    task, modules, _ = made(name)
    parameters = {
        "/".join(map(str, path)): jax.ShapeDtypeStruct(each.shape, each.dtype)
        for path, each in nnx.to_flat_state(nnx.state(modules, nnx.Param))
    }
    found = jax.eval_shape(look(task, modules), parameters, jnp.zeros((2, 16, 16, 3), jnp.uint8))
    assert found["features"].shape == (2, task.model.primary_types * task.model.primary_dim)
    assert ("primary" in found) == task.capsules
    routes = "routing" in task.layers.values()
    assert ("routed" in found) == ("entropy" in found) == routes
    if routes:
        assert found["entropy"].shape == (2,)


@pytest.mark.slow
def test_features_are_means_over_positions_and_all_pictures_are_seen():
    """More pictures than a batch holds, the last batch padded."""
    task, modules, draw = made("capsnet", reconstruction_weight=1.0)
    parameters, split = draw(), build.split()
    seen = observe(task, modules, parameters, split, batch_size=16)
    assert seen.rows.tolist() == list(range(build.COUNT))
    assert seen.routed.shape == (build.COUNT, 3)
    assert ((seen.entropy >= 0) & (seen.entropy <= 1)).all()

    @jax.jit
    def poses(parameters):
        pictures = whole_pictures(jnp.asarray(split.images), task.image_size)
        return with_parameters(modules, parameters).encoder(pictures).poses

    found = np.asarray(poses(parameters))
    np.testing.assert_allclose(seen.primary, np.linalg.norm(found, axis=-1), rtol=1e-4, atol=1e-5)
    # The capsules of one position lie side by side, one of each type.
    types = task.model.primary_types
    means = np.stack([found[:, number::types].mean(axis=1) for number in range(types)], axis=1)
    np.testing.assert_allclose(seen.features, means.reshape(build.COUNT, -1), rtol=1e-4, atol=1e-5)
    assert list(seen.made) == ["picture", "reconstruction"]
    assert seen.made["reconstruction"].shape == (8, 16, 16, 3)


def test_a_page_that_cannot_be_made_says_why_and_leaves_the_run(tmp_path, caplog, monkeypatch):
    def fails(*arguments, **named):
        raise MemoryError("too many pictures")

    monkeypatch.setattr(making, "observe", fails)
    folder = build.classifier(tmp_path / "run")
    before = sorted(path.name for path in folder.iterdir())
    logger = logging.getLogger("jaxcaps")
    monkeypatch.setattr(logger, "propagate", True)
    making.ReportAtEnd().on_end(Finished(folder, None, None, {}, build.split(), build.CLASSES, [1, 1, 1]))
    assert "could not be made: MemoryError: too many pictures" in caplog.text
    assert f"python -m jaxcaps.report --restore={folder}" in caplog.text
    assert sorted(path.name for path in folder.iterdir()) == before


def test_data_that_has_changed_since_the_run_is_noticed(tmp_path):
    predicted = read_results(build.classifier(tmp_path / "run")).predicted
    split = build.split()
    making._check_unchanged(predicted, split, build.CLASSES, "here")
    with pytest.raises(UserError, match=r"^here holds other labels than .* for 8 pictures, such as 00\.png"):
        making._check_unchanged(predicted, split, ("healthy", *build.CLASSES[1:]), "here")
    names = ("x.png", *split.names[1:])
    with pytest.raises(UserError, match=r"^here holds other pictures than predictions\.csv"):
        making._check_unchanged(predicted, dataclasses.replace(split, names=names), build.CLASSES, "here")
