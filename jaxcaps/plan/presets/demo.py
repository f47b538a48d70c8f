"""For the built-in images: 48x48 pictures, 576 primary capsules, minutes on two cores.

The recipe is that of `small64`, the best measured on small medical sets, with full rotation for endoscopy.
"""

from jaxcaps.config import ModelConfig, Stage, TrainingConfig
from jaxcaps.plan.config import Config
from jaxcaps.plan.presets import ENDOSCOPY, SMALL_DECODER, measured_best, small_stem


def demo(stage: Stage) -> Config:
    return measured_best(
        stage,
        Config(
            model=ModelConfig(stages=small_stem(32, 48, 96), decoder=SMALL_DECODER, decoder_width=96, ssl_capsules=8),
            augmentation=ENDOSCOPY,
            training=TrainingConfig(epochs=40, evaluate_every=5),
        ),
    )


PRESET = demo
