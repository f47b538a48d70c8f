"""The reference study's network as far as it can be reconstructed (El-Shimy et al. 2025, arXiv 2502.04748)."""

from dataclasses import replace

from jaxcaps.config import (
    Branch,
    DataConfig,
    DecoderStage,
    ModelConfig,
    OptimizerConfig,
    Stage,
    StemStage,
    TrainingConfig,
)
from jaxcaps.plan.config import Config
from jaxcaps.plan.presets import ENDOSCOPY, staged


def paper224(stage: Stage) -> Config:
    ssl = Config(
        data=DataConfig(image_size=224),
        model=ModelConfig(
            stages=(
                StemStage(64, kernel=9, padding=0),
                StemStage(128, kernel=7, padding=1),
                StemStage(
                    128,
                    stride=2,
                    branches=(
                        Branch(42, kernel=3, padding=2, dilation=2),
                        Branch(42, kernel=3, padding=1),
                        Branch(44, kernel=9, padding=4),
                    ),
                ),
                StemStage(128, kernel=5, padding=0),
                StemStage(256, kernel=3, stride=2, padding=0),
            ),
            normalization="none",
            primary_kernel=5,
            primary_stride=2,
            primary_padding=1,
            primary_types=32,
            # The kernel from 102 to 212 is unknown; 9 covers the widest branch.
            decoder=(
                DecoderStage(5, kernel=5),
                DecoderStage(4, kernel=3, skip=True),
                DecoderStage(2, kernel=9, skip=True),
                DecoderStage(1, kernel=7, skip=True),
                DecoderStage(0, kernel=9),
            ),
            decoder_width=256,
            decoder_skips=True,
        ),
        augmentation=ENDOSCOPY,
        optimizer=OptimizerConfig(lr=1e-4),
        training=TrainingConfig(epochs=200, batch_size=16, evaluate_every=10),
    )
    return staged(stage, ssl, training=replace(ssl.training, epochs=100))


PRESET = paper224
