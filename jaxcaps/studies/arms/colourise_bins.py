"""Colourisation as classification: each pixel's colour is one of 262 bins."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm
from jaxcaps.tasks.pretraining.colourise import ColouriseConfig


def pretrain(config: Config, classes: int) -> Config:
    options = replace(config.options(ColouriseConfig), colour_loss="bins")
    return replace(config, task="colourise").with_options(options)


ARM = Arm("colourisation as classification of bins", pretrain=pretrain)
