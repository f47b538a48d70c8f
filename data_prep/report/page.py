"""`report.html`: what was done to a set and what a person should look at, in one page that opens offline."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from data_prep.pipeline.doubts import doubts
from data_prep.pipeline.outcome import Outcome, describe
from data_prep.pipeline.record import Record
from data_prep.pipeline.sequence import steps_on
from data_prep.report.pictures import Shown, histograms, stage_pictures, thumbnail
from data_prep.report.template import page_template
from data_prep.sources.listing import RawFrame
from data_prep.splits import SPLITS
from data_prep.steps import in_order

SHOWN_STEP_BY_STEP = 6
SHOWN_TO_LOOK_AT = 12
MATCHED_SAMPLE = 16
LISTED = 20

# A heading, how many frames it concerns, rows of pictures with captions, and a last sentence.
Look = tuple[str, int, list[list[tuple[str | None, str]]], str]


def report_page(outcome: Outcome, record: Record) -> bytes:
    """The page as HTML in UTF-8."""
    facts = describe(outcome)
    fitted = facts["fitted"]["reference_histogram"]
    # Spread over the set.
    sample = outcome.matched[:: max(1, len(outcome.matched) // MATCHED_SAMPLE)][:MATCHED_SAMPLE]
    page = page_template("data_prep.report").render(
        title=f"{facts['counts']['images']} prepared images",
        config=outcome.config,
        choice=outcome.choice,
        splits=list(SPLITS),
        counts=[
            ("class", _by_split(outcome, [frame.label or "unlabelled" for frame in outcome.frames])),
            ("modality", _by_split(outcome, [outcome.modalities[one.name] or "unknown" for one in outcome.frames])),
        ],
        done=_what_was_done(outcome, facts),
        blurred=any(step.private for step in steps_on(outcome.config.steps)),
        examples=[
            (
                ", ".join(filter(None, (one.name, one.label, one.split, outcome.modalities[one.name]))),
                stage_pictures(_shown(outcome, record, one), outcome.config),
            )
            for one in _examples(outcome)
        ],
        histograms=fitted and histograms([_shown(outcome, record, one) for one in sample], outcome.config),
        sampled=len(sample),
        matched=len(outcome.matched),
        reference=fitted and fitted["on"],
        look=[*_to_look_at(outcome), _near_duplicates(outcome)],
        leaks=[
            [leak.group, *(leak.counts.get(split, 0) for split in SPLITS)] for leak in outcome.choice.leaks[:LISTED]
        ],
        skipped=outcome.skipped,
        listed=LISTED,
        warnings=[note for note in outcome.listing.notes if note.startswith("Warning")],
        notes=[note for note in outcome.listing.notes if not note.startswith("Warning")],
    )
    return page.encode("utf-8", "backslashreplace")


def _by_split(outcome: Outcome, values: Sequence[str]) -> list[list[Any]]:
    """Rows of classes or modalities, with a column for each split."""
    counts = Counter(zip(values, (frame.split for frame in outcome.frames), strict=True))
    names = sorted(set(values))
    rows = [[name, *(counts[name, split] for split in SPLITS), values.count(name)] for name in names]
    if len(rows) > 1:
        rows.append(["all", *(sum(counts[name, split] for name in names) for split in SPLITS), len(values)])
    return rows


def _what_was_done(outcome: Outcome, facts: dict[str, Any]) -> list[tuple[str, str]]:
    """One line for the metadata, for each step, and for each of the statistics."""
    kinds = Counter(kind for one in outcome.found for kind in one.metadata)
    found = "; ".join(f"{name} {count}" for name, count in sorted(kinds.items()))
    stripped = facts["counts"]["metadata_stripped"]
    rows = [("metadata", f"stripped from {stripped} files" + (f" ({found})" if found else ""))]
    steps = outcome.config.steps
    rows += [(step.title, step.line(steps, outcome) if step.on(steps) else "off") for step in in_order()]
    statistics = facts["statistics"]
    if statistics["mean"]:
        for name in ("mean", "standard_deviation"):
            numbers = ", ".join(f"{value:.4f}" for value in statistics[name])
            rows.append((f"{name.replace('_', ' ')} of the training split, RGB in [0, 1]", numbers))
    return rows


def _examples(outcome: Outcome) -> list[RawFrame]:
    """A few frames that differ: the first of each modality and class, with and without overlays."""
    seen: dict[object, RawFrame] = {}
    for frame in outcome.frames:
        one = outcome.inspections[frame.name]
        seen.setdefault((outcome.modalities[frame.name], one.overlay_share > 0, one.border, frame.label), frame)
    chosen = list(seen.values())[:SHOWN_STEP_BY_STEP]
    rest = (frame for frame in outcome.frames if frame not in chosen)
    return [*chosen, *itertools.islice(rest, SHOWN_STEP_BY_STEP - len(chosen))]


def _shown(outcome: Outcome, record: Record, frame: RawFrame) -> Shown:
    inspection = outcome.inspections[frame.name]
    reference = outcome.reference if frame in outcome.matched else None
    return Shown(frame.path, inspection.findings(record.masks(frame.name)), reference)


def _to_look_at(outcome: Outcome) -> Iterator[Look]:
    """The frames of each doubt, with what is odd about them."""
    for doubt, frames in doubts(outcome):
        row = []
        for frame in frames[:SHOWN_TO_LOOK_AT]:
            inspection = outcome.inspections[frame.name]
            words = [frame.name, *inspection.notes, doubt.remark(inspection)]
            row.append((thumbnail(frame.path, outcome.config), "; ".join(filter(None, words))))
        left = len(frames) - SHOWN_TO_LOOK_AT
        yield doubt.title, len(frames), [row], f"and {left} more: see frames.csv" if left > 0 else ""


def _near_duplicates(outcome: Outcome) -> Look:
    near, frames = outcome.choice.near, {frame.name: frame for frame in outcome.choice.frames}
    rows = [
        [(thumbnail(frames[name].path, outcome.config), f"{name} ({frames[name].split})") for name in pair]
        for pair in near[: SHOWN_TO_LOOK_AT // 2]
    ]
    more = "All pairs are in near_duplicates.csv." if len(near) > len(rows) else ""
    return "near-duplicates in two splits", len(near), list(rows), more
