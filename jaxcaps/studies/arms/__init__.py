"""The arms of a study: how a classifier is initialised, or what the others are measured against.

An arm is one file, whose `ARM` changes the configuration of each stage. All arms share the rest: data, preset, seeds
and the length of fine-tuning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from data_prep.registry import Registry

if TYPE_CHECKING:
    from jaxcaps.plan.config import Config

# From the study's configuration of a stage, and the number of classes, to the arm's.
Change = Callable[["Config", int], "Config"]


def as_given(config: Config, classes: int) -> Config:
    """The study's configuration unchanged."""
    return config


@dataclass(frozen=True)
class Arm:
    """
    Attributes:
        about: a few words for the table.
        pretrain: makes the configuration of the pre-training; None if the arm has none.
        finetune: makes the configuration of the fine-tuning.
        reference: the arm that it is compared with.
        baseline: it may differ from its reference in architecture and number of steps.
        counts_classes: `pretrain` or `finetune` reads the number of classes, which is 0 if no arm of a study does.
        imagenet: its stem starts from the study's `--vgg-weights`.
        longer: fine-tune for as many epochs, or seconds, as pre-training and fine-tuning take together.
        pixels: a classifier on small pictures in place of a network: from a seed to an estimator of scikit-learn.
    """

    about: str
    pretrain: Change | None = None
    finetune: Change = as_given
    reference: str = "random"
    baseline: bool = False
    counts_classes: bool = False
    imagenet: bool = False
    longer: Literal["", "epochs", "seconds"] = ""
    pixels: Callable[[int], Any] | None = None


ARMS: Registry[Arm] = Registry("jaxcaps.studies.arms", "ARM", what="initialisation")
