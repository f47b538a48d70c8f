"""Finished runs to export, without training."""

import jax
import numpy as np

from jaxcaps.config import to_dict
from jaxcaps.data.dataset import Dataset
from jaxcaps.plan.flags import parse_config
from jaxcaps.restoring.run_folder import read_config
from jaxcaps.restoring.tensor_file import write_tensors
from jaxcaps.training.checkpoint import Checkpoints
from jaxcaps.training.folder import write_learnt
from jaxcaps.training.setup import make_modules, make_task
from jaxcaps.training.state import TrainState
from tests.inference.build import write_run
from tests.networks import random_parameters
from tests.reporting.build import pretraining
from tests.studies.build import write_npz

FLAGS = ["--preset=tiny", "--extra-convs=3", "--batch-size=8", "--effective-batch=8"]


def write_classifier(folder, *more):
    """Writes a fine-tuned run to `folder/run`, and its data to `folder/set.npz`."""
    data = write_npz(folder / "set.npz", 24, 16)
    flags = ["--stage=finetune", *FLAGS, "--reconstruction-weight=0.1", f"--data={data}", f"--out={folder}/run"]
    write_run(parse_config([*flags, *more]), folder / "run")
    write_learnt(folder / "run", frozenset({"0123456789abcdef"}))
    return folder / "run"


def write_pretraining(folder):
    """Writes a pre-training run to `folder`, and returns its parameters."""
    config = read_config(pretraining(folder))
    modules, _ = make_modules(config, make_task(config, Dataset((), {}, (), (), "")))
    parameters = jax.device_get(random_parameters(modules))
    meta = {"config": to_dict(config), "classes": [], "train_counts": [], "fingerprint": "", "best": {}}
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(TrainState(np.int32(0), np.int32(0), parameters, np.zeros(1)), None, meta)
    encoder = {path: value for path, value in parameters.items() if path.startswith("encoder/")}
    write_tensors(folder / "encoder.safetensors", encoder, config, frozenset({"ff"}))
    write_learnt(folder, frozenset({"ff"}))
    return parameters
