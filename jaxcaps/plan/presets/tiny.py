"""For tests: 16x16 pictures, compiles in seconds, learns little."""

from jaxcaps.config import DataConfig, ModelConfig, Stage, TrainingConfig
from jaxcaps.plan.config import Config
from jaxcaps.plan.presets import SMALL_DECODER, small_stem, staged


def tiny(stage: Stage) -> Config:
    ssl = Config(
        data=DataConfig(image_size=16, synthetic_count=60),
        model=ModelConfig(
            stages=small_stem(8, 8, 16), decoder=SMALL_DECODER, decoder_width=16, primary_types=4, ssl_capsules=4
        ),
        training=TrainingConfig(epochs=2, batch_size=16, effective_batch=16),
    )
    return staged(stage, ssl)


PRESET = tiny
