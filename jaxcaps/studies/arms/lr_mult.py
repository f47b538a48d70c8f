"""Contrast and in-painting; fine-tuning then learns faster in the capsules than in the stem."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm, as_given


def finetune(config: Config, classes: int) -> Config:
    return replace(config, optimizer=replace(config.optimizer, lr_mult="stem:0.3,primary:1,routing:3"))


ARM = Arm("contrast and in-painting, then faster capsules than stem", pretrain=as_given, finetune=finetune)
