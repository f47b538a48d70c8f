"""Contrast and in-painting with the encoder's feature maps added to the decoder's."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm


def pretrain(config: Config, classes: int) -> Config:
    return replace(config, model=replace(config.model, decoder_skips=True))


ARM = Arm("contrast and in-painting, decoder with skips", pretrain=pretrain)
