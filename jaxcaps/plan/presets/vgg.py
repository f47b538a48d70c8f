"""The first convolutions of VGG-16 as the stem, for `--vgg-weights`; all seven with `--extra-convs=7`."""

from dataclasses import replace

from jaxcaps.config import DecoderStage, ModelConfig, OptimizerConfig, Stage, StemStage, TrainingConfig
from jaxcaps.plan.config import Config
from jaxcaps.plan.presets import ENDOSCOPY, staged


def vgg(stage: Stage) -> Config:
    ssl = Config(
        model=ModelConfig(
            stages=(
                StemStage(64),
                StemStage(64),
                StemStage(128, pooled=True),
                StemStage(128),
                StemStage(256, pooled=True),
            ),
            # VGG-16's kernels were trained without normalisation.
            normalization="none",
            primary_stride=2,
            decoder=(DecoderStage(5, kernel=4, skip=True), DecoderStage(3, kernel=4, skip=True), DecoderStage(0, 4)),
            decoder_width=96,
            ssl_capsules=8,
        ),
        augmentation=ENDOSCOPY,
        optimizer=OptimizerConfig(lr=3e-4),
        training=TrainingConfig(epochs=40, evaluate_every=5),
    )
    return staged(stage, ssl, training=replace(ssl.training, epochs=30))


PRESET = vgg
