"""The steps that are on, in their order: on a frame that is inspected, and on a picture that is written."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from data_prep.config import Steps
from data_prep.steps import in_order
from data_prep.steps.step import Findings, Fit, Phase, Step

# Raised whenever a step changes its pixels: pictures that older code prepared are then prepared anew.
VERSION = 2


def steps_on(steps: Steps) -> list[Step[Any]]:
    """The steps that are on, in order."""
    return [step for step in in_order() if step.on(steps)]


def fit_of(steps: Steps) -> Fit[Any] | None:
    """The fit of the step that learns from the training frames, if one is on."""
    return next((step.fit for step in steps_on(steps) if step.fit is not None), None)


def look(raw: np.ndarray, findings: Findings, steps: Steps) -> tuple[Findings, np.ndarray]:
    """Runs the steps before the fit and collects what they find.

    Args:
        raw: uint8 RGB [height, width, 3].
        findings: what the source tells; the box is the whole picture.
        steps: the settings.

    Returns:
        The findings, and the picture as histograms count it.
    """
    image = raw
    for step in steps_on(steps):
        if step.phase == Phase.BEFORE_FIT:
            if step.find is not None:
                findings = step.find(raw, image, findings, steps)
            if step.apply is not None:
                image = step.apply(image, findings, steps)
    return findings, image


def stages(
    image: np.ndarray, findings: Findings, steps: Steps, reference: np.ndarray | None
) -> Iterator[tuple[str, np.ndarray]]:
    """Runs all steps. Yields the title of each and the picture after it, first "raw" and the picture itself.

    Args:
        image: uint8 RGB [height, width, 3].
        findings: of `look` on the same picture.
        steps: the settings.
        reference: int64 [3, 256], the reference histogram, or None for a frame that is not matched.
    """
    yield "raw", image
    for step in steps_on(steps):
        if step.fit is not None and reference is not None:
            image = step.fit.apply(image, findings, reference)
        elif step.apply is not None:
            image = step.apply(image, findings, steps)
        else:
            continue
        yield step.title, image


def inspection_key(steps: Steps) -> list[Any]:
    """What findings and histograms depend on: the settings of the steps before the fit and of the fit itself."""
    return [(one.switch, one.key(steps)) for one in steps_on(steps) if one.phase == Phase.BEFORE_FIT or one.fit]


def picture_key(steps: Steps) -> list[Any]:
    """What pictures depend on: the settings of all steps."""
    return [(step.switch, step.key(steps)) for step in steps_on(steps)]
