"""A plain convolutional network of the same size, trained by cross-entropy."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm


def finetune(config: Config, classes: int) -> Config:
    return replace(config, model=replace(config.model, architecture="convnet"))


ARM = Arm("plain convolutional network with as many parameters, cross-entropy", finetune=finetune, baseline=True)
