"""Named configurations: the network, the picture size and the length of each stage."""

from collections.abc import Callable
from dataclasses import replace

from jaxcaps.config import (
    AugmentationConfig,
    Branch,
    Config,
    DataConfig,
    DecoderStage,
    ModelConfig,
    OptimizerConfig,
    Stage,
    StemStage,
    TrainingConfig,
)
from jaxcaps.errors import UserError, nearest

# An endoscope has no up and down.
ENDOSCOPY = AugmentationConfig(rotation_degrees=180.0)


def _small_stem(first: int, second: int, rest: int) -> tuple[StemStage, ...]:
    """Three strided stages bring the picture to an eighth; the rest work at the capsule grid, where it is cheap."""
    return (
        StemStage(first, kernel=5, stride=2, padding=2),
        StemStage(second, stride=2),
        StemStage(rest, stride=2),
        StemStage(rest),
        StemStage(rest),
    )


SMALL_DECODER = (DecoderStage(2, kernel=4, skip=True), DecoderStage(1, kernel=4, skip=True), DecoderStage(0, kernel=4))


def _staged(stage: Stage, ssl: Config, finetune_training: TrainingConfig) -> Config:
    if stage == "ssl":
        return ssl
    # Fine-tuning keeps more of the picture than contrast does: a crop that misses the lesion has the wrong label.
    milder = replace(ssl.augmentation, crop_scale=(0.8, 1.0), brightness=0.1, contrast=0.1, saturation=0.1)
    return replace(ssl, stage="finetune", augmentation=milder, training=finetune_training)


def tiny(stage: Stage) -> Config:
    """For tests: seconds to compile, learns little."""
    ssl = Config(
        preset="tiny",
        data=DataConfig(image_size=16, synthetic_count=60),
        model=ModelConfig(
            stem=_small_stem(8, 8, 16), decoder=SMALL_DECODER, decoder_width=16, primary_types=4, ssl_capsules=4
        ),
        training=TrainingConfig(epochs=2, batch_size=16, effective_batch=16),
    )
    return _staged(stage, ssl, replace(ssl.training, epochs=2))


def demo(stage: Stage) -> Config:
    """The built-in images in minutes on two cores."""
    ssl = Config(
        preset="demo",
        model=ModelConfig(stem=_small_stem(32, 48, 96), decoder=SMALL_DECODER, decoder_width=96, ssl_capsules=8),
        augmentation=ENDOSCOPY,
        training=TrainingConfig(epochs=40, evaluate_every=5),
    )
    return _staged(stage, ssl, TrainingConfig(epochs=60))


def small64(stage: Stage) -> Config:
    """Real images at 64x64 on a CPU or a modest GPU: 1024 primary capsules, over a million parameters."""
    ssl = Config(
        preset="small64",
        data=DataConfig(image_size=64),
        model=ModelConfig(stem=_small_stem(32, 64, 160), decoder=SMALL_DECODER, decoder_width=128),
        training=TrainingConfig(epochs=40, evaluate_every=5),
    )
    return _staged(stage, ssl, TrainingConfig(epochs=30))


def vgg(stage: Stage) -> Config:
    """VGG-16's first convolutions as the stem, for `--vgg-weights`: all seven with `--extra-convs=7`."""
    ssl = Config(
        preset="vgg",
        model=ModelConfig(
            stem=(
                StemStage(64),
                StemStage(64),
                StemStage(128, pooled=True),
                StemStage(128),
                StemStage(256, pooled=True),
            ),
            # Its kernels were learnt without any.
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
    return _staged(stage, ssl, replace(ssl.training, epochs=30))


def paper224(stage: Stage) -> Config:
    """The reference study's network as far as it can be reconstructed (El-Shimy et al. 2025, arXiv 2502.04748)."""
    ssl = Config(
        preset="paper224",
        data=DataConfig(image_size=224),
        model=ModelConfig(
            stem=(
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
            # The kernel from 102 to 212 is not known: 9 covers the branches' widest.
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
    return _staged(stage, ssl, replace(ssl.training, epochs=100))


PRESETS: dict[str, Callable[[Stage], Config]] = {
    "tiny": tiny,
    "demo": demo,
    "small64": small64,
    "vgg": vgg,
    "paper224": paper224,
}


def preset(name: str, stage: Stage) -> Config:
    """The named preset for one stage.

    Raises:
        UserError: no such preset; the nearest name is given.
    """
    if name not in PRESETS:
        raise UserError(f"--preset={name}: unknown preset{nearest(name, tuple(PRESETS))}")
    return PRESETS[name](stage)
