"""Builds one validated configuration from flags, files and presets."""

import argparse
import contextlib
import dataclasses
import io
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args

import tyro

from data_prep.bounds import check_bounds
from data_prep.flags import check_names
from data_prep.spec import expanded
from jaxcaps.config import ROUTING_FIELDS, DataConfig, ModelConfig, Stage, from_dict, merged, read_yaml, to_dict
from jaxcaps.errors import UserError, nearest
from jaxcaps.plan.config import Config, paths_of, task_of, with_paths
from jaxcaps.plan.help import ALL, common
from jaxcaps.plan.length import run_length
from jaxcaps.plan.presets import preset
from jaxcaps.restoring.origin import PREFIX, find_origin
from jaxcaps.tasks import CLASSIFICATION_TASKS, PRETRAINING_TASKS

T = TypeVar("T")

# The value of --restore that ignores a run named in --config.
RANDOM = "none"

# What other tools call these flags, where the nearest name is another one.
KNOWN_AS = {
    "learning-rate": "--lr",
    "base-lr": "--lr",
    "lr-schedule": "--warmup and --final-lr of the cosine schedule",
    "scheduler": "--warmup and --final-lr of the cosine schedule",
    "warmup-epochs": "--warmup, a share of the updates",
    "min-lr": "--final-lr",
    "wd": "--weight-decay",
    "clip-grad": "--clip-norm",
    "batch": "--batch-size",
    "bs": "--batch-size",
    "accumulate": "--effective-batch",
    "accum-iter": "--effective-batch",
    "num-epochs": "--epochs",
    "max-epochs": "--epochs",
    "early-stopping": "--patience",
    "img-size": "--image-size",
    "input-size": "--image-size",
    "resolution": "--image-size",
    "dataset": "--data",
    "data-dir": "--data=folder:DIR",
    "data-path": "--data=folder:DIR",
    "model": "--preset or --architecture",
    "arch": "--architecture",
    "output": "--out",
    "output-dir": "--out",
    "save-dir": "--out",
    "resume": "--out=RUN, with the command that began it",
    "checkpoint": "--restore",
    "pretrained": "--restore=pretrained:NAME",
    "weights": "--restore",
    "logger": "--log",
    "wandb": "--log=wandb",
}


@dataclasses.dataclass(frozen=True)
class Flags(Config):
    """The flags of `jaxcaps.train`: a configuration, and the file that supplies part of it."""

    config: str | None = None
    """YAML file with values for any of these; flags override it"""


def parse_config(arguments: Sequence[str]) -> Config:
    """Parses and validates the flags. Later sources override earlier ones: defaults, the data and architecture of
    `--restore`, `--preset`, the `--config` file, flags.

    Raises:
        UserError: a flag, a file or a folder is invalid, or values contradict each other.
        SystemExit: `--help`, or a value that tyro rejects (status 2).
    """
    everything = ALL in arguments
    arguments = ["--help" if each == ALL else each for each in arguments]
    check_names(arguments, Flags, KNOWN_AS)
    early = _early_flags(arguments)
    random = early.restore == RANDOM
    file = read_yaml(home(early.config)) if early.config else {}
    stage: Stage = early.stage or file.get("stage", "ssl")
    if stage not in get_args(Stage):
        raise UserError(f"--stage={stage}: unknown stage{nearest(str(stage), get_args(Stage))}")
    for name in ("preset", "restore"):
        if not isinstance(file.get(name), str | None):
            raise UserError(f"{early.config}: {name} must be text, found {file[name]!r}")
    named = early.preset or file.get("preset")
    section = file.get("data")
    data = early.data or (section.get("data") if isinstance(section, dict) else None)
    restored = _restored(None if random else early.restore or file.get("restore"), data)
    base = to_dict(preset(named or restored.get("preset", "demo"), stage))
    base = merged(base, _from_restored(restored, stage, keep_architecture=named is None))
    # Check the file before the flags, so that an error names the file.
    default = from_dict(Config, merged(base, file), early.config or "configuration")
    start = Flags(**_fields(default))
    description = "Pre-trains a capsule network without labels, or fine-tunes one as a classifier."
    if {"-h", "--help"} & set(arguments) and not everything:
        start = common(start)
        description += f" These are the common flags; {ALL} lists all of them."
    flags = tyro.cli(
        type(start),
        args=list(arguments),
        default=start,
        prog="python -m jaxcaps.train",
        description=description,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    values = {name: value for name, value in _fields(flags).items() if name != "config"}
    return checked(Config(**values | ({"restore": None} if random else {})))


def checked(config: Config) -> Config:
    """Returns the configuration with absolute paths, after all checks that need no data.

    Fields declare their bounds. Each section checks the rules between its own fields, and each task the rules between
    its settings and the rest.

    Raises:
        UserError: a value or a combination of values is invalid.
    """
    from jaxcaps.models import geometry

    check_bounds(config)
    for section in vars(config).values():
        if hasattr(section, "check"):
            section.check()
    PRETRAINING_TASKS.find(config.task, "--task")
    CLASSIFICATION_TASKS.find(config.model.architecture, "--architecture")
    task_of(config).check(config)
    _check_idle_files(config)
    if config.vgg_weights is not None and config.restore is not None:
        raise UserError(
            f"--vgg-weights={config.vgg_weights} and --restore={config.restore} both initialise the stem; give only one"
        )
    _check_model(config)
    geometry(config.model, config.data.image_size)
    run_length(config, config.training.effective_batch)
    if config.stage == "finetune":
        _check_finetuning(config)
    return with_absolute_paths(config)


def with_absolute_paths(config: Config) -> Config:
    """The configuration with `~` filled in and its data and files given from the root."""
    from jaxcaps.data.sources import absolute

    restore = config.restore
    if restore is not None and not restore.startswith(PREFIX):
        restore = str(home(restore))
    return dataclasses.replace(
        with_paths(config, absolute_path),
        out=None if config.out is None else str(home(config.out)),
        restore=restore,
        data=dataclasses.replace(config.data, data=absolute(config.data.data)),
    )


def _check_model(config: Config) -> None:
    from jaxcaps.functional import AUGMENTATIONS, ROUTINGS, routing_settings
    from jaxcaps.models import STEMS

    model = config.model

    AUGMENTATIONS.find(config.augmentation.augmentation, "--augmentation")
    ROUTINGS.find(model.routing, "--routing")
    for field, setting in ROUTING_FIELDS.items():
        value = getattr(model, field)
        if value != getattr(ModelConfig, field) and setting not in routing_settings(model.routing):
            raise UserError(
                f"--{field.replace('_', '-')}={value}: --routing={model.routing} has no such setting; drop the flag"
            )
    STEMS.find(model.stem, "--stem")
    if model.shared_transforms and model.capsule_dim < 2:
        raise UserError(
            f"--capsule-dim={model.capsule_dim}: --shared-transforms adds two coordinates to a vote; give at least 2"
        )
    if config.stage == "ssl" and not CLASSIFICATION_TASKS[model.architecture].capsules:
        raise UserError(
            f"--architecture={model.architecture} is a fine-tuning baseline without capsules, but --stage=ssl trains "
            "capsules; drop one of the two"
        )
    if config.vgg_weights is not None:
        fits = model.stages == preset("vgg", config.stage).model.stages and model.extra_convs >= 5
        if not (fits and model.stem == "plain" and model.channels == 3):
            raise UserError(
                f"--vgg-weights={config.vgg_weights}: give --preset=vgg, --extra-convs of 5 to 7, and neither --stem "
                "nor --channels"
            )


def _check_idle_files(config: Config) -> None:
    """Rejects files that only another task reads. Other settings may be in a YAML file that several stages share."""
    for name, task in PRETRAINING_TASKS.items():
        options = config.options(task.settings)
        if (config.stage, config.task) != ("ssl", name):
            for field, path in paths_of(options).items():
                flag = f"--{field.replace('_', '-')}"
                raise UserError(f"{flag}={path}: this run does not use it; drop it, or give --stage=ssl --task={name}")


def _check_finetuning(config: Config) -> None:
    from jaxcaps.evaluation.metrics import METRICS

    name = config.training.best_metric
    if name != "none" and name not in METRICS:
        raise UserError(f"--best-metric={name}: unknown metric{nearest(name, (*METRICS, 'none'))}")
    if config.classify.transfer_latent and config.restore is None:
        raise UserError("--transfer-latent copies latent capsules from a run: give its folder as --restore")


def with_flags(config: Config, flags: Sequence[str], where: str) -> Config:
    """The configuration with the values that flags give. It is not checked: see `checked`.

    Args:
        config: any configuration.
        flags: such as ("--lr=0.01", "--no-flip").
        where: where the user typed them, for errors, such as "--grid".

    Raises:
        UserError: an unknown flag, or a value of the wrong type.
    """
    changes = _values(tuple(flags), where)
    sections = {name: values for name, values in changes.items() if isinstance(values, Mapping)}
    parts = {name: dataclasses.replace(getattr(config, name), **values) for name, values in sections.items()}
    return dataclasses.replace(config, **(changes | parts))


def configure(**flags: Any) -> Config:
    """The configuration that the flags of `python -m jaxcaps.train` make, as `jaxcaps.training.train` takes it.

    Args:
        flags: names with underscores, such as `configure(stage="ssl", preset="small64", data="folder:DIR", lr=1e-3,
            flip=False)`. None means that a flag is not given.

    Raises:
        UserError: as `parse_config`, and for a value that the command would refuse.
    """
    arguments: list[str] = []
    for name, value in flags.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list | tuple):
            arguments += [f"--{flag}", *map(str, value)]
        elif value is not None:
            arguments.append(f"--{flag}={value}")
    return _without_exit(lambda: parse_config(arguments), "configure")


def _without_exit(parse: Callable[[], T], where: str) -> T:
    """What `parse` returns; what tyro prints before it exits becomes an error.

    Raises:
        UserError: as `parse`, or tyro refuses a value.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            return parse()
    except SystemExit:
        # Its message stands between the first two rules of a box.
        _, _, text = re.sub(r"-{5,}", "|", " ".join(printed.getvalue().split())).partition("|")
        raise UserError(f"{where}: {text.partition('|')[0].strip() or 'not flags of a run'}") from None


@cache
def _values(flags: tuple[str, ...], where: str) -> dict[str, Any]:
    """What flags set: values by field, those of a section in a dictionary of their own."""
    if not flags:
        return {}
    try:
        check_names(flags, Config, KNOWN_AS)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    parsed = _without_exit(lambda: tyro.cli(Config, args=list(flags), config=(tyro.conf.OmitArgPrefixes,)), where)
    given = {each.partition("=")[0] for each in flags if each.startswith("--")}
    names = {name.removeprefix("--").replace("-", "_") for name in given}

    def values(section: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for field in dataclasses.fields(section):
            value = getattr(section, field.name)
            # A section and a flag may share a name, as `data` do.
            if dataclasses.is_dataclass(value):
                if inner := values(value):
                    found[field.name] = inner
            elif field.name in names or f"no_{field.name}" in names:
                found[field.name] = value
        return found

    return values(parsed)


def home(path: str) -> Path:
    """The path with `~` expanded: shells do not expand it in --out=~/x."""
    return expanded(path)


def absolute_path(path: str) -> str:
    """The absolute path, with `~` expanded."""
    return str(home(path).resolve())


def _early_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags on which the defaults of other flags depend."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("stage", "preset", "config", "restore", "data"):
        parser.add_argument(f"--{name}")
    try:
        return parser.parse_known_args(arguments)[0]
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None


def _restored(restore: str | None, data: str | None) -> dict[str, Any]:
    """The configuration of what `--restore` names; empty without it."""
    if restore is None:
        return {}
    origin = find_origin(restore)
    origin.check_data(data)
    config = origin.config
    if not origin.is_run:
        # The encoder depends on the data only through the size of the pictures.
        config = dataclasses.replace(config, data=DataConfig(image_size=config.data.image_size))
    return to_dict(config)


def _from_restored(restored: dict[str, Any], stage: Stage, *, keep_architecture: bool) -> dict[str, Any]:
    """The restored data settings, the task if a pre-training goes on, and the image size and network unless a preset
    was named."""
    if not restored:
        return {}
    if keep_architecture:
        kept = {"data": restored["data"], "model": restored["model"]}
        if stage == restored["stage"] == "ssl":
            kept |= {name: restored[name] for name in ("task", restored["task"].replace("-", "_"))}
        return kept
    size = ("image_size", "oversampling")
    return {"data": {name: value for name, value in restored["data"].items() if name not in size}}


def _fields(config: Config) -> dict[str, Any]:
    return {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
