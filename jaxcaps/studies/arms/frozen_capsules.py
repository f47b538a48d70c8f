"""Contrast and in-painting; primary and latent capsules stay as initialised."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm


def pretrain(config: Config, classes: int) -> Config:
    return replace(config, optimizer=replace(config.optimizer, lr_mult="primary:0,routing:0"))


ARM = Arm("contrast and in-painting, primary and latent capsules as initialised", pretrain=pretrain)
