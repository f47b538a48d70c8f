"""Mask what an endoscope draws over its own picture: text, symbols and the guide picture.

They are shortcuts for a classifier (the hospital, the year, the device), and text may name the patient.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from data_prep.detection.field_of_view import field_of_view_mask
from data_prep.detection.guide import find_guide
from data_prep.detection.letters import WIDE, small_bright_parts
from data_prep.detection.text import find_text
from data_prep.images.box import Box, bounding_box, crop
from data_prep.images.channels import largest_channel
from data_prep.images.inpaint import fill_in
from data_prep.steps.step import Findings, Options, Phase, Step

DRAWN = 60
"""Contrast of what is drawn on the border, of 255."""

OUTSIDE = 3
"""Pixels beyond the edge of the field; nearer to it, the edge itself is blurred."""

LARGEST_SYMBOL = 0.08
"""Of the picture's shorter side."""

SMALLEST_SYMBOL = 0.03
"""Of the picture's shorter side, for a symbol within the field: letters there are found as lines."""

BLACK_GROUND = 40
"""Largest value of the black square below a symbol within the field."""

SYMBOL_GROUND = 0.01
"""How far that square reaches beyond the symbol, of the picture's shorter side."""


@dataclass(frozen=True)
class Overlays(Options):
    overlays: bool = False
    """find burnt-in text and guide boxes, and mask them"""


def find_overlays(image: np.ndarray) -> np.ndarray:
    """Everything drawn over a frame, or over a crop of it that keeps the dark corners of the field.

    Args:
        image: uint8 RGB [height, width, 3].

    Returns:
        bool [height, width]: the rectangles of lines of text, symbols that reach over the edge of the field, whatever
        else is bright outside the field, and the guide picture.
    """
    field = field_of_view_mask(image)
    found = find_text(image, field)
    if field is not None:
        found |= _drawn_on_border(image, field)
    guide = find_guide(image)
    if guide is not None:
        _fill(found, guide)
    return found


def mask_overlays(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Removes the overlays.

    Lines of text and symbols are filled in from around them. They are thin, so next to no trace is left; black bars in
    their place would be as good a shortcut as the text. Nothing under the mask is used: no letter can be read again.
    The guide picture becomes black like the border: filling it in would invent mucosa that nobody saw.

    Args:
        image: uint8 RGB [height, width, 3], with its overlays.
        mask: bool [height, width], as `find_overlays` returns it.

    Returns:
        uint8 RGB of the same shape; all black where the mask leaves nothing to fill in from.
    """
    if mask.all():
        return np.zeros_like(image)
    hidden = mask.copy()
    masked = image.copy()
    guide = find_guide(image)
    if guide is not None:
        black = np.zeros_like(mask)
        _fill(black, guide)
        black &= mask
        masked[black] = 0
        hidden &= ~black
    return fill_in(masked, hidden)


def _drawn_on_border(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Letters and symbols that reach outside the field, with the black ground below some of them."""
    found = np.zeros(field.shape, bool)
    beyond = cv2.dilate(field.astype(np.uint8), np.ones((2 * OUTSIDE + 1, 2 * OUTSIDE + 1), np.uint8)) == 0
    drawn = (small_bright_parts(image, WIDE) > DRAWN).astype(np.uint8)
    joined = cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, labels, parts, _ = cv2.connectedComponentsWithStats(joined)
    margin = max(2, round(SYMBOL_GROUND * min(field.shape)))
    largest, least = LARGEST_SYMBOL * min(field.shape), SMALLEST_SYMBOL * min(field.shape)
    brightest = largest_channel(image)
    reaching = set(np.unique(labels[beyond & (joined > 0)]).tolist())
    for number in range(1, count):
        left, top, width, height = (int(value) for value in parts[number, :4])
        box = Box(top, left, top + height, left + width)
        is_small = max(width, height) <= largest
        if is_small and min(width, height) >= least and _on_black(brightest, box):
            _fill(found, box, margin)
        elif number in reaching:
            # Of a highlight at the edge, only the part that the edge does not explain.
            part = box if is_small else bounding_box((labels == number) & beyond)
            if part is not None:
                _fill(found, part, margin)
    return found


def _on_black(brightest: np.ndarray, box: Box) -> bool:
    """Whether a symbol is drawn in thin lines on its own black ground: black shows within it and on three sides."""
    within = crop(brightest, box)
    beside = 3
    sides = (
        brightest[max(box.top - beside, 0) : box.top, box.left : box.right],
        brightest[box.bottom : box.bottom + beside, box.left : box.right],
        brightest[box.top : box.bottom, max(box.left - beside, 0) : box.left],
        brightest[box.top : box.bottom, box.right : box.right + beside],
    )
    black_sides = sum(side.size == 0 or float((side < BLACK_GROUND).mean()) >= 0.7 for side in sides)
    return bool((within < BLACK_GROUND).mean() >= 0.3) and black_sides >= 3


def _fill(mask: np.ndarray, box: Box, margin: int = 0) -> None:
    top, left = max(box.top - margin, 0), max(box.left - margin, 0)
    mask[top : box.bottom + margin, left : box.right + margin] = True


def find_masks(raw: np.ndarray, image: np.ndarray, findings: Findings, options: Overlays) -> Findings:
    """The overlays within the field of view, which loses what they blacken."""
    # Searched in the whole picture: a crop may cut off what distinguishes overlays from the scene.
    found = find_overlays(raw)
    overlay, view = crop(found, findings.box), findings.view
    if overlay.any():
        # What is filled in from around it is scene again; what becomes black is not.
        black = overlay & (mask_overlays(image, overlay).max(axis=2) == 0)
        view = ~black if view is None else view & ~black
    return findings._replace(view=view, overlay=overlay, overlay_share=float(found.mean()))


def _apply(image: np.ndarray, findings: Findings, options: Overlays) -> np.ndarray:
    assert findings.overlay is not None, "found before"
    return mask_overlays(image, findings.overlay)


STEP = Step(
    Overlays,
    title="overlays (text, guide boxes)",
    phase=Phase.BEFORE_FIT,
    order=20,
    find=find_masks,
    apply=_apply,
    private=find_overlays,
    line=lambda options, outcome: f"masked on {sum(one.overlay_share > 0 for one in outcome.found)} frames",
)
