"""How the stages of the stem are built, by `--stem`.

Each module defines `STEM`: called with (in channels, `StemStage`, `ModelConfig`, rngs), it makes one stage, a module
from feature maps [batch, height, width, channels] to feature maps of the side that `jaxcaps.models.geometry` expects.
"""

from collections.abc import Callable
from typing import Any

from data_prep.registry import Registry

STEMS: Registry[Callable[..., Any]] = Registry("jaxcaps.models.stems", "STEM", what="stem")
