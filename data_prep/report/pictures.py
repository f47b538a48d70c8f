"""The pictures of the report: thumbnails after each step, and histograms before and after matching."""

import base64
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure

from data_prep.config import Steps
from data_prep.images.decoding import BadImage
from data_prep.images.reading import read_picture
from data_prep.pipeline.inspecting import Inspection, field_of
from data_prep.pipeline.sequence import finish, last, reveal
from data_prep.steps.match import ReferenceHistogram, match_histogram
from data_prep.steps.overlays import find_overlays

SIDE = 190
# Of the thumbnail's pixels: what overlays are blurred with, so that no name can be read in the report.
BLUR = 6.0
RED = (220, 40, 40)


class Shown(NamedTuple):
    """A frame to show: its source file, what was found in it, and the reference if it is matched."""

    path: Path
    inspection: Inspection
    masks: bytes
    reference: ReferenceHistogram | None


def thumbnail(path: Path, steps: Steps, max_pixels: int) -> str | None:
    """The raw picture, small; None where it can no longer be read."""
    try:
        image = read_picture(path, max_pixels).image
    except (BadImage, OSError):
        return None
    return _encoded(_shrunk(image, find_overlays(image) if steps.overlays else None))


def stages(shown: Shown, steps: Steps, max_pixels: int) -> list[tuple[str, str]]:
    """The picture after each step, small; nothing where it can no longer be read."""
    try:
        image = read_picture(shown.path, max_pixels).image
    except (BadImage, OSError):
        return []
    field = field_of(shown.inspection, shown.masks)
    found = find_overlays(image) if steps.overlays else None
    pictures = []
    for name, picture in reveal(image, field, steps):
        visible = {"raw": found, "borders": field.overlay}.get(name)
        pictures.append((name, _encoded(_shrunk(picture, visible))))
    revealed = last(reveal(image, field, steps))
    for name, picture in itertools.islice(finish(revealed, field, steps, shown.reference), 1, None):
        pictures.append((name, _encoded(_shrunk(picture, None))))
    return pictures


def histograms(sample: Sequence[Shown], reference: ReferenceHistogram, steps: Steps, max_pixels: int) -> str | None:
    """A figure: each channel of these frames before and after matching, and of the reference; None without a frame."""
    before, after = ReferenceHistogram(), ReferenceHistogram()
    for shown in sample:
        try:
            image = read_picture(shown.path, max_pixels).image
        except (BadImage, OSError):
            continue
        field = field_of(shown.inspection, shown.masks)
        revealed = last(reveal(image, field, steps))
        before.add(revealed, field.view)
        after.add(match_histogram(revealed, reference, field.view), field.view)
    if not before.counts.any():
        return None
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    for axes, channel, colour in zip(figure.subplots(1, 3), range(3), ("red", "green", "blue"), strict=True):
        for counts, label, style in ((before, "before", ":"), (after, "after", "-"), (reference, "reference", "--")):
            values = counts.counts[channel] / counts.counts[channel].sum()
            # Matched values have gaps between them: averaged over 9 levels the curves can be compared.
            smooth = np.convolve(values, np.ones(9) / 9, mode="same")
            axes.plot(smooth, style, label=label, color="black" if label == "reference" else f"tab:{colour}")
        axes.set(title=colour, xlabel="value", xlim=(0, 255), ylim=(0, None), yticks=[])
        axes.legend(frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90, metadata={"Software": None})
    return base64.b64encode(stream.getvalue()).decode()


def _shrunk(image: np.ndarray, overlay: np.ndarray | None) -> np.ndarray:
    """At most `SIDE` pixels a side, overlays blurred beyond reading and outlined."""
    factor = min(1.0, SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if overlay is None or not overlay.any():
        return small
    covered = cv2.resize(overlay.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) > 0
    small = np.where(covered[..., None], cv2.GaussianBlur(small, (0, 0), BLUR), small)
    outlines, _ = cv2.findContours(covered.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(small), outlines, -1, RED, 1)


def _encoded(image: np.ndarray) -> str:
    """JPEG in base64."""
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done, "a JPEG holds any uint8 picture"
    return base64.b64encode(encoded.tobytes()).decode()
