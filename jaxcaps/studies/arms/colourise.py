"""Colourisation by absolute error and, unless switched off, a perceptual loss."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm


def pretrain(config: Config, classes: int) -> Config:
    return replace(config, task="colourise")


ARM = Arm("colourisation, absolute error and perceptual loss", pretrain=pretrain)
