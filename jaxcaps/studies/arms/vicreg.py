"""VICReg (Bardes, Ponce and LeCun 2022) on the primary capsules."""

from dataclasses import replace

from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm


def pretrain(config: Config, classes: int) -> Config:
    return replace(config, task="vicreg")


ARM = Arm("variance, invariance and covariance of two views (VICReg)", pretrain=pretrain)
