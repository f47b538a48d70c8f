"""The pictures of the report: thumbnails after each step, and histograms before and after matching."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure

from data_prep.config import Preparation
from data_prep.images.box import crop
from data_prep.images.decoding import BadImage
from data_prep.images.histogram import CHANNELS, LEVELS, histogram
from data_prep.images.reading import read_picture
from data_prep.pipeline.sequence import stages, steps_on
from data_prep.steps.step import Findings

SIDE = 190
# Standard deviation of the blur over overlays, in pixels of the thumbnail: no name can be read in the report.
BLUR = 6.0
RED = (220, 40, 40)


class Shown(NamedTuple):
    """A frame to show: its source file, its findings, and the reference histogram if the frame is matched."""

    path: Path
    findings: Findings
    reference: np.ndarray | None


def thumbnail(path: Path, config: Preparation) -> str | None:
    """The raw picture, small, as JPEG in base64. None if it can no longer be read."""
    image = _read(path, config)
    return None if image is None else _encoded(_shrunk(image, list(_private(image, config).values())))


def stage_pictures(shown: Shown, config: Preparation) -> list[tuple[str, str]]:
    """The picture after each step, as of `thumbnail`, and the title of the step. Empty if it can no longer be read."""
    image = _read(shown.path, config)
    if image is None:
        return []
    private, pictures = _private(image, config), []
    for title, picture in stages(image, shown.findings, config.steps, shown.reference):
        private.pop(title, None)
        masks = list(private.values())
        if picture.shape != image.shape:
            masks = [crop(mask, shown.findings.box) for mask in masks]
        pictures.append((_encoded(_shrunk(picture, masks)), title))
    return pictures


def histograms(sample: Sequence[Shown], config: Preparation) -> str | None:
    """A figure of each channel of matched frames before and after matching, and of the reference.

    Returns:
        PNG in base64, or None if no frame is left.
    """
    (fitting,) = (step.title for step in steps_on(config.steps) if step.fit is not None)
    before, after = np.zeros((CHANNELS, LEVELS)), np.zeros((CHANNELS, LEVELS))
    for shown in sample:
        image = _read(shown.path, config)
        if image is None:
            continue
        for title, picture in stages(image, shown.findings, config.steps, shown.reference):
            if title == fitting:
                before += histogram(image, shown.findings.view)
                after += histogram(picture, shown.findings.view)
                break
            image = picture
    if not before.any():
        return None
    reference = sample[0].reference
    assert reference is not None, "the frames are matched"
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    for axes, channel, colour in zip(figure.subplots(1, 3), range(3), ("red", "green", "blue"), strict=True):
        for counts, label, style in ((before, "before", ":"), (after, "after", "-"), (reference, "reference", "--")):
            values = counts[channel] / counts[channel].sum()
            # Matched values have gaps between them. Averaged over 9 levels, the curves can be compared.
            smooth = np.convolve(values, np.ones(9) / 9, mode="same")
            axes.plot(smooth, style, label=label, color="black" if label == "reference" else f"tab:{colour}")
        axes.set(title=colour, xlabel="value", xlim=(0, 255), ylim=(0, None), yticks=[])
        axes.legend(frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90, metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode()


def _read(path: Path, config: Preparation) -> np.ndarray | None:
    try:
        return read_picture(path, config.max_pixels).image
    except (BadImage, OSError):
        return None


def _private(image: np.ndarray, config: Preparation) -> dict[str, np.ndarray]:
    """What must be blurred in the raw picture, by the title of the step that removes it."""
    return {step.title: step.private(image) for step in steps_on(config.steps) if step.private is not None}


def _shrunk(image: np.ndarray, masks: Sequence[np.ndarray]) -> np.ndarray:
    """The picture at most `SIDE` pixels a side, with what is under the masks blurred beyond reading and outlined."""
    factor = min(1.0, SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for mask in masks:
        covered = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 0
        if covered.any():
            small = np.where(covered[..., None], cv2.GaussianBlur(small, (0, 0), BLUR), small)
            outlines, _ = cv2.findContours(covered.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            small = cv2.drawContours(np.ascontiguousarray(small), outlines, -1, RED, 1)
    return small


def _encoded(image: np.ndarray) -> str:
    """JPEG in base64."""
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done, "a JPEG holds any uint8 picture"
    return base64.b64encode(encoded.tobytes()).decode()
