"""Named configurations: the network, the picture size and the length of each stage.

Each module defines `PRESET`, a function from a stage to its configuration, and says in its docstring what it is for
and what it was measured on.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from data_prep.registry import Registry
from jaxcaps.config import AugmentationConfig, ClassifyConfig, DecoderStage, Stage, StemStage, TrainingConfig
from jaxcaps.plan.config import Config
from jaxcaps.tasks.pretraining.inpaint import InpaintConfig

PRESETS: Registry[Callable[[Stage], Config]] = Registry("jaxcaps.plan.presets", "PRESET", what="preset")

# An endoscope has no up and down.
ENDOSCOPY = AugmentationConfig(rotation_degrees=180.0)
SMALL_DECODER = (DecoderStage(2, kernel=4, skip=True), DecoderStage(1, kernel=4, skip=True), DecoderStage(0, kernel=4))


def preset(name: str, stage: Stage) -> Config:
    """The named preset for one stage.

    Raises:
        UserError: no such preset; the nearest name is given.
    """
    return replace(PRESETS.find(name, "--preset")(stage), preset=name, stage=stage)


def small_stem(first: int, second: int, rest: int) -> tuple[StemStage, ...]:
    """Three strided stages bring the picture to an eighth; the rest work at the capsule grid, where it is cheap."""
    return (
        StemStage(first, kernel=5, stride=2, padding=2),
        StemStage(second, stride=2),
        StemStage(rest, stride=2),
        StemStage(rest),
        StemStage(rest),
    )


def staged(stage: Stage, ssl: Config, **finetune: Any) -> Config:
    """The pre-training, or the fine-tuning that differs from it in these parts and in milder augmentation."""
    if stage == "ssl":
        return ssl
    # Fine-tuning keeps more of the picture than contrast does: a crop that misses the lesion has the wrong label.
    milder = replace(ssl.augmentation, crop_scale=(0.8, 1.0), brightness=0.1, contrast=0.1, saturation=0.1)
    return replace(ssl, augmentation=milder, **finetune)


def measured_best(stage: Stage, ssl: Config) -> Config:
    """The recipe that measured best on small medical sets, see `small64`; the network and the length are as given."""
    strong = replace(ssl.augmentation, crop_scale=(0.35, 1.0), brightness=0.3, contrast=0.3)
    ssl = replace(ssl, augmentation=strong).with_options(InpaintConfig(contrast_on="primary", masked_views="one"))
    return staged(
        stage,
        ssl,
        classify=ClassifyConfig(loss="margin"),
        training=TrainingConfig(epochs=60, batch_size=32, effective_batch=32),
    )
