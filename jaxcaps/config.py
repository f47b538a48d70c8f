"""The configuration of a run: frozen dataclasses, and nothing of jax.

A run is one `Config`. It is put together in `commands.py` from defaults, preset, file and flags, written into the
run folder and into each checkpoint, and read back by `--restore`. Fields marked `SUPPRESSED` describe layers; they
have no flag and come from a preset or a YAML file.
"""

import contextlib
import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import dacite
import tyro
import yaml

from jaxcaps.errors import UserError

T = TypeVar("T")

Stage = Literal["ssl", "finetune"]
TaskName = Literal["inpaint", "colourise"]
# The names of `jaxcaps.functional.ROUTINGS`, which cannot be imported without jax.
RoutingName = Literal[
    "dynamic",
    "detached-dynamic",
    "leaky-dynamic",
    "em",
    "variational",
    "self-attention",
    "inverted-attention",
    "self-routing",
    "heinsen",
    "uniform",
]
ONE_PASS_ROUTINGS = ("self-attention", "self-routing", "uniform")


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

    With `pooled` the largest of each 2x2 pixels is taken before it.
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
    input). Its width is that feature map's; with `skip` the map is added where skips are on."""

    stage: int
    kernel: int
    skip: bool = False


@dataclass(frozen=True)
class DataConfig:
    data: str = "synthetic"
    """synthetic | folder:DIR | csv:FILE | npz:FILE | piccolo:DIR | tfds:NAME (prepared; docs/tfds.md)"""
    image_size: int = 48
    """images are resized to this square"""
    oversampling: int = 2
    """images are kept at this multiple of --image-size, so that augmented ones are as sharp as they are"""
    split_seed: int = 0
    """seed of the train/validation/test split, where the data brings none"""
    folds: int = 0
    """cross-validation: deal the groups to so many folds, whatever splits the data names; 0 for the data's own split"""
    fold: int = 0
    """which fold is the test split, from 0"""
    label_fraction: float = 1.0
    """share of each class's images, in whole groups, whose labels training and validation may use; nested"""
    minority: str = ""
    """CLASS:SHARE, as in normal:0.1: training keeps so few groups of a class that it makes up that share"""
    subset_seed: int = 0
    """seed of the groups that --label-fraction and --minority choose"""
    synthetic_count: int = 600
    """frames in the built-in set"""
    synthetic_seed: int = 0
    """seed of the built-in set"""
    max_bad_images: float = 0.01
    """share of unreadable images that is skipped; beyond it the run fails"""
    cache_mb: int = 2048
    """decoded sets up to this size are kept in memory; larger ones are streamed"""


@dataclass(frozen=True)
class ModelConfig:
    stem: Annotated[tuple[StemStage, ...], tyro.conf.Suppress] = ()
    decoder: Annotated[tuple[DecoderStage, ...], tyro.conf.Suppress] = ()
    decoder_width: Annotated[int, tyro.conf.Suppress] = 64
    primary_kernel: Annotated[int, tyro.conf.Suppress] = 3
    primary_stride: Annotated[int, tyro.conf.Suppress] = 1
    primary_padding: Annotated[int, tyro.conf.Suppress] = 1
    normalization: Annotated[Literal["group", "none"], tyro.conf.Suppress] = "group"
    architecture: Literal["capsnet", "convnet"] = "capsnet"
    """capsnet, or as a baseline of fine-tuning a plain convolutional network with as many parameters"""
    extra_convs: int = 5
    """convolutions before the primary capsules, 3 to 7; the capsule grid stays"""
    primary_types: int = 16
    """types of primary capsules at each place of the grid"""
    primary_dim: int = 8
    """dimension of a primary capsule's pose"""
    capsule_dim: int = 16
    """dimension of a class or latent capsule's pose"""
    ssl_capsules: int = 16
    """latent capsules of the self-supervised network"""
    routing: RoutingName = "dynamic"
    """how votes become class and latent capsules; see docs/routing.md"""
    routing_iterations: int = 3
    """iterations of the routings that iterate"""
    decoder_skips: bool = False
    """add the encoder's feature maps to the decoder's (the study did; the decoder can then bypass the capsules)"""
    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """what layers compute in; parameters are float32 (float64 for float64), fragile arithmetic at least float32"""


@dataclass(frozen=True)
class AugmentationConfig:
    crop_scale: tuple[float, float] = (0.6, 1.0)
    """range of the share of the picture's area that a random crop keeps"""
    flip: bool = True
    """mirror left to right at random"""
    rotation_degrees: float = 20.0
    """rotate by up to this angle either way; 180 where up and down mean nothing, as in endoscopy"""
    shear_degrees: float = 5.0
    """shear by up to this angle either way"""
    translation: float = 0.05
    """shift by up to this share of the side"""
    brightness: float = 0.2
    """strength of the random change of brightness"""
    contrast: float = 0.2
    """strength of the random change of contrast"""
    saturation: float = 0.2
    """strength of the random change of saturation"""
    hue: float = 0.02
    """strength of the random change of hue, in turns"""
    blur_probability: float = 0.2
    """how often a picture is blurred"""
    blur_sigma: tuple[float, float] = (0.1, 1.0)
    """range of the blur's standard deviation in pixels"""


@dataclass(frozen=True)
class InpaintConfig:
    """Hyper-parameters of `--task=inpaint`, where the study is silent chosen by us."""

    contrast_weight: float = 1.0
    """weight of NT-Xent; 0 switches it off"""
    inpaint_weight: float = 10.0
    """weight of the reconstruction of hidden regions; 0 switches it off"""
    ssl_stages: Literal["joint", "contrast-then-inpaint"] = "joint"
    """both terms together, or contrast for the first half of the run and in-painting for the second"""
    loss_weighting: Literal["fixed", "uncertainty"] = "fixed"
    """the terms' weights as given, or from there on learnt with the network (Kendall et al. 2018)"""
    temperature: float = 0.2
    """NT-Xent's temperature"""
    contrast_on: Literal["latent", "primary"] = "latent"
    """the capsules that NT-Xent compares"""
    projection_input: Literal["poses", "activations"] = "poses"
    """what of them the projection head reads"""
    projection_hidden: int = 128
    """hidden width of the projection head"""
    projection_dim: int = 64
    """dimension of the embeddings that NT-Xent compares"""
    mask: Literal["blocks", "free-form", "central"] = "blocks"
    """what is hidden: random blocks, random strokes, or the central quarter"""
    mask_fraction: float = 0.25
    """share of the picture hidden by random blocks or strokes"""
    masked_views: Literal["both", "one", "none"] = "both"
    """hide regions from both views of a picture, or show the second whole and in-paint the first alone; none: contrast
    alone"""
    visible_share: float = 0.1
    """share of the in-painting loss that is on the pixels the encoder saw"""
    reconstruction: Literal["l1", "l2"] = "l1"
    """absolute or squared error"""
    hidden_capsules: float = 0.0
    """share of the grid's places whose primary capsules are hidden from the latent capsules"""
    capsule_weight: float = 0.0
    """weight of predicting the poses of hidden primary capsules from the latent ones; 0 switches it off"""


@dataclass(frozen=True)
class ColouriseConfig:
    """Hyper-parameters of `--task=colourise`; docs/self-supervision.md says where they come from."""

    colour_loss: Literal["l1", "bins"] = "l1"
    """absolute error of colour with a perceptual term, or cross-entropy over 262 colours, rare ones weighed up"""
    perceptual_strength: float = 1.0
    """weight of the perceptual term beside the absolute error; 0 switches it off"""
    perceptual_weights: str | None = None
    """safetensors file of torchvision's VGG-16 for the perceptual term; a fixed random network where not given"""
    uniform_share: float = 0.5
    """share of the uniform distribution in the colours' frequencies; 1 weighs all colours alike"""
    decoding_temperature: float = 0.38
    """temperature of the mean that makes one colour of the probabilities of 262"""


@dataclass(frozen=True)
class ClassifyConfig:
    """Hyper-parameters of fine-tuning."""

    loss: Literal["spread", "margin", "cross-entropy"] = "spread"
    """spread loss, margin loss, or cross-entropy of scaled capsule norms"""
    reconstruction_weight: float = 0.0
    """weight of reconstructing the picture from the true class's capsule"""
    transfer_latent: bool = False
    """start the class capsules from the latent capsules too; their shapes must match"""
    freeze_epochs: float = 0.0
    """keep the encoder, restored or random, as it is for the first epochs"""


@dataclass(frozen=True)
class OptimizerConfig:
    lr: float = 1e-3
    """peak learning rate of AdamW"""
    weight_decay: float = 0.05
    """decoupled weight decay; not applied to biases and norms"""
    clip_norm: float = 1.0
    """gradients are scaled down to this global norm"""
    warmup: float = 0.1
    """share of the updates over which the learning rate rises"""
    final_lr: float = 0.01
    """learning rate of the last update, as a share of the peak"""
    lr_mult: str = ""
    """learning-rate multipliers by layer group, e.g. primary:3,routing:10"""


@dataclass(frozen=True)
class TrainingConfig:
    epochs: float = 20.0
    """passes over the training split; a fraction is fine"""
    batch_size: int = 64
    """images per micro-step; NT-Xent's negatives come from these alone"""
    effective_batch: int = 64
    """images per update, a multiple of --batch-size; gradients are accumulated"""
    sampling: Literal["auto", "shuffled", "balanced"] = "auto"
    """shuffled, or class-balanced with replacement (uses labels); auto: shuffled for ssl, balanced for finetune"""
    evaluate_every: float = 1.0
    """epochs between evaluations on the validation split (probes in ssl)"""
    best_metric: str = "balanced_accuracy"
    """fine-tuning keeps the checkpoint with the best validation value of this metric; none: the last one"""
    patience: int = 0
    """stop fine-tuning after this many evaluations without improvement; 0 never"""
    select_by_probe: bool = False
    """let the linear probe choose the SSL checkpoint (uses labels); off: the last one"""
    checkpoint_minutes: float = 1.0
    """minutes between checkpoints to resume from"""


@dataclass(frozen=True)
class MachineConfig:
    """Where a run computes; no part of what it computes."""

    coordinator: str | None = None
    """address:port of process 0, for a run on several hosts"""
    num_processes: int | None = None
    """processes in a run on several hosts"""
    process_id: int | None = None
    """this process's number, from 0"""


@dataclass(frozen=True)
class Config:
    stage: Stage = "ssl"
    """ssl: self-supervised pre-training; finetune: classification"""
    task: TaskName = "inpaint"
    """what ssl learns from: contrast of two views and in-painting, or the colours of a grey picture"""
    preset: str = "demo"
    """named starting point: tiny, demo, small64, vgg, paper224"""
    restore: str | None = None
    """run folder whose encoder is fine-tuned, with its data and architecture unless told otherwise; or
    FILE.safetensors or pretrained:NAME, an encoder with its architecture"""
    vgg_weights: str | None = None
    """safetensors file of torchvision's VGG-16: the stem of --preset=vgg starts from its kernels"""
    out: str | None = None
    """run folder; runs/ssl or runs/finetune where not given"""
    seed: int = 0
    """seed of parameters, sampling and augmentation"""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    inpaint: InpaintConfig = field(default_factory=InpaintConfig)
    colourise: ColouriseConfig = field(default_factory=ColouriseConfig)
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)


def uses_perceptual_network(config: Config) -> bool:
    """Whether a run has a perceptual loss, and so a use for `--perceptual-weights`."""
    colourise = config.colourise
    named = (config.stage, config.task, colourise.colour_loss) == ("ssl", "colourise", "l1")
    return named and colourise.perceptual_strength > 0


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain lists and dictionaries, as YAML and JSON hold it."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(cls: type[T], values: Mapping[str, Any], origin: str) -> T:
    """The dataclass `cls` from plain values; `origin` names where they come from in errors.

    Raises:
        UserError: an unknown key (the nearest known one is named) or a value of the wrong type.
    """
    # PyYAML reads 1e-3 as text (YAML 1.1 wants a dot): float() takes it.
    rules = dacite.Config(strict=True, cast=[tuple], type_hooks={float: _number})
    try:
        return dacite.from_dict(cls, values, rules)
    except dacite.UnexpectedDataError as error:
        unknown = sorted(error.keys)[0]
        # A name that is known, but in another section, is answered with its section.
        homes = _all_names(cls)
        close = difflib.get_close_matches(unknown, homes, n=1)
        hint = f"; did you mean {homes[close[0]]!r}?" if close else f"; known: {', '.join(homes.values())}"
        raise UserError(f"{origin}: unknown key {unknown!r}{hint}") from None
    except dacite.DaciteError as error:
        raise UserError(f"{origin}: {error}") from None


def _number(value: Any) -> Any:
    """A float where the value reads as one; anything else is left for dacite to refuse by its field's name."""
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


def yaml_text(config: Config) -> str:
    """The configuration as `--config` reads it."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds.

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
        raise UserError(f"configuration {path} should hold 'name: value' lines, found {type(values).__name__}")
    return values


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over`, mapping by mapping."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def identity(config: Config) -> dict[str, Any]:
    """What makes two runs the same run: everything but where it computes and where it writes."""
    plain = to_dict(config)
    for name in ("machine", "out"):
        plain.pop(name)
    for name in ("checkpoint_minutes",):
        plain["training"].pop(name)
    plain["data"].pop("cache_mb")
    return plain


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


def architecture_hash(config: Config, classes: int) -> str:
    """Twelve hexadecimal digits that two classifiers share if and only if their architecture is the same.

    The decoder and the latent capsules are no part of a classifier (unless it reconstructs), nor is the seed.
    """
    model = to_dict(config.model)
    model.pop("ssl_capsules")
    # What there was no choice of at first is in no hash of before there was.
    if config.model.architecture == "capsnet":
        model.pop("architecture")
    for stage in model["stem"]:
        if not stage["pooled"]:
            stage.pop("pooled")
    # A classifier's decoder never has skips.
    model["decoder_skips"] = False
    if config.classify.reconstruction_weight == 0:
        for name in ("decoder", "decoder_width", "decoder_skips"):
            model.pop(name)
    described = {
        "model": model,
        "image_size": config.data.image_size,
        "classes": classes,
        "loss_scale": config.classify.loss == "cross-entropy" and config.model.architecture == "capsnet",
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
