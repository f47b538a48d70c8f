"""Contrast alone (NT-Xent): no picture is masked."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm
from jaxcaps.tasks.pretraining.inpaint import InpaintConfig


def pretrain(config: Config, classes: int) -> Config:
    return config.with_options(replace(config.options(InpaintConfig), inpaint_weight=0.0, masked_views="none"))


ARM = Arm("contrast alone (NT-Xent)", pretrain=pretrain)
