"""Contrast and in-painting, and the poses of hidden primary capsules are predicted."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm
from jaxcaps.tasks.pretraining.inpaint import InpaintConfig


def pretrain(config: Config, classes: int) -> Config:
    return config.with_options(replace(config.options(InpaintConfig), hidden_capsules=0.5, capsule_weight=1.0))


ARM = Arm("contrast and in-painting, half of the primary capsules hidden and to be predicted", pretrain=pretrain)
