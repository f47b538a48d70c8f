"""For real images at 64x64 on a CPU or a modest GPU: 1,024 primary capsules, over a million parameters.

This recipe scored best on the validation splits of a breast ultrasound set (468 pictures) and of a chest X-ray set with
471 labels (docs/results). Pre-training uses a contrastive loss on the primary capsules, one masked view and strong
crops; fine-tuning uses the margin loss and batches of 32. With a few hundred pictures, pre-train for 240 epochs, and
fine-tune a restored encoder with `--lr-mult=stem:0.1,primary:0.1`.
"""

from jaxcaps.config import DataConfig, ModelConfig, Stage, TrainingConfig
from jaxcaps.plan.config import Config
from jaxcaps.plan.presets import SMALL_DECODER, measured_best, small_stem


def small64(stage: Stage) -> Config:
    return measured_best(
        stage,
        Config(
            data=DataConfig(image_size=64),
            model=ModelConfig(stages=small_stem(32, 64, 160), decoder=SMALL_DECODER, decoder_width=128),
            training=TrainingConfig(epochs=40, evaluate_every=5),
        ),
    )


PRESET = small64
