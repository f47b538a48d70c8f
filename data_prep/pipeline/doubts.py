"""The frames that a person should look at: those that the steps doubt, and the almost black and odd ones."""

from collections import Counter
from collections.abc import Iterator

from data_prep.pipeline.outcome import Outcome
from data_prep.pipeline.sequence import steps_on
from data_prep.sources.listing import RawFrame
from data_prep.steps.step import Doubt

# A frame whose field of view has a lower mean grey level is almost black. The darkest of 29 real frames has 37.
ALMOST_BLACK = 15.0
# How many kinds of remarks the console shows.
LISTED = 5

ALWAYS = (
    Doubt("almost black", lambda inspection: inspection.brightness < ALMOST_BLACK),
    Doubt("odd files", lambda inspection: bool(inspection.notes)),
)


def doubts(outcome: Outcome) -> Iterator[tuple[Doubt, list[RawFrame]]]:
    """Each doubt with the frames that it concerns, which may be none."""
    for doubt in (*(step.doubt for step in steps_on(outcome.config.steps) if step.doubt is not None), *ALWAYS):
        yield doubt, [frame for frame, one in zip(outcome.frames, outcome.found, strict=True) if doubt.concerns(one)]


def sentences(outcome: Outcome) -> Iterator[str]:
    """What the console says of them: each doubt with its number of frames, and the most common remarks on files."""
    count = len(outcome.frames)
    for doubt, frames in doubts(outcome):
        if frames:
            yield f"{doubt.title.capitalize()}: {len(frames)} of {count} frames"
    notes = Counter(note for one in outcome.found for note in one.notes)
    for note, number in notes.most_common(LISTED):
        yield f"  {number} x {note}"
    if len(notes) > LISTED:
        yield f"  and {len(notes) - LISTED} other remarks: see frames.csv"
