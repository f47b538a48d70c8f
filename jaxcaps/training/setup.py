"""The parts of a run, each made from the configuration: data, task, network, starting parameters, sampling order."""

import logging
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcaps.config import Config, TaskName, uses_perceptual_network
from jaxcaps.data.checks import Labels
from jaxcaps.data.colours import bin_counts, check_colourful
from jaxcaps.data.dataset import Dataset, load_dataset
from jaxcaps.data.sampling import SamplingOrder, balanced, shuffled
from jaxcaps.data.subsets import Subset
from jaxcaps.encoder_file import encoder_file, read_arrays, read_header
from jaxcaps.errors import UserError, nearest
from jaxcaps.evaluation.metrics import SCALAR_METRICS
from jaxcaps.functional import bin_weights
from jaxcaps.models import Encoder
from jaxcaps.models.geometry import geometry
from jaxcaps.models.perceptual import random_network, read_vgg16
from jaxcaps.models.vgg import fitted_to_encoder, read_convolutions
from jaxcaps.tasks import Classify, ClassifyPlainly, Colourise, Inpaint, Task
from jaxcaps.training.checkpoint import read_parameters
from jaxcaps.training.folder import read_config
from jaxcaps.training.optimizer import multipliers, run_length
from jaxcaps.training.state import Parameters, parameters_of
from jaxcaps.training.transfer import transfer

log = logging.getLogger("jaxcaps")

# What of the model's configuration decides what the encoder's arrays mean.
OF_ENCODER = (
    "stem", "extra_convs", "normalization", "primary_types", "primary_dim", "primary_kernel", "primary_stride",
    "primary_padding",
)  # fmt: skip


def load_data(config: Config, splits: tuple[str, ...], labels: Labels | None = None) -> Dataset:
    """The named splits of the configured data. The log says how they were made.

    Args:
        config: of the run.
        splits: to load.
        labels: what they are needed for, see `load_dataset`; by default what the stage needs to train.

    Raises:
        UserError: the data cannot be read, or has not the labels that are needed.
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
        subset=Subset(data.folds, data.fold, data.label_fraction, data.minority, data.subset_seed),
    )
    for note in dataset.notes:
        log.info(note)
    return dataset


def make_task(config: Config, dataset: Dataset) -> Task:
    """The task of the stage: one of the self-supervised ones, which may look at the training pictures, or the classes.

    Raises:
        UserError: nothing is left to learn, or the data does not suit the task.
    """
    size, classes = config.data.image_size, len(dataset.classes)
    if config.stage == "finetune" and config.model.architecture == "convnet":
        return ClassifyPlainly(config.model, config.augmentation, size, classes)
    if config.stage == "finetune":
        return Classify(config.model, config.classify, config.augmentation, size, classes)
    return SELF_SUPERVISED[config.task](config, dataset)


def make_inpaint(config: Config) -> Inpaint:
    inpaint = config.inpaint
    if not (inpaint.contrast_weight or inpaint.inpaint_weight):
        problem = "--contrast-weight=0 and --inpaint-weight=0 leave nothing to learn; give one a weight"
        if inpaint.capsule_weight:
            problem += "; --capsule-weight alone would be learnt by making all capsules alike"
        raise UserError(problem)
    if inpaint.masked_views == "none" and inpaint.inpaint_weight:
        raise UserError(
            f"--masked-views=none hides nothing, and --inpaint-weight={inpaint.inpaint_weight:g} would have it filled "
            "in; give --inpaint-weight=0 for contrast alone, or --masked-views=one"
        )
    if inpaint.capsule_weight and not inpaint.hidden_capsules:
        raise UserError(
            f"--capsule-weight={inpaint.capsule_weight:g}: no capsule is hidden; give --hidden-capsules=0.5"
        )
    latent_contrast = inpaint.contrast_weight and inpaint.contrast_on == "latent"
    if inpaint.hidden_capsules and not (inpaint.inpaint_weight or inpaint.capsule_weight or latent_contrast):
        raise UserError(
            f"--hidden-capsules={inpaint.hidden_capsules:g}: nothing learns from the latent capsules that "
            "they are hidden from; give --capsule-weight=1, an --inpaint-weight, or --contrast-on=latent"
        )
    if inpaint.hidden_capsules:
        places = geometry(config.model, config.data.image_size).grid ** 2
        count = round(inpaint.hidden_capsules * places)
        if not 0 < count < places:
            raise UserError(
                f"--hidden-capsules={inpaint.hidden_capsules:g} of {places} places is {count}, to the nearest; some "
                "must be hidden, and some not"
            )
    if inpaint.loss_weighting == "uncertainty" and not (inpaint.contrast_weight and inpaint.inpaint_weight):
        raise UserError("--loss-weighting=uncertainty weighs contrast against in-painting; give both a weight")
    if inpaint.loss_weighting == "uncertainty" and inpaint.ssl_stages != "joint":
        raise UserError(
            f"--loss-weighting=uncertainty weighs terms that are learnt together, and "
            f"--ssl-stages={inpaint.ssl_stages} learns one after the other; give --ssl-stages=joint"
        )
    return Inpaint(config.model, inpaint, config.augmentation, config.data.image_size)


def make_colourise(config: Config, dataset: Dataset) -> Colourise:
    colourise, train = config.colourise, dataset.splits["train"]
    log.info(check_colourful(train, config.data.data))
    perceptual, weights = None, None
    if colourise.colour_loss == "bins":
        found = bin_weights(bin_counts(train), uniform_share=colourise.uniform_share)
        weights = tuple(found.tolist())
    elif uses_perceptual_network(config):
        file = colourise.perceptual_weights
        perceptual = random_network() if file is None else read_vgg16(Path(file))
    return Colourise(config.model, colourise, config.augmentation, config.data.image_size, perceptual, weights)


SELF_SUPERVISED: dict[TaskName, Callable[[Config, Dataset], Task]] = {
    "inpaint": lambda config, dataset: make_inpaint(config),
    "colourise": make_colourise,
}


def make_modules(config: Config, task: Task) -> tuple[nnx.Module, Callable[[], Parameters]]:
    """The network's structure, without arrays, and a function that draws its parameters from the seed."""

    def build(key: jax.Array) -> nnx.Module:
        rngs = nnx.Rngs(key)
        return task.init(rngs, Encoder(config.model, config.data.image_size, rngs))

    key = jax.random.key(config.seed)
    # It runs once: compiling it without optimisation takes a fifth of the time.
    draw = jax.jit(lambda key: parameters_of(build(key)), compiler_options={"xla_backend_optimization_level": 0})
    return nnx.eval_shape(build, key), lambda: draw(key)


def starting_parameters(config: Config, parameters: Parameters) -> Parameters:
    """As initialised, or with the encoder of `--restore`, or the kernels of `--vgg-weights`.

    Raises:
        UserError: what is to be taken is not there, or does not fit.
    """
    if config.stage == "finetune" and config.classify.transfer_latent and config.restore is None:
        raise UserError("--transfer-latent takes latent capsules from a run: give --restore, its folder")
    if config.vgg_weights is not None:
        return with_vgg_kernels(parameters, Path(config.vgg_weights), config.model.extra_convs)
    if config.restore is None:
        return parameters
    file = encoder_file(config.restore)
    if config.classify.transfer_latent and file is not None:
        raise UserError(
            f"--transfer-latent: {config.restore} holds an encoder and no latent capsules; give --restore the folder "
            "of its run"
        )
    restored: Parameters = (
        read_parameters(Path(config.restore))[0]
        if file is None
        else {path: jnp.asarray(value) for path, value in read_arrays(file).items()}
    )
    merged = transfer(restored, parameters, latent=config.classify.transfer_latent, origin=Path(config.restore))
    origin = (read_config(Path(config.restore)) if file is None else read_header(file).config).model
    # Arrays of equal shapes may still mean other capsules.
    changes = changed(origin, config.model, OF_ENCODER)
    if changes:
        raise UserError(f"--restore={config.restore}: its encoder is of another architecture:\n" + "\n".join(changes))
    log.info("From %s (+ taken, - left as initialised, . not used):", config.restore)
    for line in merged.account:
        log.info("  %s", line)
    return merged.parameters


def with_vgg_kernels(parameters: Parameters, file: Path, count: int) -> Parameters:
    """The parameters of a network whose stem is VGG-16's first `count` convolutions, with the file's kernels in it.

    Raises:
        UserError: the file is not as it should be.
    """
    log.info("From --vgg-weights=%s:", file)
    taken: Parameters = {}
    for index, layer in enumerate(fitted_to_encoder(read_convolutions(file, "--vgg-weights", count))):
        for name, value in layer._asdict().items():
            path = f"encoder/stem/{index}/convolutions/0/{name}"
            taken[path] = jnp.asarray(value, parameters[path].dtype)
            log.info("  + %s %s", path, list(value.shape))
    return parameters | taken


def selecting_metric(config: Config) -> str | None:
    """The metric of validation by which a fine-tuning keeps its best parameters; None where it keeps the last.

    Raises:
        UserError: no such metric, or patience for one without any.
    """
    name = config.training.best_metric
    # A calibration error is better when lower.
    known = tuple(name for name in SCALAR_METRICS if name != "ece")
    if name != "none" and name not in known:
        raise UserError(f"--best-metric={name}: unknown{nearest(name, (*known, 'none'))}")
    if name == "none" and config.training.patience:
        raise UserError(
            f"--patience={config.training.patience} waits for a better --best-metric, which is none; name one, or "
            "leave --patience away"
        )
    return None if name == "none" else name


def check_flags(config: Config) -> None:
    """What of a run's flags can be told to be wrong without its data.

    Raises:
        UserError: as the run would.
    """
    multipliers(config.optimizer.lr_mult)
    run_length(config, config.training.effective_batch)
    geometry(config.model, config.data.image_size)
    if config.stage == "finetune":
        selecting_metric(config)
    elif config.task == "inpaint":
        make_inpaint(config)


def changed(before: object, after: object, names: tuple[str, ...]) -> list[str]:
    """Which of the named fields of two parts of a configuration differ, in lines, in the order of the names."""
    return [
        f"  {name}: {getattr(before, name)!r} -> {getattr(after, name)!r}"
        for name in names
        if getattr(before, name) != getattr(after, name)
    ]


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
