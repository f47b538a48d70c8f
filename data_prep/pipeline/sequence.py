"""The steps in their order, as two halves of a pipeline.

    reveal: borders, overlays, denoise      what a picture shows, found from itself alone
    finish: match, CLAHE, highlights, resize      after the reference histogram was fitted on all training frames

Each half is a generator of (step, picture), so that a report can show what each step did.
"""

import collections
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_prep.config import Steps
from data_prep.detection.field_of_view import field_of_view_mask
from data_prep.images.box import Box, bounding_box, crop
from data_prep.steps.clahe import equalise
from data_prep.steps.denoise import denoise
from data_prep.steps.highlights import remove_highlights
from data_prep.steps.match import ReferenceHistogram, match_histogram
from data_prep.steps.overlays import find_overlays, mask_overlays
from data_prep.steps.resize import resize

# Raised whenever a step changes its pixels: what older code prepared is then prepared anew.
VERSION = 1


class Field(NamedTuple):
    """Where a picture shows something.

    Attributes:
        box: the field of view, or the whole picture.
        border: how it was found: "void" (mask), "picture", "nothing found" or "not looked for".
        view: bool [height, width] of the box: the scene, without dark corners and blackened overlays; None for all of
            the box.
        overlay: bool [height, width] of the box: text and guide boxes; None where not looked for.
        overlay_share: the part of the whole picture that overlays cover.
    """

    box: Box
    border: str
    view: np.ndarray | None
    overlay: np.ndarray | None
    overlay_share: float


def find_field(image: np.ndarray, void: np.ndarray | None, steps: Steps) -> Field:
    """Finds border and overlays.

    Args:
        image: uint8 RGB [height, width, 3].
        void: [height, width], not 0 on the border; None where there is no void mask.
        steps: which of the two to look for.
    """
    whole = Box(0, 0, *image.shape[:2])
    box: Box | None = whole
    border, view = "not looked for", None
    if steps.borders:
        border = "picture" if void is None else "void"
        view = field_of_view_mask(image) if void is None else void == 0
        box = None if view is None else bounding_box(view)
        view = None if view is None or box is None else crop(view, box)
    if box is None:
        box, border = whole, "nothing found"
    if not steps.overlays:
        return Field(box, border, view, None, 0.0)
    # Overlays are looked for in the whole picture: a crop may cut what tells them from the scene.
    found = find_overlays(image)
    overlay = crop(found, box)
    if overlay.any():
        # What was filled in from around it is scene again; what was made black is not.
        black = overlay & (mask_overlays(crop(image, box), overlay).max(axis=2) == 0)
        view = ~black if view is None else view & ~black
    return Field(box, border, view, overlay, float(found.mean()))


def reveal(image: np.ndarray, field: Field, steps: Steps) -> Iterator[tuple[str, np.ndarray]]:
    """The first half, step by step; the first is the picture as it was."""
    yield "raw", image
    image = crop(image, field.box)
    if steps.borders:
        yield "borders", image
    if field.overlay is not None:
        image = mask_overlays(image, field.overlay)
        yield "overlays", image
    if steps.denoise:
        image = denoise(image, steps.denoise_sigma)
        yield "denoise", image


def finish(
    image: np.ndarray, field: Field, steps: Steps, reference: ReferenceHistogram | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The second half, step by step; `reference` is None for a frame that is not matched. The first is `image`."""
    yield "revealed", image
    if reference is not None:
        image = match_histogram(image, reference, field.view)
        yield "match", image
    if steps.clahe:
        image = equalise(image, steps.clip_limit, steps.tiles, field.view)
        yield "CLAHE", image
    if steps.highlights:
        image = remove_highlights(image)
        yield "highlights", image
    if steps.resize:
        image = resize(image, steps.size, steps.fit)
        yield "resize", image


def last(steps: Iterator[tuple[str, np.ndarray]]) -> np.ndarray:
    """The picture after the last step."""
    return collections.deque(steps, maxlen=1)[0][1]
