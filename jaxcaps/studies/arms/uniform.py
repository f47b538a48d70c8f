"""Random initialisation; votes are averaged instead of routed."""

from dataclasses import replace

from jaxcaps.config import ModelConfig
from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm


def finetune(config: Config, classes: int) -> Config:
    model = replace(config.model, routing="uniform", routing_iterations=ModelConfig.routing_iterations)
    return replace(config, model=model)


ARM = Arm("random initialisation, votes averaged", finetune=finetune, baseline=True)
