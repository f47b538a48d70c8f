"""A preparation from beginning to end. It reads top to bottom; each part says what it is in its own file."""

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_prep.config import Preparation, check
from data_prep.errors import UserError
from data_prep.pipeline.choosing import Choice, check_listing, choose
from data_prep.pipeline.inspecting import Inspection, ToInspect, inspect, unpack_counts
from data_prep.pipeline.outcome import MODALITIES, Outcome
from data_prep.pipeline.outputs import remove_final, write_outputs
from data_prep.pipeline.places import check_place, open_place, targets
from data_prep.pipeline.processes import each
from data_prep.pipeline.record import Record
from data_prep.pipeline.sequence import VERSION
from data_prep.pipeline.writing import PARTIAL, ToWrite, Written, write
from data_prep.sources.listing import RawFrame
from data_prep.sources.opening import Listing, open_source
from data_prep.steps.match import ReferenceHistogram

Result = TypeVar("Result")


class Done(NamedTuple):
    """
    Attributes:
        inspected, written: how many frames were looked at and prepared by this command.
        images, skipped: how many images the folder holds, and how many files were left out.
    """

    inspected: int
    written: int
    images: int
    skipped: int

    def summary(self, out: str) -> str:
        """A sentence for the person who waited."""
        new = "all of them now" if self.written == self.images else f"{self.written} of them now"
        left_out = f"; {self.skipped} files were skipped, see skipped.csv" if self.skipped else ""
        return f"{self.images} images in {out}, {new}{left_out}. Look at {out}/report.html"


def prepare(config: Preparation, say: Callable[[str], None] = print) -> Done:
    """Prepares a data set, or what is missing or changed of it.

    Args:
        config: what and how.
        say: takes the sentences that a person should read.

    Raises:
        UserError: for what is wrong with flags, source and output folder: before anything is written where that can
            be known, else with finished work kept.
    """
    config = check(config)
    listing = open_source(config)
    out = Path(config.out).expanduser().absolute()
    check_place(out, listing.root, f"--out={config.out}")
    check_listing(listing, config)
    open_place(out)
    workers = config.workers or os.cpu_count() or 1
    try:
        with Record(out) as record:
            done = _prepare(config, listing, out, record, workers, say)
        (out / PARTIAL).rmdir()
        return done
    except (OSError, sqlite3.OperationalError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"--out={config.out}: {why}. What is finished is kept: mend that and repeat the command"
        ) from error


def _prepare(
    config: Preparation, listing: Listing, out: Path, record: Record, workers: int, say: Callable[[str], None]
) -> Done:
    for note in listing.notes:
        say(note)
    inspections, inspected = _inspect_all(config, listing, record, workers)
    choice = choose(listing, inspections, config)
    for leak in choice.leaks:
        counts = ", ".join(f"{split} {count}" for split, count in leak.counts.items())
        say(f"Group {leak.group} lies in more than one split ({counts}).")
    modalities = {frame.name: frame.modality or inspections[frame.name].modality for frame in choice.frames}
    reference, fitted_on = _reference(config, choice, modalities, record)
    if config.steps.match and reference is None:
        say(f"No training frame is {config.steps.match_to}, so histograms are not matched.")
    written, new = _write_all(config, choice, inspections, modalities, reference, out, record, workers)
    outcome = Outcome(
        config=config,
        listing=listing,
        choice=choice,
        inspections=inspections,
        modalities=modalities,
        targets=targets(choice.frames),
        written=written,
        reference=reference,
        fitted_on=fitted_on,
    )
    write_outputs(out, outcome, record)
    return Done(inspected, new, len(outcome.frames), len(outcome.skipped))


def _inspect_all(
    config: Preparation, listing: Listing, record: Record, workers: int
) -> tuple[dict[str, Inspection], int]:
    """What is known of each frame, by name, and how many had to be looked at."""
    known: dict[str, Inspection] = {}
    keys: dict[str, str] = {}
    for frame in listing.frames:
        keys[frame.name] = _inspection_key(frame, config)
        inspection = record.inspection(frame.name, keys[frame.name])
        if inspection is not None:
            known[frame.name] = inspection
    missing = [frame for frame in listing.frames if frame.name not in known]
    tasks = (ToInspect(frame.name, frame.path, frame.void, frame.modality) for frame in missing)
    function = partial(inspect, steps=config.steps, max_pixels=config.max_pixels)
    for inspection, findings in _watched("Looking at frames", each(function, tasks, workers), len(missing)):
        known[inspection.name] = inspection
        if not inspection.passing:
            record.add_inspection(keys[inspection.name], inspection, findings)
    record.commit()
    return known, len(missing)


def _inspection_key(frame: RawFrame, config: Preparation) -> str:
    """What the findings depend on: the files by size and time, and the settings of the first half."""
    steps = config.steps
    settings = (steps.borders, steps.overlays, steps.denoise, steps.denoise_sigma, steps.guess_modality)
    fitted = (steps.match, steps.match_to, frame.modality)
    return _digest(_stamp(frame.path), _stamp(frame.void), settings, fitted, config.max_pixels)


def _stamp(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _digest(*values: object) -> str:
    """Of plain values, of this version of the steps and of the library beneath them."""
    text = json.dumps([VERSION, cv2.__version__, *values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _reference(
    config: Preparation, choice: Choice, modalities: Mapping[str, str], record: Record
) -> tuple[ReferenceHistogram | None, int]:
    """The histogram of all training frames of the modality that others are matched to, and how many those are."""
    if not config.steps.match:
        return None, 0
    names = [
        frame.name
        for frame in choice.frames
        if frame.split == "train" and modalities[frame.name] == config.steps.match_to
    ]
    reference = ReferenceHistogram()
    for packed in record.counts(names):
        reference.merge(ReferenceHistogram(unpack_counts(packed)))
    return (reference, len(names)) if names else (None, 0)


def _write_all(
    config: Preparation,
    choice: Choice,
    inspections: Mapping[str, Inspection],
    modalities: Mapping[str, str],
    reference: ReferenceHistogram | None,
    out: Path,
    record: Record,
    workers: int,
) -> tuple[dict[str, Written], int]:
    """The finished picture of each frame, by name, and how many had to be made."""
    steps = config.steps
    fingerprint = None if reference is None else hashlib.sha256(reference.counts.tobytes()).hexdigest()
    places = targets(choice.frames)
    written: dict[str, Written] = {}
    keys: dict[str, str] = {}
    missing: list[RawFrame] = []
    matched = {
        frame.name: reference is not None and modalities[frame.name] in MODALITIES - {steps.match_to}
        for frame in choice.frames
    }
    for frame in choice.frames:
        inspection = inspections[frame.name]
        keys[frame.name] = _digest(
            inspection.sha256,
            inspection.box,
            hashlib.sha256(record.masks(frame.name)).hexdigest(),
            asdict(steps),
            fingerprint if matched[frame.name] else None,
        )
        done = record.written(frame.name, keys[frame.name], places[frame.name])
        if done is not None and _stamp(out / places[frame.name]) == (done.size, done.mtime_ns):
            written[frame.name] = done
        else:
            missing.append(frame)
    if missing:
        # A folder that has them is finished: from here on it is not.
        remove_final(out)
    _remove_left_over(out, record, set(places.values()))
    tasks = (
        ToWrite(
            inspections[frame.name],
            record.masks(frame.name),
            frame.path,
            matched[frame.name],
            out,
            places[frame.name],
        )
        for frame in missing
    )
    function = partial(write, steps=steps, max_pixels=config.max_pixels, reference=reference)
    for one in _watched("Preparing", each(function, tasks, workers), len(missing)):
        written[one.name] = one
        if not one.bad:
            record.add_written(keys[one.name], places[one.name], one)
    record.commit()
    return written, len(missing)


def _remove_left_over(out: Path, record: Record, wanted: set[str]) -> None:
    """Removes pictures of frames that are gone or left out now; only what the record knows to be ours."""
    for name, target in record.targets().items():
        if target not in wanted:
            (out / target).unlink(missing_ok=True)
            record.forget(name)
    record.commit()


def _watched(what: str, results: Iterator[Result], count: int) -> Iterator[Result]:
    """The results, with a bar if a person watches."""
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stdout.isatty(), transient=True) as bar:
        task = bar.add_task(what, total=count)
        for result in results:
            yield result
            bar.advance(task)
