"""Contrast and in-painting through one latent capsule per class."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm


def pretrain(config: Config, classes: int) -> Config:
    return replace(config, model=replace(config.model, ssl_capsules=classes))


ARM = Arm("contrast and in-painting through one latent capsule per class", pretrain=pretrain, counts_classes=True)
