"""The presets, one module each: the settings that flags start from. The first line of a module is its description."""

from typing import Any

from data_prep.registry import Registry

PRESETS: Registry[Any] = Registry("data_prep.presets", "PRESET", what="preset")
