"""The parts of a configuration: frozen dataclasses with their bounds, and plain values to and from them.

Nothing here imports jax. `jaxcaps.plan` puts the parts together into the `Config` of a run. A task's own part stands
in the task's file. Fields marked `Suppress` describe layers: they come from a preset or a YAML file and have no flag.
"""

import contextlib
import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import dacite
import tyro
import yaml
from annotated_types import Ge, Gt, Interval

from data_prep.bounds import NotNegative, Seed, Share
from data_prep.registry import Registry
from jaxcaps.errors import UserError, nearest

T = TypeVar("T")

Stage = Literal["ssl", "finetune"]
# What learning rates, gradients and warnings are reported by; a task gives each of its modules one of them.
LAYER_GROUPS = ("stem", "primary", "routing", "head", "decoder")


def choice(package: str, attribute: str, help: str) -> Any:
    """A flag whose values are the names of a table of extensions, listed in its help."""
    names = Registry[Any](package, attribute, what="").names
    return tyro.conf.arg(help=help, metavar="{" + ",".join(names) + "}")


class IsPath:
    """Marks a field that holds the path of a file: it is made absolute, and its folders are never published."""


@dataclass(frozen=True)
class Branch:
    """One of the parallel convolutions of a stem stage; the outputs are concatenated over channels."""

    width: int
    kernel: int
    padding: int
    dilation: int = 1


@dataclass(frozen=True)
class StemStage:
    """One convolution of the stem, or several in parallel (`branches`, which share the stage's stride).

    With `pooled`, 2x2 max pooling comes first.
    """

    width: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    branches: tuple[Branch, ...] = ()
    pooled: bool = False


@dataclass(frozen=True)
class DecoderStage:
    """A transposed convolution back to the input of stem stage `stage` (0 is the image, 5 the primary capsules'
    input). Its width is that feature map's. With `skip`, the map is added where skips are on."""

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
            "the pictures: synthetic, the built-in set, or KIND:PLACE as in folder:DIR; see the README",
        ),
    ] = "synthetic"
    image_size: Annotated[int, Interval(ge=8, le=4096)] = 48
    """side in pixels of the square that images are resized to"""
    oversampling: Annotated[int, Interval(ge=1, le=8)] = 2
    """images are kept at this multiple of --image-size, so that augmented views are as sharp as whole images"""
    split_seed: Seed = 0
    """seed of the train/validation/test split, where the data has none"""
    folds: Annotated[int, Interval(ge=0, le=100)] = 0
    """cross-validation: deal the groups to this many folds, whatever splits the data names; 0 for the data's split"""
    fold: Annotated[int, Ge(0)] = 0
    """which fold is the test split, from 0"""
    label_fraction: Annotated[float, Interval(gt=0, le=1)] = 1.0
    """share of each class's images, in whole groups, whose labels training and validation may use; nested"""
    minority: str = ""
    """CLASS:SHARE, as in normal:0.1: training keeps only so many groups of the class that it makes up this share"""
    subset_seed: Seed = 0
    """seed of the groups that --label-fraction and --minority choose"""
    synthetic_count: Annotated[int, Ge(1)] = 600
    """number of frames in the built-in set"""
    synthetic_seed: Seed = 0
    """seed of the built-in set"""
    max_bad_images: Share = 0.01
    """share of unreadable images that is skipped; beyond it the run fails"""
    cache_mb: Annotated[int, Ge(0)] = 2048
    """decoded sets up to this size are kept in memory; larger ones are streamed"""

    def check(self) -> None:
        """
        Raises:
            UserError: folds that do not fit together.
        """
        if self.folds and not (self.folds >= 2 and self.fold < self.folds):
            raise UserError(
                f"--folds={self.folds} --fold={self.fold}: expected 2 to 100 folds and a fold from 0 to one less"
            )
        if self.fold and not self.folds:
            raise UserError(f"--fold={self.fold}: give --folds too, the number of folds")


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
            "network of the classifier: capsnet, or as a baseline convnet, a convolutional network of equal size",
        ),
    ] = "capsnet"
    channels: Literal[1, 3] = 3
    """channels of a picture: 3, or 1 to read all pictures as grey"""
    stem: Annotated[
        str,
        choice(
            "jaxcaps.models.stems", "STEM", "how the stages of the stem are built; see docs/explanation/architecture.md"
        ),
    ] = "plain"
    extra_convs: Annotated[int, Interval(ge=3, le=7)] = 5
    """convolutions before the primary capsules; the grid of capsules stays the same"""
    primary_types: Annotated[int, Interval(ge=1, le=4096)] = 16
    """types of primary capsules at each place of the grid"""
    primary_dim: Annotated[int, Interval(ge=1, le=4096)] = 8
    """dimension of a primary capsule's pose"""
    capsule_dim: Annotated[int, Interval(ge=1, le=4096)] = 16
    """dimension of a class or latent capsule's pose"""
    ssl_capsules: Annotated[int, Interval(ge=2, le=4096)] = 16
    """latent capsules of the self-supervised network"""
    routing: Annotated[
        str,
        choice(
            "jaxcaps.functional.routing", "ROUTING", "how votes become class and latent capsules; see docs/routing.md"
        ),
    ] = "dynamic"
    routing_iterations: Annotated[int, Interval(ge=1, le=100)] = 3
    """iterations, for the routings that iterate"""
    decoder_skips: bool = False
    """add the encoder's feature maps to the decoder's (the study did; the decoder can then bypass the capsules)"""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """what layers compute in; parameters are float32 (float64 for float64), fragile arithmetic at least float32"""


# What of the model's configuration decides what the encoder's arrays mean.
ENCODER_FIELDS = (
    "stages", "stem", "channels", "extra_convs", "normalization", "primary_types", "primary_dim", "primary_kernel",
    "primary_stride", "primary_padding",
)  # fmt: skip


@dataclass(frozen=True)
class AugmentationConfig:
    crop_scale: tuple[Annotated[float, Interval(ge=0.01, le=1)], Annotated[float, Interval(ge=0.01, le=1)]] = (0.6, 1.0)
    """range of the share of the picture's area that a random crop keeps"""
    flip: bool = True
    """mirror left to right at random"""
    rotation_degrees: Annotated[float, Interval(ge=0, le=180)] = 20.0
    """rotate by up to this angle either way; 180 where up and down mean nothing, as in endoscopy"""
    shear_degrees: Annotated[float, Interval(ge=0, le=80)] = 5.0
    """shear by up to this angle either way"""
    translation: Share = 0.05
    """shift by up to this share of the side"""
    brightness: Share = 0.2
    """strength of the random change of brightness"""
    contrast: Share = 0.2
    """strength of the random change of contrast"""
    saturation: Share = 0.2
    """strength of the random change of saturation"""
    hue: Annotated[float, Interval(ge=0, le=0.5)] = 0.02
    """strength of the random change of hue, in turns"""
    blur_probability: Share = 0.2
    """how often a picture is blurred"""
    blur_sigma: tuple[Annotated[float, Interval(ge=0, le=100)], Annotated[float, Interval(ge=0, le=100)]] = (0.1, 1.0)
    """range of the blur's standard deviation in pixels"""

    def check(self) -> None:
        """
        Raises:
            UserError: a range that falls.
        """
        for name in ("crop_scale", "blur_sigma"):
            low, high = getattr(self, name)
            if low > high:
                raise UserError(f"--{name.replace('_', '-')} {low} {high}: expected the smaller number first")


@dataclass(frozen=True)
class ClassifyConfig:
    """Settings of fine-tuning."""

    loss: Literal["spread", "margin", "cross-entropy"] = "spread"
    """spread loss, margin loss, or cross-entropy of scaled capsule norms"""
    reconstruction_weight: Annotated[float, Interval(ge=0, le=1e6)] = 0.0
    """weight of reconstructing the picture from the true class's capsule"""
    transfer_latent: bool = False
    """start the class capsules from the latent capsules too; their shapes must match"""
    freeze_epochs: Annotated[float, Interval(ge=0, le=1e6)] = 0.0
    """keep the encoder, restored or random, as it is for the first epochs"""


@dataclass(frozen=True)
class OptimizerConfig:
    lr: Annotated[float, Interval(ge=1e-12, le=1e3)] = 1e-3
    """peak learning rate of AdamW"""
    weight_decay: NotNegative = 0.05
    """decoupled weight decay; not applied to biases and norms"""
    clip_norm: Annotated[float, Gt(0)] = 1.0
    """gradients are scaled down to this global norm"""
    warmup: Share = 0.1
    """share of the updates over which the learning rate rises"""
    final_lr: Share = 0.01
    """learning rate of the last update, as a share of the peak"""
    lr_mult: str = ""
    """learning-rate multipliers by layer group, as in primary:3,routing:10"""

    def check(self) -> None:
        """
        Raises:
            UserError: `lr_mult` is not of its form.
        """
        self.multipliers()

    def multipliers(self) -> dict[str, float]:
        """`lr_mult` as a mapping from layer group to factor.

        Raises:
            UserError: not of the form GROUP:NUMBER,..., an unknown group, or a negative number.
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
                raise UserError(f"--lr-mult={self.lr_mult}: {part!r} should read {name}:NUMBER, a number of at least 0")
        return result


@dataclass(frozen=True)
class TrainingConfig:
    epochs: Annotated[float, Interval(gt=0, le=1e6)] = 20.0
    """passes over the training split; a fraction is fine"""
    batch_size: Annotated[int, Interval(ge=1, le=2**20)] = 64
    """images per micro-step; NT-Xent's negatives come from these alone"""
    effective_batch: Annotated[int, Interval(ge=1, le=2**20)] = 64
    """images per update, a multiple of --batch-size; gradients are accumulated"""
    sampling: Literal["auto", "shuffled", "balanced"] = "auto"
    """shuffled, or class-balanced with replacement (uses labels); auto: shuffled for ssl, balanced for finetune"""
    evaluate_every: Annotated[float, Ge(1e-3)] = 1.0
    """epochs between evaluations on the validation split (probes in ssl)"""
    best_metric: Annotated[
        str,
        tyro.conf.arg(
            help="fine-tuning keeps the parameters with the best validation value of this metric; none: the last ones",
            metavar="METRIC",
        ),
    ] = "balanced_accuracy"
    patience: Annotated[int, Interval(ge=0, le=10**6)] = 0
    """stop fine-tuning after this many evaluations without improvement; 0 never"""
    select_by_probe: bool = False
    """let the linear probe choose the SSL checkpoint (uses labels); off: the last one"""
    checkpoint_minutes: NotNegative = 1.0
    """minutes between checkpoints to resume from"""

    def check(self) -> None:
        """
        Raises:
            UserError: batches that do not fit together, or patience that waits for nothing.
        """
        if self.effective_batch % self.batch_size:
            raise UserError(
                f"--effective-batch={self.effective_batch} is not a multiple of --batch-size={self.batch_size}; "
                f"--effective-batch={self.batch_size} updates after every micro-step"
            )
        if self.best_metric == "none" and self.patience:
            raise UserError(
                f"--patience={self.patience} waits for a better --best-metric, which is none; name a metric, or drop "
                "--patience"
            )


@dataclass(frozen=True)
class MachineConfig:
    """Where a run computes. It is not part of what it computes."""

    coordinator: str | None = None
    """address:port of process 0, for a run on several hosts"""
    num_processes: Annotated[int, Ge(1)] | None = None
    """number of processes in a run on several hosts"""
    process_id: Annotated[int, Ge(0)] | None = None
    """number of this process, from 0"""

    def check(self) -> None:
        """
        Raises:
            UserError: some but not all of the three flags are given.
        """
        given = [value is not None for value in (self.coordinator, self.num_processes, self.process_id)]
        if any(given) and not all(given):
            raise UserError("--coordinator, --num-processes and --process-id go together: give all three or none")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain lists and dictionaries, as YAML and JSON hold it."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(cls: type[T], values: Mapping[str, Any], origin: str) -> T:
    """The dataclass `cls` from plain values; `origin` says in errors where they come from.

    Raises:
        UserError: an unknown key (the nearest known one is named) or a value of the wrong type.
    """
    # PyYAML reads 1e-3 as text (YAML 1.1 wants a dot), which float() accepts.
    rules = dacite.Config(strict=True, cast=[tuple], type_hooks={float: _number})
    try:
        return dacite.from_dict(cls, values, rules)
    except dacite.UnexpectedDataError as error:
        unknown = sorted(error.keys)[0]
        # A known name in the wrong section is answered with its section.
        homes = _all_names(cls)
        close = difflib.get_close_matches(unknown, homes, n=1)
        hint = f"; did you mean {homes[close[0]]!r}?" if close else f"; known: {', '.join(homes.values())}"
        raise UserError(f"{origin}: unknown key {unknown!r}{hint}") from None
    except dacite.DaciteError as error:
        raise UserError(f"{origin}: {error}") from None


def _number(value: Any) -> Any:
    """A float where the value reads as one; dacite refuses anything else by its field's name."""
    if isinstance(value, int | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(value)
    return value


def _all_names(cls: Any, prefix: str = "") -> dict[str, str]:
    """Every key of a configuration by its last name, with its sections: {"epochs": "training.epochs"}."""
    names: dict[str, str] = {}
    for item in dataclasses.fields(cls):
        names[item.name] = prefix + item.name
        if dataclasses.is_dataclass(item.type):
            names |= _all_names(item.type, f"{prefix}{item.name}.")
    return names


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: no such file, not YAML, or not a mapping.
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
    """`base` with the values of `over`, mapping by mapping."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def differences(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`name: old -> new` for every value in which two nested mappings differ."""
    lines = []
    for key in sorted(set(first) | set(second)):
        old, new = first.get(key), second.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines.extend(differences(old, new, f"{prefix}{key}."))
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} -> {new!r}")
    return lines


def changed(before: object, after: object, names: tuple[str, ...]) -> list[str]:
    """A line for each of the named fields in which two parts of a configuration differ."""
    return [
        f"  {name}: {getattr(before, name)!r} -> {getattr(after, name)!r}"
        for name in names
        if getattr(before, name) != getattr(after, name)
    ]
