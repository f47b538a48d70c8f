"""Crop to the field of view: the border tells the hospital, not the tissue."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from data_prep.detection.field_of_view import field_of_view_mask
from data_prep.images.box import bounding_box, crop
from data_prep.steps.step import Doubt, Findings, Options, Phase, Step


@dataclass(frozen=True)
class Borders(Options):
    borders: bool = False
    """cut off the black border, by the void mask if there is one, else as found in the picture"""


def find_field(raw: np.ndarray, image: np.ndarray, findings: Findings, options: Borders) -> Findings:
    """The box and the mask of the field of view; the whole picture if nothing is found."""
    border, view = ("picture", field_of_view_mask(raw)) if findings.void is None else ("void", ~findings.void)
    box = None if view is None else bounding_box(view)
    if view is None or box is None:
        return findings._replace(border="nothing found")
    return findings._replace(box=box, border=border, view=crop(view, box))


STEP = Step(
    Borders,
    title="borders",
    phase=Phase.BEFORE_FIT,
    order=10,
    find=find_field,
    apply=lambda image, findings, options: crop(image, findings.box),
    changes_size=True,
    needs_void=True,
    doubt=Doubt("no border found", lambda inspection: inspection.border == "nothing found"),
    line=lambda options, outcome: ", ".join(
        f"{name}: {count}" for name, count in sorted(Counter(one.border for one in outcome.found).items())
    ),
)
