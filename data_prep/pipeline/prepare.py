"""A preparation from beginning to end, top to bottom."""

import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from rich.progress import track

from data_prep.bounds import check_bounds
from data_prep.config import Preparation
from data_prep.errors import UserError
from data_prep.images.histogram import CHANNELS, LEVELS
from data_prep.pipeline.choosing import Choice, check_listing, choose
from data_prep.pipeline.doubts import sentences
from data_prep.pipeline.inspecting import Inspection, inspect, unpack
from data_prep.pipeline.outcome import Outcome
from data_prep.pipeline.outputs import remove_final, write_outputs
from data_prep.pipeline.places import check_place, open_place, targets
from data_prep.pipeline.processes import each
from data_prep.pipeline.record import Record
from data_prep.pipeline.sequence import VERSION, fit_of, inspection_key, picture_key, steps_on
from data_prep.pipeline.writing import PARTIAL, ToWrite, Written, write
from data_prep.sources.listing import Listing, RawFrame
from data_prep.sources.opening import open_source
from data_prep.steps import in_order

Task = TypeVar("Task")
Result = TypeVar("Result")


class Done(NamedTuple):
    """How many frames this command inspected and wrote, how many images the folder has, how many files were skipped."""

    inspected: int
    written: int
    images: int
    skipped: int

    def summary(self, out: str) -> str:
        """One line for the person who waited."""
        new = "all of them now" if self.written == self.images else f"{self.written} of them now"
        left_out = f"; {self.skipped} files were skipped, see skipped.csv" if self.skipped else ""
        return f"{self.images} images in {out}, {new}{left_out}. Look at {out}/report.html"


def prepare(config: Preparation, say: Callable[[str], None] = print) -> Done:
    """Prepares a data set, or what is missing or has changed.

    Args:
        config: what to prepare, and how.
        say: called with sentences that a person should read.

    Raises:
        UserError: something is wrong with the flags, the source or the output folder. This is raised before anything
            is written if possible; otherwise finished frames are kept.
    """
    check_bounds(config)
    listing = open_source(config)
    out = Path(config.out).expanduser().absolute()
    check_place(out, listing.root, f"--out={config.out}")
    check_listing(listing, config)
    open_place(out)
    try:
        with Record(out) as record:
            done = _Run(config, listing, out, record).run(say)
        (out / PARTIAL).rmdir()
        return done
    except (OSError, sqlite3.OperationalError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(
            f"--out={config.out}: {why}. Finished frames are kept: solve this and repeat the command"
        ) from error


class _Run(NamedTuple):
    """The passes over the frames, and what they share."""

    config: Preparation
    listing: Listing
    out: Path
    record: Record

    def run(self, say: Callable[[str], None]) -> Done:
        for note in (self.announcement(), *self.listing.notes):
            say(note)
        inspections, inspected = self.inspect_all()
        choice = choose(self.listing, inspections, self.config)
        for leak in choice.leaks:
            counts = ", ".join(f"{split} {count}" for split, count in leak.counts.items())
            say(f"Group {leak.group} lies in more than one split ({counts}).")
        modalities = {frame.name: frame.modality or inspections[frame.name].modality for frame in choice.frames}
        reference, fitted_on = self.fit(choice, modalities)
        fit, steps = fit_of(self.config.steps), self.config.steps
        if fit is not None and reference is None:
            say(f"No training frame is {fit.learns_from(steps)}, so histograms are not matched.")
        changes = frozenset[str]() if fit is None or reference is None else fit.changes(steps)
        matched = {name for name, modality in modalities.items() if modality in changes}
        written, new = self.write_all(choice, inspections, matched, reference)
        outcome = Outcome(
            config=self.config,
            listing=self.listing,
            choice=choice,
            inspections=inspections,
            modalities=modalities,
            targets=targets(choice.frames),
            written=written,
            reference=reference,
            fitted_on=fitted_on,
            to_match=matched,
        )
        write_outputs(self.out, outcome, self.record)
        for sentence in sentences(outcome):
            say(sentence)
        return Done(inspected, new, len(outcome.frames), len(outcome.skipped))

    def announcement(self) -> str:
        """The steps that are on, and what may name a patient and is not looked for."""
        steps = self.config.steps
        titles = ", ".join(step.title for step in steps_on(steps)) or "none"
        stays = [f"{one.title.capitalize()} stay in the pictures; --{one.switch} masks them" for one in in_order()
                 if one.private is not None and not one.on(steps)]  # fmt: skip
        return ". ".join((f"Steps (--preset={self.config.preset}): {titles}", *stays))

    def inspect_all(self) -> tuple[dict[str, Inspection], int]:
        """The inspections by name of the frame, and how many are new."""
        config, record = self.config, self.record
        settings = inspection_key(config.steps)
        keys = {
            frame.name: _digest(_stamp(frame.path), _stamp(frame.void), frame.modality, settings, config.max_pixels)
            for frame in self.listing.frames
        }
        found = ((name, record.inspection(name, key)) for name, key in keys.items())
        known = {name: inspection for name, inspection in found if inspection is not None}
        missing = [frame for frame in self.listing.frames if frame.name not in known]
        function = partial(inspect, steps=config.steps, max_pixels=config.max_pixels)
        for inspected in self.each("Inspecting", function, missing, len(missing)):
            inspection = inspected.inspection
            known[inspection.name] = inspection
            if not inspection.temporary:
                record.add_inspection(keys[inspection.name], inspected)
        record.commit()
        return known, len(missing)

    def fit(self, choice: Choice, modalities: dict[str, str]) -> tuple[np.ndarray | None, int]:
        """The sum of the histograms of all training frames that the fit learns from, and their number."""
        fit = fit_of(self.config.steps)
        if fit is None:
            return None, 0
        wanted = fit.learns_from(self.config.steps)
        names = [one.name for one in choice.frames if one.split == "train" and modalities[one.name] == wanted]
        reference = np.zeros((CHANNELS, LEVELS), np.int64)
        for packed in self.record.counts(names):
            reference += unpack(packed)["counts"]
        return (reference, len(names)) if reference.any() else (None, 0)

    def write_all(
        self, choice: Choice, inspections: dict[str, Inspection], matched: set[str], reference: np.ndarray | None
    ) -> tuple[dict[str, Written], int]:
        """The finished pictures by name of the frame, and how many are new."""
        config, record, out = self.config, self.record, self.out
        settings = picture_key(config.steps)
        fitted = None if reference is None else hashlib.sha256(reference.tobytes()).hexdigest()
        places = targets(choice.frames)
        written: dict[str, Written] = {}
        keys: dict[str, str] = {}
        missing: list[RawFrame] = []
        for frame in choice.frames:
            name, inspection = frame.name, inspections[frame.name]
            masks = hashlib.sha256(record.masks(name)).hexdigest()
            keys[name] = _digest(
                inspection.sha256, inspection.box, masks, settings, fitted if name in matched else None
            )
            done = record.written(name, keys[name], places[name])
            if done is not None and _stamp(out / places[name]) == (done.size, done.mtime_ns):
                written[name] = done
            else:
                missing.append(frame)
        if missing:
            # These files mark a finished folder, and it no longer is.
            remove_final(out)
        self.remove_left_over(set(places.values()))
        tasks = (
            ToWrite(inspections[one.name], record.masks(one.name), one.path, one.name in matched, out, places[one.name])
            for one in missing
        )
        function = partial(write, steps=config.steps, max_pixels=config.max_pixels, reference=reference)
        for one in self.each("Preparing", function, tasks, len(missing)):
            written[one.name] = one
            if not one.bad:
                record.add_written(keys[one.name], places[one.name], one)
        record.commit()
        return written, len(missing)

    def remove_left_over(self, wanted: set[str]) -> None:
        """Removes pictures of frames that are gone or left out now. Only pictures in the record are removed."""
        for name, target in self.record.targets().items():
            if target not in wanted:
                (self.out / target).unlink(missing_ok=True)
                self.record.forget(name)
        self.record.commit()

    def each(
        self, what: str, function: Callable[[Task], Result], tasks: Iterable[Task], count: int
    ) -> Iterable[Result]:
        """The results in the order in which they are ready, with a progress bar on a terminal."""
        results = each(function, tasks, self.config.workers or os.cpu_count() or 1)
        return track(results, what, count, transient=True, disable=not sys.stdout.isatty())


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """Size and time of change of a file, by which it is known again."""
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _digest(*values: object) -> str:
    """The key of plain values, this version of the steps and the version of OpenCV."""
    text = json.dumps([VERSION, cv2.__version__, *values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
