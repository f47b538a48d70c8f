"""In-painting alone."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm
from jaxcaps.tasks.pretraining.inpaint import InpaintConfig


def pretrain(config: Config, classes: int) -> Config:
    return config.with_options(replace(config.options(InpaintConfig), contrast_weight=0.0))


ARM = Arm("in-painting alone", pretrain=pretrain)
