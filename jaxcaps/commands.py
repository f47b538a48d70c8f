"""What the commands share: flags to configuration, mistakes to exit status 2."""

import argparse
import dataclasses
import errno
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import tyro

from jaxcaps.config import (
    ONE_PASS_ROUTINGS,
    ColouriseConfig,
    Config,
    DataConfig,
    ModelConfig,
    Stage,
    from_dict,
    merged,
    read_yaml,
    to_dict,
    uses_perceptual_network,
)
from jaxcaps.encoder_file import PREFIX, encoder_file, read_header
from jaxcaps.errors import UserError, nearest
from jaxcaps.presets import preset


@dataclasses.dataclass(frozen=True)
class Flags(Config):
    """A configuration, and the file that gave part of it."""

    config: str | None = None
    """YAML file with values for any of these; flags override it"""


class _StandardOutput(logging.StreamHandler):
    """Writes to what `sys.stdout` is at the moment: a progress bar puts itself there, to keep lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


def run_command(main: Callable[[], None]) -> None:
    """Runs a command; a user's mistake, or a file that cannot be had, becomes one message on standard error and exit
    status 2."""
    output = _StandardOutput()
    output.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("jaxcaps")
    log.addHandler(output)
    log.setLevel(logging.INFO)
    # A handler that some library gives the root logger would print every line twice.
    log.propagate = False
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # A folder that cannot be made, a full disk: no fault of the program's.
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        print(f"error: {error.filename or 'writing'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command resumes from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def parse_config(arguments: Sequence[str]) -> Config:
    """Defaults < `--restore`'s data and architecture < `--preset` < `--config` file < flags.

    Raises:
        UserError: an unknown preset, a bad configuration file, or a `--restore` folder that is no run.
        SystemExit: `--help`, or a flag that tyro refuses (status 2).
    """
    early = _early_flags(arguments)
    file = read_yaml(home(early.config)) if early.config else {}
    stage: Stage = early.stage or file.get("stage", "ssl")
    if stage not in get_args(Stage):
        raise UserError(f"--stage={stage}: unknown stage{nearest(str(stage), get_args(Stage))}")
    for name in ("preset", "restore"):
        if not isinstance(file.get(name), str | None):
            raise UserError(f"{early.config}: {name} should be text, found {file[name]!r}")
    named = early.preset or file.get("preset")
    section = file.get("data")
    data = early.data or (section.get("data") if isinstance(section, dict) else None)
    restored = _restored(early.restore or file.get("restore"), stage, data)
    base = to_dict(preset(named or restored.get("preset", "demo"), stage))
    base = merged(base, _from_restored(restored, keep_architecture=named is None))
    # The file is checked before the flags, so that an error is the file's.
    default = from_dict(Config, merged(base, file), early.config or "configuration")
    flags = tyro.cli(
        Flags,
        args=list(arguments),
        default=Flags(**_fields(default)),
        prog="python -m jaxcaps.train",
        description="Pre-trains a capsule network without labels, or fine-tunes one into a classifier.",
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return _checked(Config(**{name: value for name, value in _fields(flags).items() if name != "config"}))


def absolute(data: str) -> str:
    """`kind:PATH` with the path made absolute, so that a run folder can be used from anywhere."""
    kind, _, path = data.partition(":")
    # A set of TFDS has a name, and a path only after an @.
    name, at, folder = path.partition("@") if kind == "tfds" else ("", "", path)
    return f"{kind}:{name}{at}{absolute_path(folder)}" if folder else data


def absolute_path(path: str) -> str:
    """The path from the root, `~` filled in."""
    return str(home(path).resolve())


def home(path: str) -> Path:
    """The path with `~` filled in: a shell leaves it in --out=~/x."""
    return Path(path).expanduser()


def _early_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """The flags that decide what the others' defaults are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("stage", "preset", "config", "restore", "data"):
        parser.add_argument(f"--{name}")
    try:
        return parser.parse_known_args(arguments)[0]
    except argparse.ArgumentError as error:
        raise UserError(str(error)) from None


def _restored(restore: str | None, stage: str, data: str | None) -> dict[str, Any]:
    """The configuration of the run, or of the encoder's file, to restore from; empty where none is named."""
    if restore is None:
        return {}
    if stage == "ssl":
        raise UserError("--restore is for --stage=finetune; to resume a pre-training run, repeat its command")
    file = encoder_file(restore)
    if file is not None:
        config = read_header(file).config
        if data is None and config.data.data != DataConfig.data:
            raise UserError(f"--restore={restore}: it was learnt from {config.data.data}; give --data, yours")
        # Of the data it is the size of the pictures that the encoder depends on.
        return to_dict(dataclasses.replace(config, data=DataConfig(image_size=config.data.image_size)))
    folder, path = restore, home(restore)
    if not path.is_dir():
        raise UserError(f"--restore={folder}: no such folder; give the --out of an earlier run")
    if not (path / "config.yaml").is_file():
        raise UserError(f"--restore={folder}: no config.yaml in it, so it is no run folder")
    return to_dict(from_dict(Config, read_yaml(path / "config.yaml"), str(path / "config.yaml")))


def _from_restored(restored: dict[str, Any], *, keep_architecture: bool) -> dict[str, Any]:
    """Data, and unless a preset was named the picture size and the network."""
    if not restored:
        return {}
    if keep_architecture:
        return {"data": restored["data"], "model": restored["model"]}
    size = ("image_size", "oversampling")
    return {"data": {name: value for name, value in restored["data"].items() if name not in size}}


def _fields(config: Config) -> dict[str, Any]:
    return {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}


def _checked(config: Config) -> Config:
    """Paths made absolute, and the values that no type can check."""
    data, training, optimizer, inpaint = config.data, config.training, config.optimizer, config.inpaint
    pixels, colourise = config.augmentation, config.colourise
    for name, (low, high), least, most in (
        ("--crop-scale", pixels.crop_scale, 0.01, 1),
        ("--blur-sigma", pixels.blur_sigma, 0, 100),
    ):
        if not least <= low <= high <= most:
            raise UserError(f"{name} {low} {high}: should be two rising numbers between {least} and {most}")
    for name, value, low, high in (
        ("--image-size", data.image_size, 8, 4096),
        ("--oversampling", data.oversampling, 1, 8),
        ("--seed", config.seed, -(2**31), 2**31 - 1),
        ("--split-seed", data.split_seed, 0, 2**31 - 1),
        ("--subset-seed", data.subset_seed, 0, 2**31 - 1),
        ("--label-fraction", data.label_fraction, 1e-6, 1),
        ("--synthetic-seed", data.synthetic_seed, 0, 2**31 - 1),
        ("--batch-size", training.batch_size, 1, 2**20),
        ("--effective-batch", training.effective_batch, 1, 2**20),
        ("--epochs", training.epochs, 1e-6, 1e6),
        ("--patience", training.patience, 0, 1e6),
        ("--checkpoint-minutes", training.checkpoint_minutes, 0, 1e9),
        ("--freeze-epochs", config.classify.freeze_epochs, 0, 1e6),
        ("--reconstruction-weight", config.classify.reconstruction_weight, 0, 1e6),
        ("--projection-hidden", inpaint.projection_hidden, 1, 2**20),
        ("--projection-dim", inpaint.projection_dim, 1, 2**20),
        ("--max-bad-images", data.max_bad_images, 0, 1),
        ("--lr", optimizer.lr, 1e-12, 1e3),
        ("--clip-norm", optimizer.clip_norm, 1e-12, float("inf")),
        ("--weight-decay", optimizer.weight_decay, 0, float("inf")),
        ("--warmup", optimizer.warmup, 0, 1),
        ("--final-lr", optimizer.final_lr, 0, 1),
        ("--evaluate-every", training.evaluate_every, 1e-3, float("inf")),
        ("--rotation-degrees", pixels.rotation_degrees, 0, 180),
        ("--shear-degrees", pixels.shear_degrees, 0, 80),
        ("--translation", pixels.translation, 0, 1),
        ("--brightness", pixels.brightness, 0, 1),
        ("--contrast", pixels.contrast, 0, 1),
        ("--saturation", pixels.saturation, 0, 1),
        ("--hue", pixels.hue, 0, 0.5),
        ("--blur-probability", pixels.blur_probability, 0, 1),
        ("--visible-share", inpaint.visible_share, 0, 1),
        ("--temperature", inpaint.temperature, 1e-4, float("inf")),
        ("--mask-fraction", inpaint.mask_fraction, 0.01, 0.9),
        ("--contrast-weight", inpaint.contrast_weight, 0, float("inf")),
        ("--inpaint-weight", inpaint.inpaint_weight, 0, float("inf")),
        ("--hidden-capsules", inpaint.hidden_capsules, 0, 0.9),
        ("--capsule-weight", inpaint.capsule_weight, 0, float("inf")),
        ("--perceptual-strength", colourise.perceptual_strength, 0, float("inf")),
        ("--uniform-share", colourise.uniform_share, 1e-3, 1),
        ("--decoding-temperature", colourise.decoding_temperature, 1e-3, 100),
        ("--routing-iterations", config.model.routing_iterations, 1, 100),
        ("--primary-types", config.model.primary_types, 1, 4096),
        ("--primary-dim", config.model.primary_dim, 1, 4096),
        ("--capsule-dim", config.model.capsule_dim, 1, 4096),
        ("--ssl-capsules", config.model.ssl_capsules, 2, 4096),
    ):
        if not low <= value <= high:
            raise UserError(f"{name}={value}: should lie between {low} and {high}")
    if data.folds and not (2 <= data.folds <= 100 and 0 <= data.fold < data.folds):
        raise UserError(f"--folds={data.folds} --fold={data.fold}: give 2 to 100 folds, and a fold from 0 to one less")
    if data.fold and not data.folds:
        raise UserError(f"--fold={data.fold}: give --folds too, the number of folds")
    model = config.model
    if model.routing in ONE_PASS_ROUTINGS and model.routing_iterations != ModelConfig.routing_iterations:
        raise UserError(
            f"--routing-iterations={model.routing_iterations}: --routing={model.routing} has no iterations; "
            "leave the flag away"
        )
    if model.architecture == "convnet":
        for flag, unfit in (
            (f"--stage={config.stage}", config.stage == "ssl"),
            (f"--restore={config.restore}", config.restore is not None),
            ("--reconstruction-weight", config.classify.reconstruction_weight != 0),
        ):
            if unfit:
                raise UserError(
                    f"--architecture=convnet is a baseline of fine-tuning without capsules, and {flag} needs them; "
                    "leave one of the two away"
                )
    restore, vgg_weights = config.restore, config.vgg_weights
    if vgg_weights is not None:
        if restore is not None:
            raise UserError(f"--vgg-weights={vgg_weights} and --restore={restore} both start the stem; give one")
        if preset("vgg", config.stage).model.stem != model.stem or not 5 <= model.extra_convs <= 7:
            raise UserError(f"--vgg-weights={vgg_weights}: give --preset=vgg, and --extra-convs of 5 to 7")
        vgg_weights = absolute_path(vgg_weights)
    if restore is not None and not restore.startswith(PREFIX):
        restore = str(home(restore))
    return dataclasses.replace(
        config,
        out=None if config.out is None else str(home(config.out)),
        restore=restore,
        vgg_weights=vgg_weights,
        data=dataclasses.replace(data, data=absolute(data.data)),
        colourise=_checked_colourise(config),
    )


def _checked_colourise(config: Config) -> ColouriseConfig:
    """The path of the perceptual weights made absolute, if anything uses them."""
    colourise = config.colourise
    if colourise.perceptual_weights is None:
        return colourise
    if not uses_perceptual_network(config):
        raise UserError(
            f"--perceptual-weights={colourise.perceptual_weights}: nothing would use them; they are for --stage=ssl "
            "--task=colourise --colour-loss=l1 with a --perceptual-strength above 0"
        )
    return dataclasses.replace(colourise, perceptual_weights=absolute_path(colourise.perceptual_weights))
