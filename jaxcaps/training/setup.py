"""Builds the parts of a run from its configuration: data, task, network, initial parameters, sampling order."""

import logging
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcaps.config import ENCODER_FIELDS, changed
from jaxcaps.data.checks import Labels
from jaxcaps.data.dataset import Dataset, load_dataset
from jaxcaps.data.sampling import SamplingOrder, balanced, shuffled
from jaxcaps.data.source import Source
from jaxcaps.data.subsets import Subset
from jaxcaps.errors import UserError
from jaxcaps.models import Encoder
from jaxcaps.models.vgg import fitted_to_encoder, read_convolutions
from jaxcaps.plan.config import Config, task_of
from jaxcaps.restoring import find_origin
from jaxcaps.tasks import Task
from jaxcaps.training.checkpoint import read_parameters
from jaxcaps.training.state import Parameters, parameters_of
from jaxcaps.training.transfer import transfer

log = logging.getLogger("jaxcaps")


def load_data(
    config: Config,
    splits: tuple[str, ...],
    labels: Labels | None = None,
    change: Callable[[Source], Source] = lambda source: source,
) -> Dataset:
    """Loads the named splits of the configured data, and logs how they were made.

    Args:
        config: the configuration of the run.
        splits: the splits to load.
        labels: what labels are needed for, see `load_dataset`. Default: what training in this stage needs.
        change: what to put in place of the opened source.

    Raises:
        UserError: the data cannot be read or lacks the labels needed.
    """
    data = config.data
    dataset = load_dataset(
        data=data.data,
        image_size=data.image_size * data.oversampling,
        labels=labels or ("training" if config.stage == "finetune" else "optional"),
        split_seed=data.split_seed,
        synthetic_count=data.synthetic_count,
        synthetic_seed=data.synthetic_seed,
        max_bad_images=data.max_bad_images,
        cache_bytes=data.cache_mb * 2**20,
        splits=splits,
        channels=config.model.channels,
        subset=Subset(
            data.folds, data.fold, data.label_fraction, data.labels_per_class, data.minority, data.subset_seed
        ),
        change=change,
    )
    for note in dataset.notes:
        log.info(note)
    return dataset


def make_task(config: Config, dataset: Dataset) -> Task:
    """Makes the task of the run. A self-supervised task may read the training pictures.

    Raises:
        UserError: the data does not suit the task.
    """
    return task_of(config).make(config, dataset)


def make_modules(config: Config, task: Task) -> tuple[nnx.Module, Callable[[], Parameters]]:
    """Returns the network's structure, without arrays, and a function that draws its parameters from the seed."""

    def build(key: jax.Array) -> nnx.Module:
        rngs = nnx.Rngs(key)
        return task.init(rngs, Encoder(config.model, config.data.image_size, rngs))

    key = jax.random.key(config.seed)
    for path in jax.eval_shape(lambda key: parameters_of(build(key)), key):
        task.group_of(path)
    # It runs once, and compiling without optimisation takes a fifth of the time.
    draw = jax.jit(lambda key: parameters_of(build(key)), compiler_options={"xla_backend_optimization_level": 0})
    return nnx.eval_shape(build, key), lambda: draw(key)


def starting_parameters(config: Config, parameters: Parameters) -> Parameters:
    """Returns the initial parameters, with the encoder of `--restore` or the kernels of `--vgg-weights`, if given.

    A pre-training that goes on from a run of the same task also takes the rest of its network.

    Raises:
        UserError: the parameters to restore do not exist or do not fit.
    """
    if config.vgg_weights is not None:
        return with_vgg_kernels(parameters, Path(config.vgg_weights), config.model.extra_convs)
    if config.restore is None:
        return parameters
    found = find_origin(config.restore)
    origin = found.config
    task = task_of(origin)
    if config.classify.transfer_latent and not found.is_run:
        raise UserError(
            f"--transfer-latent: {config.restore} holds an encoder and no latent capsules; give --restore the folder "
            "of its run"
        )
    if config.classify.transfer_latent and origin.stage != "ssl":
        raise UserError(f"--transfer-latent: {config.restore} is a fine-tuned run; give the folder of its pre-training")
    if config.classify.transfer_latent and not task.transfers:
        raise UserError(
            f"--transfer-latent: --task={origin.task} of {config.restore} has no latent capsules to transfer; drop "
            "the flag"
        )
    restored, _ = read_parameters(found)
    transfers = task.transfers if config.stage == "finetune" and config.classify.transfer_latent else {}
    if config.stage == "ssl":
        goes_on = found.is_run and task_of(config) is task
        transfers = {layer: layer for layer in task.layers} if goes_on else {}
        log.info(
            "Pre-training goes on from the %s, with a new optimiser, learning-rate schedule and order of pictures",
            "whole network" if goes_on else "encoder alone",
        )
    merged = transfer(restored, parameters, known=task.layers, transfers=transfers, origin=Path(config.restore))
    # Encoders of different architecture may have arrays of the same shapes.
    changes = changed(origin.model, config.model, ENCODER_FIELDS)
    if changes:
        raise UserError(
            f"--restore={config.restore}: its encoder has another architecture. Drop --preset and the flags of the "
            "network to use the restored architecture.\n" + "\n".join(changes)
        )
    log.info("Parameters from %s (+ restored, - newly initialised, . not used):", config.restore)
    for line in merged.account:
        log.info("  %s", line)
    return merged.parameters


def with_vgg_kernels(parameters: Parameters, file: Path, count: int) -> Parameters:
    """Returns the parameters with the stem's first `count` convolutions replaced by VGG-16's from the file.

    Raises:
        UserError: the file is not a valid file of VGG-16's weights.
    """
    log.info("Parameters from --vgg-weights=%s:", file)
    taken: Parameters = {}
    for index, layer in enumerate(fitted_to_encoder(read_convolutions(file, "--vgg-weights", count))):
        for name, value in layer._asdict().items():
            path = f"encoder/stem/{index}/convolutions/0/{name}"
            taken[path] = jnp.asarray(value, parameters[path].dtype)
            log.info("  + %s %s", path, list(value.shape))
    return parameters | taken


def sampling_order(config: Config, dataset: Dataset) -> SamplingOrder:
    training, split = config.training, dataset.splits["train"]
    sampling = training.sampling
    if sampling == "auto":
        sampling = "shuffled" if config.stage == "ssl" else "balanced"
    if sampling == "balanced":
        note = " (uses the labels)" if config.stage == "ssl" else ""
        log.info("Sampling: class-balanced, with replacement%s", note)
        return balanced(split.labels, training.batch_size, config.seed)
    log.info("Sampling: shuffled, without replacement")
    return shuffled(len(split), training.batch_size, config.seed)
