"""Every pre-training task in the table: its declarations are true, and complete runs lead to a classifier."""

import dataclasses
import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcaps.config import LAYER_GROUPS
from jaxcaps.data.dataset import Dataset, Split
from jaxcaps.models import Encoder
from jaxcaps.plan.flags import parse_config
from jaxcaps.plan.presets import preset
from jaxcaps.tasks import CLASSIFICATION_TASKS, PRETRAINING_TASKS, Examples, Shard
from jaxcaps.training.state import parameters_of
from tests.command import run

BATCH = 4
TASKS = {**PRETRAINING_TASKS, **CLASSIFICATION_TASKS}


def dataset():
    """Colourful pictures in two classes, in memory."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 32, 32, 3), np.uint8)
    rows = np.arange(BATCH, dtype=np.int32)
    split = Split(tuple(map(str, rows)), rows % 2, rows, False, images, None, rows, 32, contents=rows)
    return Dataset(("a", "b"), {"train": split, "validation": split}, (), (), "")


def task_of(name):
    stage = "ssl" if name in PRETRAINING_TASKS else "finetune"
    config = dataclasses.replace(preset("tiny", stage), task=name if stage == "ssl" else "inpaint")
    return TASKS[name].make(config, dataset())


@pytest.mark.parametrize("name", TASKS)
def test_the_declarations_of_a_task_match_its_network_and_its_loss(name):
    task = task_of(name)
    rows = jnp.arange(BATCH, dtype=jnp.int32)
    examples = Examples(rows % 2, rows, rows, jnp.ones(BATCH, bool))

    def learn(images):
        rngs = nnx.Rngs(0)
        network = task.init(rngs, Encoder(task.model, task.image_size, rngs))
        views = jax.vmap(task.views)(jax.random.split(jax.random.key(0), BATCH), images)
        loss, metrics = task.loss(network, views, examples, jnp.float32(0.5), Shard())
        return parameters_of(network), loss, metrics

    # Trace without computing: only names and shapes are needed.
    parameters, loss, metrics = jax.eval_shape(learn, jnp.zeros((BATCH, 32, 32, 3), jnp.uint8))
    assert loss.shape == ()
    assert loss.dtype == jnp.float32
    assert "loss" in metrics
    assert all(metric.shape == () and metric.dtype == jnp.float32 for metric in metrics.values())
    assert {task.group_of(path) for path in parameters} <= set(LAYER_GROUPS)
    assert set(task.layers) >= {path.partition("/")[0] for path in parameters} - {"encoder"}
    assert set(task.transfers) <= set(task.layers)
    own = [each.removeprefix("train/") for each in task.reported if each.startswith("train/")]
    assert own
    assert set(own) <= set(metrics)
    if task.reconstruction:
        assert set(task.reconstruction) & set(metrics)
    assert all(isinstance(note, str) for note in task.notes(BATCH))


def test_a_parameter_without_a_layer_group_is_named():
    with pytest.raises(ValueError, match="the layer group None for the module 'forgotten'"):
        PRETRAINING_TASKS["vicreg"].group_of("forgotten/kernel")


@pytest.mark.parametrize("name", PRETRAINING_TASKS)
def test_a_task_has_a_section_of_its_own_name(name):
    config = parse_config(["--preset=tiny", f"--task={name}"])
    settings = PRETRAINING_TASKS[name].settings
    assert type(getattr(config, name.replace("-", "_"))) is settings
    assert config.options(settings) == settings()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Forty coloured pictures in two classes."""
    folder = tmp_path_factory.mktemp("pictures")
    colours = np.random.default_rng(0).integers(0, 256, (40, 20, 20, 3), np.uint8)
    for number, picture in enumerate(colours):
        label = folder / "ab"[number % 2]
        label.mkdir(exist_ok=True)
        cv2.imwrite(str(label / f"{number}.png"), picture // 2 + 100 * (number % 2))
    return folder


CASES = [(name, channels) for name in PRETRAINING_TASKS for channels in (3, 1) if (name, channels) != ("colourise", 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "channels"), CASES)
def test_a_complete_run_ends_in_a_classifier(name, channels, pictures, capsys, tmp_path):
    common = ["--preset=tiny", "--epochs=1", "--batch-size=8", "--effective-batch=8"]
    ssl = run(
        capsys, "--stage=ssl", f"--task={name}", f"--channels={channels}", f"--data=folder:{pictures}", *common,
        f"--out={tmp_path}/ssl",
    )  # fmt: skip
    assert ssl.status == 0, ssl.errors
    findings = json.loads((tmp_path / "ssl" / "diagnosis.json").read_text())
    assert set(findings["parts"]) >= {"encoder"}
    assert (findings["reconstruction"] is not None) == bool(PRETRAINING_TASKS[name].reconstruction)
    for layer, ratio in findings["gradient_over_weight"].items():
        assert ratio is None or np.isfinite(ratio), layer
    assert json.loads((tmp_path / "ssl" / "metrics.json").read_text())["train/loss"] > 0
    finetune = run(
        capsys, "--stage=finetune", f"--restore={tmp_path}/ssl", "--epochs=1", "--batch-size=8", "--effective-batch=8",
        f"--out={tmp_path}/finetune",
    )  # fmt: skip
    assert finetune.status == 0, finetune.errors
    assert "+ encoder/primary/convolution/kernel" in finetune.output
    assert 0 <= json.loads((tmp_path / "finetune" / "metrics.json").read_text())["accuracy"] <= 1
