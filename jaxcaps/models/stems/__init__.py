"""Types of stem stages, by `--stem`.

Each module defines `STEM`. Called with (input channels, `StemStage`, `ModelConfig`, rngs), it makes one stage: a module
from feature maps [batch, height, width, channels] to feature maps of the side that `jaxcaps.models.geometry` computes.
"""

from collections.abc import Callable
from typing import Any

from data_prep.registry import Registry

STEMS: Registry[Callable[..., Any]] = Registry("jaxcaps.models.stems", "STEM", what="stem")
