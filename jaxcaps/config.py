"""The sections of a configuration: frozen dataclasses with bounds, and their conversion from and to plain values.

This module does not import jax. `jaxcaps.plan` combines the sections into the `Config` of a run. Each task defines its
own section in its file. Fields marked `Suppress` describe layers: a preset or a YAML file sets them, not a flag.
"""

import contextlib
import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import dacite
import tyro
import yaml
from annotated_types import Ge, Gt, Interval

from data_prep.bounds import NotNegative, Seed, Share
from data_prep.registry import Registry
from jaxcaps.errors import UserError, nearest

T = TypeVar("T")

Stage = Literal["ssl", "finetune"]
# Learning rates, gradients and warnings are reported by these groups. A task assigns each of its modules to one.
LAYER_GROUPS = ("stem", "primary", "routing", "head", "decoder")

# The names of the table in `jaxcaps.training.loggers`, which this module may not import.
LOGGERS = Registry[Any]("jaxcaps.training.loggers", "LOGGER", what="logger").names


def choice(package: str, attribute: str, help: str) -> Any:
    """A flag that takes the name of an extension. Its help lists the names."""
    names = Registry[Any](package, attribute, what="").names
    return tyro.conf.arg(help=help, metavar="{" + ",".join(names) + "}")


class IsPath:
    """Marks a field as a file path. It is made absolute, and its folders are left out of published files."""


@dataclass(frozen=True)
class Branch:
    """One of the parallel convolutions of a stem stage, whose outputs are concatenated along channels."""

    width: int
    kernel: int
    padding: int
    dilation: int = 1


@dataclass(frozen=True)
class StemStage:
    """One convolution of the stem, or several in parallel (`branches`, which share the stride).

    If `pooled`, 2x2 max pooling comes first.
    """

    width: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    branches: tuple[Branch, ...] = ()
    pooled: bool = False


@dataclass(frozen=True)
class DecoderStage:
    """A transposed convolution back to the shape of the input of stem stage `stage` (0 is the image, 5 the input of
    the primary capsules), with the same width. If `skip` and skips are on, that input is added."""

    stage: int
    kernel: int
    skip: bool = False


@dataclass(frozen=True)
class DataConfig:
    data: Annotated[
        str,
        choice(
            "jaxcaps.data.sources",
            "SOURCE",
            "the images: synthetic (the built-in set) or KIND:PLACE, such as folder:DIR (docs/reference/commands.md)",
        ),
    ] = "synthetic"
    image_size: Annotated[int, Interval(ge=8, le=4096)] = 48
    """side in pixels of the square that images are resized to"""
    oversampling: Annotated[int, Interval(ge=1, le=8)] = 2
    """multiple of --image-size at which images are stored, so that cropped views stay sharp"""
    split_seed: Seed = 0
    """seed of the train/validation/test split, if the data names no splits"""
    folds: Annotated[int, Interval(ge=0, le=100)] = 0
    """cross-validation: assign the groups to this many folds and ignore the splits of the data; 0: use those splits"""
    fold: Annotated[int, Ge(0)] = 0
    """the fold used as the test split, counted from 0"""
    label_fraction: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """share of each class's images, in whole groups, whose labels training and validation may use; shares are nested"""
    labels_per_class: Annotated[int, Ge(1)] | None = None
    """number of images of each class, in whole groups, whose labels training and validation may use; nested as well"""
    minority: str = ""
    """CLASS:SHARE, such as normal:0.1: reduce this class to this share of the training images, in whole groups"""
    subset_seed: Seed = 0
    """seed for the choice of groups by --label-fraction, --labels-per-class and --minority"""
    synthetic_count: Annotated[int, Ge(1)] = 600
    """number of frames in the built-in set"""
    synthetic_seed: Seed = 0
    """seed of the built-in set"""
    max_bad_images: Share = 0.01
    """largest share of unreadable images to skip; the run fails if there are more"""
    cache_mb: Annotated[int, Ge(0)] = 2048
    """largest size of the decoded images to keep in memory; larger sets are streamed"""

    def check(self) -> None:
        """
        Raises:
            UserError: the number of folds and the fold do not match, or labels are limited twice.
        """
        if self.folds and not (self.folds >= 2 and self.fold < self.folds):
            raise UserError(
                f"--folds={self.folds} --fold={self.fold}: expected 2 to 100 folds, and a fold from 0 to one less"
            )
        if self.fold and not self.folds:
            raise UserError(f"--fold={self.fold}: give the number of folds too, with --folds")
        if self.label_fraction < 1 and self.labels_per_class is not None:
            raise UserError(
                f"--label-fraction={self.label_fraction:g} and --labels-per-class={self.labels_per_class}: give one"
            )


# The values of the data's configuration that show all labels.
ALL_LABELS: dict[str, Any] = {"label_fraction": 1.0, "labels_per_class": None}


@dataclass(frozen=True)
class ModelConfig:
    stages: Annotated[tuple[StemStage, ...], tyro.conf.Suppress] = ()
    decoder: Annotated[tuple[DecoderStage, ...], tyro.conf.Suppress] = ()
    decoder_width: Annotated[int, tyro.conf.Suppress] = 64
    primary_kernel: Annotated[int, tyro.conf.Suppress] = 3
    primary_stride: Annotated[int, tyro.conf.Suppress] = 1
    primary_padding: Annotated[int, tyro.conf.Suppress] = 1
    normalization: Annotated[Literal["group", "none"], tyro.conf.Suppress] = "group"
    architecture: Annotated[
        str,
        choice(
            "jaxcaps.tasks.classification",
            "TASK",
            "network of the classifier: capsnet, or convnet, a convolutional baseline of equal size",
        ),
    ] = "capsnet"
    channels: Literal[1, 3] = 3
    """channels of the images: 3, or 1 to convert all images to grey"""
    stem: Annotated[
        str,
        choice("jaxcaps.models.stems", "STEM", "type of the stem's stages; see docs/explanation/architecture.md"),
    ] = "plain"
    extra_convs: Annotated[int, Interval(ge=3, le=7)] = 5
    """number of convolutions before the primary capsules; the grid of capsules stays the same"""
    primary_types: Annotated[int, Interval(ge=1, le=4096)] = 16
    """number of primary capsule types at each position of the grid"""
    primary_dim: Annotated[int, Interval(ge=1, le=4096)] = 8
    """dimension of a primary capsule's pose"""
    capsule_dim: Annotated[int, Interval(ge=1, le=4096)] = 16
    """dimension of a class or latent capsule's pose"""
    ssl_capsules: Annotated[int, Interval(ge=2, le=4096)] = 16
    """number of latent capsules of the self-supervised network"""
    routing: Annotated[
        str,
        choice(
            "jaxcaps.functional.routing",
            "ROUTING",
            "routing algorithm of class and latent capsules; see docs/explanation/routing.md",
        ),
    ] = "dynamic"
    routing_iterations: Annotated[int, Interval(ge=1, le=100)] = 3
    """number of iterations, for routing algorithms that iterate"""
    agreement_scale: Annotated[float, Interval(gt=0, le=1e6)] | Literal["capsules"] = 1.0
    """what the agreements are multiplied by, for dynamic routings: a number, or capsules for in / out capsules"""
    learn_agreement_scale: bool = False
    """learn the agreement scale of each layer, from --agreement-scale on"""
    shared_transforms: bool = False
    """share the transforms of class and latent capsules over positions, whose coordinates are added to the votes"""
    decoder_skips: bool = False
    """add the encoder's feature maps to the decoder's, as in the study; the decoder can then bypass the capsules"""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """dtype of computation; parameters are float32 (float64 for float64), and sensitive steps use at least float32"""


# The settings of a routing that have fields of their own, by field.
ROUTING_FIELDS = {
    "routing_iterations": "iterations",
    "agreement_scale": "agreement_scale",
    "learn_agreement_scale": "learn_agreement_scale",
}

# The fields of the model's configuration on which the meaning of the encoder's arrays depends.
ENCODER_FIELDS = (
    "stages", "stem", "channels", "extra_convs", "normalization", "primary_types", "primary_dim", "primary_kernel",
    "primary_stride", "primary_padding",
)  # fmt: skip


@dataclass(frozen=True)
class AugmentationConfig:
    augmentation: Annotated[
        str, choice("jaxcaps.functional.augment", "AUGMENTATION", "what makes random views of a picture")
    ] = "standard"
    crop_scale: tuple[Annotated[float, Interval(ge=0.01, le=1)], Annotated[float, Interval(ge=0.01, le=1)]] = (0.6, 1.0)
    """range of the area of a random crop, as a share of the image"""
    flip: bool = True
    """flip horizontally at random"""
    rotation_degrees: Annotated[float, Interval(ge=0, le=180)] = 20.0
    """largest rotation in degrees, in both directions; 180 if images have no canonical orientation, as in endoscopy"""
    shear_degrees: Annotated[float, Interval(ge=0, le=80)] = 5.0
    """largest shear in degrees, in both directions"""
    translation: Share = 0.05
    """largest shift, as a share of the side"""
    brightness: Share = 0.2
    """strength of the random change of brightness"""
    contrast: Share = 0.2
    """strength of the random change of contrast"""
    saturation: Share = 0.2
    """strength of the random change of saturation"""
    hue: Annotated[float, Interval(ge=0, le=0.5)] = 0.02
    """strength of the random change of hue, in turns"""
    blur_probability: Share = 0.2
    """probability that an image is blurred"""
    blur_sigma: tuple[Annotated[float, Interval(ge=0, le=100)], Annotated[float, Interval(ge=0, le=100)]] = (0.1, 1.0)
    """range of the standard deviation of the blur, in pixels"""

    def check(self) -> None:
        """
        Raises:
            UserError: the first number of a range is the larger one.
        """
        for name in ("crop_scale", "blur_sigma"):
            low, high = getattr(self, name)
            if low > high:
                raise UserError(f"--{name.replace('_', '-')} {low} {high}: give the smaller number first")


@dataclass(frozen=True)
class ClassifyConfig:
    """Settings of fine-tuning."""

    loss: Literal["spread", "margin", "cross-entropy"] = "spread"
    """spread loss, margin loss, or cross-entropy of scaled capsule norms"""
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """share of the loss that counts every class alike as the true one"""
    capsule_dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """share of the primary capsules that are set to 0 at random in training; the others are scaled up"""
    reconstruction_weight: Annotated[float, Interval(ge=0, le=1e6)] = 0.0
    """weight of the reconstruction of the image from the capsule of the true class"""
    transfer_latent: bool = False
    """also initialise the class capsules from the latent capsules; their shapes must match"""
    freeze_epochs: Annotated[float, Interval(ge=0, le=1e6)] = 0.0
    """number of epochs for which the encoder is frozen at the start"""


@dataclass(frozen=True)
class OptimizerConfig:
    lr: Annotated[float, Interval(ge=1e-12, le=1e3)] = 1e-3
    """peak learning rate of AdamW"""
    weight_decay: NotNegative = 0.05
    """decoupled weight decay; not applied to biases and norms"""
    clip_norm: Annotated[float, Gt(0)] = 1.0
    """largest global norm of the gradients, which are clipped to it"""
    warmup: Share = 0.1
    """share of the updates used for linear warm-up"""
    final_lr: Share = 0.01
    """learning rate of the last update, as a share of the peak"""
    lr_mult: str = ""
    """learning-rate multipliers by layer group, such as primary:3,routing:10"""

    def check(self) -> None:
        """
        Raises:
            UserError: `lr_mult` is malformed.
        """
        self.multipliers()

    def multipliers(self) -> dict[str, float]:
        """Parses `lr_mult` into a mapping from layer group to factor.

        Raises:
            UserError: it is not of the form GROUP:NUMBER,..., a group is unknown, or a number is negative.
        """
        result = {}
        for part in filter(None, self.lr_mult.split(",")):
            name, _, value = part.partition(":")
            if name not in LAYER_GROUPS:
                raise UserError(f"--lr-mult={self.lr_mult}: unknown layer group {name!r}{nearest(name, LAYER_GROUPS)}")
            result[name] = float("nan")
            with contextlib.suppress(ValueError):
                result[name] = float(value)
            if not 0 <= result[name] < float("inf"):
                raise UserError(
                    f"--lr-mult={self.lr_mult}: {part!r} should be {name}:NUMBER, with a number of at least 0"
                )
        return result


@dataclass(frozen=True)
class TrainingConfig:
    epochs: Annotated[float, Interval(gt=0, le=1e6)] = 20.0
    """passes over the training split; may be fractional"""
    batch_size: Annotated[int, Interval(ge=1, le=2**20)] = 64
    """images per micro-step; the negatives of NT-Xent come only from these"""
    effective_batch: Annotated[int, Interval(ge=1, le=2**20)] = 64
    """images per update, a multiple of --batch-size, by gradient accumulation"""
    sampling: Literal["auto", "shuffled", "balanced"] = "auto"
    """shuffled, or class-balanced with replacement (uses labels); auto: shuffled for ssl, balanced for finetune"""
    evaluate_every: Annotated[float, Ge(1e-3)] = 1.0
    """epochs between evaluations on the validation split (probes in ssl)"""
    best_metric: Annotated[
        str,
        tyro.conf.arg(
            help="metric by which fine-tuning selects the parameters, on validation; none: keep the last ones",
            metavar="METRIC",
        ),
    ] = "balanced_accuracy"
    patience: Annotated[int, Interval(ge=0, le=10**6)] = 0
    """stop fine-tuning after this many evaluations without improvement; 0: never"""
    select_by_probe: bool = False
    """keep the pre-training parameters with the best linear probe (uses labels); off: keep the last ones"""
    checkpoint_minutes: NotNegative = 1.0
    """minutes between checkpoints"""

    def check(self) -> None:
        """
        Raises:
            UserError: the batch sizes do not match, or `patience` has no metric to wait for.
        """
        if self.effective_batch % self.batch_size:
            raise UserError(
                f"--effective-batch={self.effective_batch} is not a multiple of --batch-size={self.batch_size}; "
                f"give --effective-batch={self.batch_size} to update after every micro-step"
            )
        if self.best_metric == "none" and self.patience:
            raise UserError(
                f"--patience={self.patience} waits for a better --best-metric, which is none; name a metric, or drop "
                "--patience"
            )


@dataclass(frozen=True)
class MachineConfig:
    """Where a run computes, and where it is described. These settings do not affect its results."""

    coordinator: str | None = None
    """address:port of process 0, for a run on several hosts"""
    num_processes: Annotated[int, Ge(1)] | None = None
    """number of processes in a run on several hosts"""
    process_id: Annotated[int, Ge(0)] | None = None
    """number of this process, from 0"""
    log: Annotated[
        str,
        tyro.conf.arg(
            help="where metrics go besides the run folder, separated by commas; none: nowhere else",
            metavar="{" + ",".join((*LOGGERS, "none")) + "}",
        ),
    ] = "tensorboard"
    report: bool = True
    """write report.html when the run has finished"""

    def loggers(self) -> tuple[str, ...]:
        """The names in `log`."""
        return () if self.log == "none" else tuple(dict.fromkeys(self.log.split(",")))

    def check(self) -> None:
        """
        Raises:
            UserError: a logger is unknown, or only some of the three flags of several hosts are given.
        """
        for name in self.loggers():
            if name not in LOGGERS:
                raise UserError(f"--log={self.log}: unknown logger{nearest(name, (*LOGGERS, 'none'))}")
        given = [value is not None for value in (self.coordinator, self.num_processes, self.process_id)]
        if any(given) and not all(given):
            raise UserError("--coordinator, --num-processes and --process-id go together: give all three or none")


def to_dict(config: Any) -> dict[str, Any]:
    """Converts a dataclass to plain lists and dictionaries, as in YAML and JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(cls: type[T], values: Mapping[str, Any], origin: str) -> T:
    """Builds the dataclass `cls` from plain values; `origin` names their source in errors.

    Raises:
        UserError: a key is unknown (the message suggests the nearest one) or a value has the wrong type.
    """
    # PyYAML reads 1e-3 as text, because YAML 1.1 requires a dot; float() accepts it.
    rules = dacite.Config(strict=True, type_hooks={float: _number})
    try:
        return dacite.from_dict(cls, _with_tuples(values), rules)
    except dacite.UnexpectedDataError as error:
        unknown = sorted(error.keys)[0]
        # For a known name in the wrong section, suggest its section.
        homes = _all_names(cls)
        close = difflib.get_close_matches(unknown, homes, n=1)
        hint = f"; did you mean {homes[close[0]]!r}?" if close else f"; known: {', '.join(homes.values())}"
        raise UserError(f"{origin}: unknown key {unknown!r}{hint}") from None
    except dacite.WrongTypeError as error:
        raise UserError(
            f"{origin}: {error.field_path}={error.value!r}: expected {_in_words(error.field_type)}"
        ) from None
    except dacite.MissingValueError as error:
        raise UserError(f"{origin}: {error.field_path} is missing") from None


def _with_tuples(value: Any) -> Any:
    """YAML and JSON have lists where the configuration has tuples."""
    if isinstance(value, Mapping):
        return {key: _with_tuples(each) for key, each in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list | tuple) else value


def _in_words(hint: Any) -> str:
    """A type as an error names it: "one of ssl, finetune", "a list of 2 numbers"."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return _in_words(parts[0])
    if kind is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if kind is tuple:
        one = _in_words(parts[0]).removeprefix("an ").removeprefix("a ")
        return f"a list of {one}s" if parts[1:] == (...,) else f"a list of {len(parts)} {one}s"
    if kind is Union or kind is UnionType:
        return " or ".join(map(_in_words, parts))
    if dataclasses.is_dataclass(hint) or (kind or hint) in (dict, Mapping):
        return "a mapping"
    words = {int: "an integer", float: "a number", bool: "true or false", str: "a text", type(None): "nothing"}
    return words.get(hint, str(hint))


def _number(value: Any) -> Any:
    """Converts a value to float if possible; dacite then rejects other values and names the field."""
    if isinstance(value, int | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def _all_names(cls: Any, prefix: str = "") -> dict[str, str]:
    """Maps the name of every field to its full key: {"epochs": "training.epochs"}."""
    names: dict[str, str] = {}
    for item in dataclasses.fields(cls):
        names[item.name] = prefix + item.name
        if dataclasses.is_dataclass(item.type):
            names |= _all_names(item.type, f"{prefix}{item.name}.")
    return names


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a mapping from a YAML file.

    Raises:
        UserError: the file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"configuration {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"configuration {path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"configuration {path}: expected lines of 'name: value', found {type(values).__name__}")
    return values


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` updated with `over`, recursively."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns a line `name: old -> new` for each value that differs between two nested mappings."""
    lines = []
    for key in sorted(set(first) | set(second)):
        old, new = first.get(key), second.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines.extend(differences(old, new, f"{prefix}{key}."))
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} -> {new!r}")
    return lines


def changed(before: object, after: object, names: tuple[str, ...]) -> list[str]:
    """Returns a line for each of the named fields that differs between two sections."""
    return [
        f"  {name}: {getattr(before, name)!r} -> {getattr(after, name)!r}"
        for name in names
        if getattr(before, name) != getattr(after, name)
    ]
