"""VGG-16's convolutions, learnt on ImageNet, as the stem."""

from jaxcaps.errors import UserError
from jaxcaps.plan.config import Config
from jaxcaps.studies.arms import Arm


def finetune(config: Config, classes: int) -> Config:
    if config.vgg_weights is None:
        raise UserError("--inits=imagenet: give --preset=vgg and --vgg-weights=FILE, VGG-16's weights")
    return config


ARM = Arm("stem of VGG-16's kernels (--preset=vgg --vgg-weights=FILE)", finetune=finetune, imagenet=True)
