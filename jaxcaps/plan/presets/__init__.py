"""Presets: the network, the image size and the training length of each stage.

Each module defines `PRESET`, a function from a stage to its configuration. Its docstring states its purpose and the
data it was measured on.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from data_prep.registry import Registry
from jaxcaps.config import AugmentationConfig, ClassifyConfig, DecoderStage, Stage, StemStage, TrainingConfig
from jaxcaps.plan.config import Config
from jaxcaps.tasks.pretraining.inpaint import InpaintConfig

PRESETS: Registry[Callable[[Stage], Config]] = Registry("jaxcaps.plan.presets", "PRESET", what="preset")

# Endoscopic images have no canonical orientation.
ENDOSCOPY = AugmentationConfig(rotation_degrees=180.0)
SMALL_DECODER = (DecoderStage(2, kernel=4, skip=True), DecoderStage(1, kernel=4, skip=True), DecoderStage(0, kernel=4))


def preset(name: str, stage: Stage) -> Config:
    """Returns the named preset for one stage.

    Raises:
        UserError: the preset is unknown. The message suggests the nearest name.
    """
    return replace(PRESETS.find(name, "--preset")(stage), preset=name, stage=stage)


def small_stem(first: int, second: int, rest: int) -> tuple[StemStage, ...]:
    """Three strided stages reduce the picture to an eighth; the rest run at the resolution of the capsule grid."""
    return (
        StemStage(first, kernel=5, stride=2, padding=2),
        StemStage(second, stride=2),
        StemStage(rest, stride=2),
        StemStage(rest),
        StemStage(rest),
    )


def staged(stage: Stage, ssl: Config, **finetune: Any) -> Config:
    """The configuration of a stage. Fine-tuning replaces these sections and uses milder augmentation."""
    if stage == "ssl":
        return ssl
    # Crops are larger than in pre-training, because a crop that misses the lesion has the wrong label.
    milder = replace(ssl.augmentation, crop_scale=(0.8, 1.0), brightness=0.1, contrast=0.1, saturation=0.1)
    return replace(ssl, augmentation=milder, **finetune)


def measured_best(stage: Stage, ssl: Config) -> Config:
    """The best measured recipe on small medical sets (see `small64`), with the given network and length."""
    strong = replace(ssl.augmentation, crop_scale=(0.35, 1.0), brightness=0.3, contrast=0.3)
    ssl = replace(ssl, augmentation=strong).with_options(InpaintConfig(contrast_on="primary", masked_views="one"))
    return staged(
        stage,
        ssl,
        classify=ClassifyConfig(loss="margin"),
        training=TrainingConfig(epochs=60, batch_size=32, effective_batch=32),
    )
