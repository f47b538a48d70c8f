"""The presets, one module each: the settings that flags start from. The first line of a module is its description."""

from typing import TYPE_CHECKING

from data_prep.registry import Registry

if TYPE_CHECKING:
    from data_prep.config import Steps

PRESETS: "Registry[Steps]" = Registry("data_prep.presets", "PRESET", what="preset")
