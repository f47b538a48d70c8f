"""Contrast in the first half of the pre-training, in-painting in the second."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm
from jaxcaps.tasks.pretraining.inpaint import InpaintConfig


def pretrain(config: Config, classes: int) -> Config:
    return config.with_options(replace(config.options(InpaintConfig), ssl_stages="contrast-then-inpaint"))


ARM = Arm("contrast first, then in-painting", pretrain=pretrain)
