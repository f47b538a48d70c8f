"""Guess white light or narrow band from the colour, where no record tells it.

Under white light mucosa is red: blood absorbs green and blue. Narrow-band imaging lights with 415 and 540 nm only and
shows tissue in browns and greens, with red about equal to green. So the guess is based on the ratio of red to green of
the median pixel. No real narrow-band frames were at hand to test it. A record, such as a CSV, takes precedence.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.images.channels import largest_channel
from data_prep.sources.listing import Modality
from data_prep.steps.step import Doubt, Findings, Options, Phase, Step

BOUNDARY = 1.3
"""Red over green. The 29 real white-light frames have 1.67 to 2.76. The built-in drawings have 1.45 to 2.02 under white
light and 0.89 to 1.09 under narrow band."""

STEEPNESS = 10.0
"""Of the confidence in log(ratio / BOUNDARY): it is 0.93 at 1.7 and at 1.0. Our choice; not calibrated."""

DARK, BRIGHT = 40, 235
"""Bounds of the largest channel of the pixels that count. Darker ones are border; brighter ones are highlights, which
are white under any light."""

COLOURLESS = 4
"""Median difference between the largest and the smallest channel of a picture without colour."""

UNCERTAIN = 0.75
"""Below this confidence the report shows the frame."""


@dataclass(frozen=True)
class GuessModality(Options):
    guess_modality: bool = False
    """guess white light (WL) or narrow band (NBI) from the colour, where neither the source nor --modality-csv tells"""


def guess_modality(image: np.ndarray) -> tuple[Modality, float]:
    """Guesses the light from the colour of the tissue.

    Args:
        image: uint8 RGB [height, width, 3], before any step that changes colours.

    Returns:
        "WL" or "NBI", and the confidence in [0.5, 1]. A picture that is too dark, too bright or without colour gives
        "WL" and 0.5.
    """
    # Every other row and column tells as much about a median, in a quarter of the time.
    image = np.ascontiguousarray(image[::2, ::2])
    brightest = largest_channel(image)
    tissue = image[(brightest > DARK) & (brightest < BRIGHT)]
    if not len(tissue) or np.median(tissue.max(axis=1) - tissue.min(axis=1)) < COLOURLESS:
        return "WL", 0.5
    pixels = tissue.astype(np.float64)
    ratio = float(np.median(pixels[:, 0] / np.maximum(pixels[:, 1], 1.0)))
    evidence = STEEPNESS * np.log(max(ratio, 1e-3) / BOUNDARY)
    confidence = float(1.0 / (1.0 + np.exp(-abs(evidence))))
    return ("WL" if evidence >= 0 else "NBI"), confidence


def find_modality(raw: np.ndarray, image: np.ndarray, findings: Findings, options: GuessModality) -> Findings:
    """The modality that was told, else the guess."""
    if findings.modality:
        return findings
    modality, confidence = guess_modality(image)
    return findings._replace(modality=modality, confidence=confidence)


STEP = Step(
    GuessModality,
    title="modality",
    phase=Phase.BEFORE_FIT,
    order=40,
    find=find_modality,
    doubt=Doubt(
        "modality uncertain",
        lambda inspection: inspection.confidence < UNCERTAIN,
        lambda inspection: f"{inspection.modality} {inspection.confidence:.2f}",
    ),
    line=lambda options, outcome: (
        f"guessed by colour for {sum(frame.modality is None for frame in outcome.frames)} frames"
    ),
)
