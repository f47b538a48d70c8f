"""Contrast and in-painting on class-balanced batches, which uses labels."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm


def pretrain(config: Config, classes: int) -> Config:
    return replace(config, training=replace(config.training, sampling="balanced"))


ARM = Arm("contrast and in-painting, class-balanced (uses labels)", pretrain=pretrain)
