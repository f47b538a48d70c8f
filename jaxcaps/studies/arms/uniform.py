"""Random initialisation; votes are averaged instead of routed."""

from dataclasses import replace

from jaxcaps.config import ROUTING_FIELDS, ModelConfig
from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm


def finetune(config: Config, classes: int) -> Config:
    defaults = {field: getattr(ModelConfig, field) for field in ROUTING_FIELDS}
    return replace(config, model=replace(config.model, routing="uniform", **defaults))


ARM = Arm("random initialisation, votes averaged", finetune=finetune, baseline=True)
