"""The configuration of a run, and the identity of runs and of architectures."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import yaml
from annotated_types import Interval

from jaxcaps.config import (
    AugmentationConfig,
    ClassifyConfig,
    DataConfig,
    IsPath,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    Stage,
    TrainingConfig,
    choice,
    from_dict,
    to_dict,
)
from jaxcaps.tasks import CLASSIFICATION_TASKS, PRETRAINING_TASKS, Task

S = TypeVar("S")


@dataclass(frozen=True)
class _Common:
    stage: Stage = "ssl"
    """ssl: self-supervised pre-training; finetune: classification"""
    task: Annotated[
        str,
        choice("jaxcaps.tasks.pretraining", "TASK", "self-supervised task; see docs/explanation/self-supervision.md"),
    ] = "inpaint"
    preset: Annotated[str, choice("jaxcaps.plan.presets", "PRESET", "named starting point")] = "demo"
    restore: str | None = None
    """run folder whose encoder is fine-tuned or pre-trained further, by default with the same data and architecture; or
    FILE.jaxcaps, a run as one file; or FILE.safetensors or pretrained:NAME, an encoder with its architecture; none:
    random parameters, whatever --config says"""
    vgg_weights: Annotated[str | None, IsPath()] = None
    """safetensors file of torchvision's VGG-16, whose kernels initialise the stem of --preset=vgg"""
    out: str | None = None
    """run folder; default: runs/ssl or runs/finetune"""
    seed: Annotated[int, Interval(ge=-(2**31), le=2**31 - 1)] = 0
    """seed of parameters, sampling and augmentation"""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def options(self, kind: type[S]) -> S:
        """Returns the settings of a pre-training task, given their type."""
        return next(value for value in vars(self).values() if type(value) is kind)

    def with_options(self, options: Any) -> "Config":
        """Returns the configuration with these settings in place of those of the same pre-training task."""
        (name,) = (name for name, value in vars(self).items() if type(value) is type(options))
        changed: Config = dataclasses.replace(self, **{name: options})  # type: ignore[assignment]
        return changed


if TYPE_CHECKING:

    class Config(_Common):
        """Configuration of a run: common sections, and one section per pre-training task, named after the task."""
else:
    Config = dataclasses.make_dataclass(
        "Config",
        [
            (name.replace("-", "_"), task.settings, field(default_factory=task.settings))
            for name, task in PRETRAINING_TASKS.items()
        ],
        bases=(_Common,),
        frozen=True,
        namespace={
            "__module__": __name__,
            "__doc__": "Configuration of a run: common sections and one section per task.",
        },
    )


def recorded_config(values: Mapping[str, Any], origin: str) -> Config:
    """The configuration that a run or an encoder recorded.

    It has a section for each task that was installed there. Sections of tasks that are not installed here are dropped.

    Args:
        values: plain values, as of `to_dict`.
        origin: names their source in errors.

    Raises:
        UserError: as `from_dict`.
    """
    known = {each.name for each in dataclasses.fields(Config)}
    kept = {name: value for name, value in values.items() if name in known or not isinstance(value, Mapping)}
    return from_dict(Config, kept, origin)


def task_of(config: Config) -> type[Task]:
    """Returns the task of a run: `--task` in pre-training, or the classifier of `--architecture` in fine-tuning.

    Raises:
        UserError: the task or architecture is unknown.
    """
    if config.stage == "ssl":
        return PRETRAINING_TASKS.find(config.task, "--task")
    return CLASSIFICATION_TASKS.find(config.model.architecture, "--architecture")


def with_paths(config: S, change: Callable[[str], str]) -> S:
    """Returns the configuration with `change` applied to every file path in all its sections."""
    changes: dict[str, Any] = {name: change(path) for name, path in paths_of(config).items()}
    for name, value in vars(config).items():
        if dataclasses.is_dataclass(value):
            changes[name] = with_paths(value, change)
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def start_of(config: Config) -> str:
    """What the parameters of a run start from, in words."""
    if config.restore is not None:
        return f"the encoder of {config.restore}" if config.stage == "finetune" else config.restore
    if config.vgg_weights is not None:
        return f"{config.vgg_weights} in the stem and random initialisation elsewhere"
    return "random initialisation"


def without_folders(config: Config) -> Config:
    """The configuration as others may see it: its paths, which may be private, lose the folders above them."""
    from jaxcaps.data.sources import anonymous

    data = dataclasses.replace(config.data, data=anonymous(config.data.data))
    out, restore = (value and Path(value).name for value in (config.out, config.restore))
    named = with_paths(dataclasses.replace(config, data=data), lambda path: Path(path).name)
    return dataclasses.replace(named, out=out, restore=restore)


def shareable(config: Config) -> dict[str, Any]:
    """Plain values of `without_folders`, for a file that leaves this machine: it belongs to no run folder."""
    return to_dict(without_folders(config)) | {"out": None}


def paths_of(section: Any) -> dict[str, str]:
    """Returns the file paths in a section of the configuration, by field name."""
    hints = get_type_hints(type(section), include_extras=True)
    marked = [name for name, hint in hints.items() if IsPath in map(type, getattr(hint, "__metadata__", ()))]
    return {name: getattr(section, name) for name in marked if getattr(section, name) is not None}


def yaml_text(config: Config) -> str:
    """The configuration as YAML, as `--config` reads it."""
    return yaml.safe_dump(to_dict(config), sort_keys=False)


def identity(config: Config) -> dict[str, Any]:
    """The values that identify a run: everything except the machine, the output folder and caching."""
    plain = to_dict(config)
    for name in ("machine", "out"):
        plain.pop(name)
    plain["training"].pop("checkpoint_minutes")
    plain["data"].pop("cache_mb")
    return plain


def architecture_hash(config: Config, classes: int) -> str:
    """Returns a hash of twelve hexadecimal digits, equal for classifiers of the same architecture.

    The latent capsules and the seed are not part of a classifier. The decoder is only part of one that reconstructs.
    """
    model = to_dict(config.model)
    model.pop("ssl_capsules")
    # A classifier's decoder never has skips.
    model["decoder_skips"] = False
    if config.classify.reconstruction_weight == 0:
        for name in ("decoder", "decoder_width", "decoder_skips"):
            model.pop(name)
    capsules = CLASSIFICATION_TASKS[config.model.architecture].capsules
    described = {
        "model": model,
        "image_size": config.data.image_size,
        "classes": classes,
        "loss_scale": config.classify.loss == "cross-entropy" and capsules,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]
