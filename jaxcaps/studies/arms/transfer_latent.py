"""As `few-latent`; fine-tuning then starts its class capsules from the latent capsules."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm
from jaxcaps.studies.arms.few_latent import pretrain


def finetune(config: Config, classes: int) -> Config:
    return replace(config, classify=replace(config.classify, transfer_latent=True))


ARM = Arm(
    "as few-latent, its latent capsules handed on as class capsules",
    pretrain=pretrain,
    finetune=finetune,
    counts_classes=True,
)
