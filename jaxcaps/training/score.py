"""The scores of a fine-tuned run on any split of any data with its classes."""

import dataclasses
import logging
from pathlib import Path

import jax
import numpy as np

from jaxcaps.config import Config, from_dict
from jaxcaps.errors import UserError
from jaxcaps.training.checkpoint import read_parameters
from jaxcaps.training.evaluators import Classification
from jaxcaps.training.finish import score_classifier
from jaxcaps.training.folder import check_not_learnt, learnt_names
from jaxcaps.training.mesh import device_mesh, replicated
from jaxcaps.training.setup import load_data, make_modules, make_task

log = logging.getLogger("jaxcaps")


def evaluate(restore: str, split: str, *, data: str | None, batch_size: int | None) -> None:
    """Prints the table and writes metrics, predictions and the confusion figure, named by split, to the run folder.

    Raises:
        UserError: no fine-tuned run there, or data without that split or with other classes.
    """
    folder = Path(restore)
    parameters, meta = read_parameters(folder)
    config = from_dict(Config, meta["config"], f"the checkpoint in {folder}")
    if config.stage != "finetune":
        raise UserError(f"--restore={folder}: an {config.stage} run has no classes to score; give a fine-tuned one")
    if config.model.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if data is not None:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, data=data))
    batch_size = batch_size or config.training.batch_size
    mesh = device_mesh(batch_size)
    parameters = jax.device_put(parameters, replicated(mesh))
    dataset = load_data(config, (split,))
    classes = tuple(meta["classes"])
    if dataset.classes != classes:
        raise UserError(
            f"{config.data.data}: classes {list(dataset.classes)}, but the run was trained on {list(classes)}"
        )
    modules, _ = make_modules(config, make_task(config, classes))
    scored = dataset.splits[split]
    if split != "train":
        check_not_learnt(learnt_names(folder, config.data.data), scored.names, split, folder)
    probabilities = Classification(modules, scored, classes, mesh, batch_size).predict(parameters, scored)
    train_labels = np.repeat(np.arange(len(classes)), meta["train_counts"])
    table = score_classifier(folder, train_labels, scored, probabilities, classes, suffix=f"-{split}")
    log.info("\n%s split of %s, parameters of %s:\n%s", split, config.data.data, folder, table)
    log.info("Written to %s", folder / f"metrics-{split}.json")
