"""All that a preparation found and did, and its summary as plain values."""

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from data_prep.config import Preparation
from data_prep.images.histogram import mean_and_deviation
from data_prep.pipeline.choosing import Choice
from data_prep.pipeline.inspecting import Inspection
from data_prep.pipeline.sequence import VERSION, fit_of
from data_prep.pipeline.writing import Written
from data_prep.sources.listing import Listing, RawFrame, Skipped
from data_prep.splits import SPLITS


@dataclass(frozen=True, eq=False)
class Outcome:
    """
    Attributes:
        config: what was asked for.
        listing, choice: the source, and what of it is used.
        inspections, written: by the name of the frame; a picture may have failed, see `Written.bad`.
        modalities: of the frames that are used, "" if unknown.
        targets: paths of the pictures in the folder, by the name of the frame.
        reference, fitted_on: the reference histogram, if there is one, and the number of frames in it.
        to_match: names of the frames whose histograms are matched to it.
    """

    config: Preparation
    listing: Listing
    choice: Choice
    inspections: Mapping[str, Inspection]
    modalities: Mapping[str, str]
    targets: Mapping[str, str]
    written: Mapping[str, Written]
    reference: np.ndarray | None
    fitted_on: int
    to_match: Set[str]

    @cached_property
    def frames(self) -> tuple[RawFrame, ...]:
        """The frames that have a picture in the folder, in order."""
        return tuple(frame for frame in self.choice.frames if not self.written[frame.name].bad)

    @property
    def found(self) -> tuple[Inspection, ...]:
        """The inspections of `frames`."""
        return tuple(self.inspections[frame.name] for frame in self.frames)

    @cached_property
    def skipped(self) -> tuple[Skipped, ...]:
        """Everything that was left out, ordered by name."""
        failed = [Skipped(name, one.bad) for name, one in self.written.items() if one.bad]
        return tuple(sorted([*self.listing.skipped, *self.choice.skipped, *failed]))

    @cached_property
    def matched(self) -> tuple[RawFrame, ...]:
        """The frames of `to_match` that have a picture in the folder."""
        return tuple(frame for frame in self.frames if frame.name in self.to_match)


def describe(outcome: Outcome) -> dict[str, Any]:
    """The content of `dataset.yaml` without the checksums, as plain values."""
    config, frames, choice = outcome.config, outcome.frames, outcome.choice
    asked = asdict(config)
    steps = asked.pop("steps")
    for name in ("workers", "out"):  # where and how fast, not what
        asked.pop(name)
    return {
        "prepared_from": asked,
        "steps": steps,
        "steps_version": VERSION,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "opencv": cv2.__version__},
        "counts": {
            "images": len(frames),
            "by_split": _count(frame.split for frame in frames),
            "by_class": _count(frame.label or "unlabelled" for frame in frames),
            "by_split_and_class": {
                split: _count(frame.label or "unlabelled" for frame in frames if frame.split == split)
                for split in SPLITS
            },
            "by_modality": _count(outcome.modalities[frame.name] or "unknown" for frame in frames),
            "groups": len({frame.group for frame in frames if frame.group is not None}),
            "skipped": len(outcome.skipped),
            "with_overlays": sum(one.overlay_share > 0 for one in outcome.found),
            "metadata_stripped": sum(bool(one.metadata) for one in outcome.found),
        },
        "split": choice.split_by,
        "fitted": {"reference_histogram": _fitted(outcome), "statistics": "on the training split, after all steps"},
        "statistics": _statistics(outcome),
        "leaks": [{"group": leak.group, **leak.counts} for leak in choice.leaks],
        "near_duplicates_across_splits": len(choice.near),
        "notes": list(outcome.listing.notes),
    }


def _fitted(outcome: Outcome) -> dict[str, Any] | None:
    fit = fit_of(outcome.config.steps)
    if fit is None or outcome.reference is None:
        return None
    return {
        "on": f"{outcome.fitted_on} training frames of {fit.learns_from(outcome.config.steps)}",
        "file": "reference_histogram.json",
        "frames_matched": len(outcome.matched),
    }


def _statistics(outcome: Outcome) -> dict[str, Any]:
    """Mean and standard deviation of the pictures of the training split; black is 0, white is 1."""
    training = [outcome.written[frame.name].moments for frame in outcome.frames if frame.split == "train"]
    if not training:
        return {"channels": "RGB", "pixels": 0, "mean": None, "standard_deviation": None}
    mean, deviation = mean_and_deviation(training)
    return {
        "channels": "RGB",
        "pixels": sum(red[0] for red, _, _ in training),
        "mean": [round(value, 6) for value in mean],
        "standard_deviation": [round(value, 6) for value in deviation],
    }


def _count(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(str(value) for value in values).items()))
