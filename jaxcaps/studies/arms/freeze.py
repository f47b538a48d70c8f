"""Contrast and in-painting; fine-tuning then keeps the encoder for five epochs."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm, as_given


def finetune(config: Config, classes: int) -> Config:
    return replace(config, classify=replace(config.classify, freeze_epochs=5.0))


ARM = Arm("contrast and in-painting, the encoder frozen for five epochs", pretrain=as_given, finetune=finetune)
