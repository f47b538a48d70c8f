"""Checks a study before it runs: every configuration, the data of every fold, and that the arms are comparable."""

import dataclasses
from pathlib import Path

from data_prep.bounds import check_bounds
from jaxcaps.config import ENCODER_FIELDS, changed
from jaxcaps.data.dataset import Dataset
from jaxcaps.data.sampling import shuffled
from jaxcaps.errors import UnsuitableTask, UserError
from jaxcaps.models.vgg import read_convolutions
from jaxcaps.plan.config import Config, architecture_hash, paths_of
from jaxcaps.studies.design import Cell, Study, with_labels
from jaxcaps.studies.notation import ALL_SHOWN, Recipe, StudyArm, labels_in_words
from jaxcaps.tasks import PRETRAINING_TASKS
from jaxcaps.training.setup import load_data, make_task

# What decides which pictures are in which split. It has to be the same in both stages.
SPLITTING = ("split_seed", "subset_seed", "synthetic_count", "synthetic_seed")


def check(study: Study) -> dict[str, Config]:
    """Makes every configuration of the study and reads its data, so that a mistake is found before anything runs.

    Returns:
        The configuration of each arm's fine-tuning with the first recipe.

    Raises:
        UserError: a bad value in any of them, a bad file of weights, or arms that differ in architecture, data or
            number of steps without being baselines.
    """
    if not study.pretrained and any(arm.kind.longer for arm in study.arms):
        raise UserError(
            "--inits: random-epochs and random-seconds take the budget of an arm that pre-trains; add one, such as "
            "inpaint"
        )
    # Beyond arm and recipe, the configurations of cells differ in these and in the fold alone.
    for seed in study.seeds:
        check_bounds(dataclasses.replace(study.finetune, seed=seed))
    for labels in study.labels:
        check_bounds(with_labels(study.finetune.data, labels))
    first = study.cells()[0]
    before = {name: study.pretraining(dataclasses.replace(first, arm=name)) for name in study.pretrained}
    after = {arm.name: _finetuning(study, arm, first) for arm in study.arms if not arm.kind.pixels}
    for name, config in before.items():
        _check_stages(study, name, config, after[name])
    for arm in () if study.against else study.arms:
        if not arm.kind.baseline and (unlike := comparability(after[arm.reference], after[arm.name])):
            raise UserError(
                f"{arm.name} and {arm.reference} cannot be compared: {unlike}. Arms must share architecture, data and "
                "the number of fine-tuning steps; only baselines may differ"
            )
    _check_files(study, before)
    data = _check_data(study, first)
    for name, config in after.items():
        classes = len(data.classes)
        if config.classify.transfer_latent and before[name].model.ssl_capsules != classes:
            raise UserError(
                f"--inits: {name} starts its class capsules from its latent capsules (--transfer-latent), so it must "
                f"pre-train with --ssl-capsules={classes}, as many as there are classes"
            )
    for config in before.values():
        if paths_of(config.options(PRETRAINING_TASKS[config.task].settings)):
            try:
                make_task(config, data)
            except UnsuitableTask:
                # The cell records it.
                continue
    return after


def comparability(first: Config, second: Config) -> str:
    """Says why two fine-tunings cannot be compared; empty if they can."""
    pairs = {
        # The number of classes is the data's, and the same for both.
        "architecture": (architecture_hash(first, 0), architecture_hash(second, 0)),
        "data": (first.data, second.data),
        "epochs": (first.training.epochs, second.training.epochs),
        "batch size": (first.training.effective_batch, second.training.effective_batch),
        "sampling": (first.training.sampling, second.training.sampling),
    }
    return ", ".join(f"their {name} differs ({one} and {two})" for name, (one, two) in pairs.items() if one != two)


def _finetuning(study: Study, arm: StudyArm, first: Cell) -> Config:
    """Returns the fine-tuning with the first recipe, after a check of all recipes."""
    cell = dataclasses.replace(first, arm=arm.name)
    configs = [study.finetuning(cell, study.labels[0], recipe) for recipe in study.recipes]
    for recipe, config in zip(study.recipes, configs, strict=True):
        if (config.model, config.data) != (configs[0].model, configs[0].data):
            raise UserError(
                f"--grid: {recipe.name} changes the network or the data, so arms that choose differently could not be "
                "compared; give arms instead, as in --inits=random@capsule-dim=8,inpaint@capsule-dim=8"
            )
    return configs[0]


def _check_stages(study: Study, name: str, before: Config, after: Config) -> None:
    changes = changed(before.model, after.model, ENCODER_FIELDS) + changed(before.data, after.data, SPLITTING)
    if changes:
        listed = "\n".join(changes)
        raise UserError(
            f"{name}: its pre-training and its fine-tuning must agree in these settings; give them as flags of the "
            f"study, or of the arm as NAME@flag=value:\n{listed}"
        )
    training = after.training
    if any(arm.kind.longer == "seconds" for arm in study.arms) and training.evaluate_every >= training.epochs:
        raise UserError(
            f"--evaluate-every={training.evaluate_every:g} with --epochs={training.epochs:g}: random-seconds needs "
            "the time between evaluations; give a smaller --evaluate-every in --finetune"
        )


def _check_files(study: Study, before: dict[str, Config]) -> None:
    """Checks that an arm reads each of the study's files, and that the file of VGG-16 is valid."""
    if study.finetune.vgg_weights is not None:
        if not any(arm.kind.imagenet for arm in study.arms):
            raise UserError(f"--vgg-weights={study.finetune.vgg_weights}: no arm reads it; add imagenet to --inits")
        read_convolutions(Path(study.finetune.vgg_weights), "--vgg-weights")
    for name, task in PRETRAINING_TASKS.items():
        used = {path for config in before.values() for path in paths_of(config.options(task.settings)).values()}
        for field, path in paths_of(study.pretrain.options(task.settings)).items():
            if path not in used:
                flag = f"--{field.replace('_', '-')}"
                raise UserError(f"{flag}={path}: no arm reads it; add one of --task={name} to --inits")


def _check_data(study: Study, first: Cell) -> Dataset:
    """The training and validation pictures of the last fold.

    Raises:
        UserError: as `load_data`, of any fold; or the fewest visible labels leave too few in validation to
            choose a recipe by, or fewer training pictures than a batch that draws none twice.
    """
    # The fewest may leave a class without any.
    labels = study.labels[0]
    trainings = [study.finetuning(first, labels, recipe).training for recipe in study.recipes]
    # The largest batch of those recipes that draw no picture twice.
    largest = max((each.batch_size for each in trainings if each.sampling == "shuffled"), default=0)
    for fold in study.fold_numbers:
        config = study.finetuning(dataclasses.replace(first, fold=fold), labels, Recipe())
        data = load_data(config, ("train", "validation"))
        shuffled(len(data.splits["train"]), largest, seed=0)
        shown = set(data.splits["validation"].labels.tolist()) - {-1}
        missing = [name for number, name in enumerate(data.classes) if number not in shown]
        if missing and len(study.recipes) > 1 and labels != ALL_SHOWN:
            where = "" if fold is None else f" of fold {fold}"
            raise UserError(
                f"{labels_in_words(labels)} leave no validation label of {', '.join(missing)}{where}, but recipes are "
                "chosen by validation; show more labels"
            )
    return data
