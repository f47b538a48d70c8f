"""The preparation steps, one module each: its settings, its code, its place in the order and its line in the report.

To add a step, add a module that defines `STEP`. Its settings become flags and it appears in the report; no other file
changes.
"""

from functools import cache
from typing import Any

from data_prep.registry import Registry
from data_prep.steps.step import Step

STEPS: Registry[Step[Any]] = Registry("data_prep.steps", "STEP", what="preparation step", separator="_")


@cache
def in_order() -> tuple[Step[Any], ...]:
    """All steps in the order in which a picture goes through them."""
    return tuple(sorted(STEPS.values(), key=lambda step: (step.phase, step.order)))
