"""Writes a page for each of some pictures, and the scores of their maps as a table."""

import csv
import logging
import re
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from data_prep.atomic import writing
from jaxcaps.data.source import Source
from jaxcaps.errors import UserError
from jaxcaps.explaining.explanation import Explanation, explain_picture
from jaxcaps.explaining.page import render
from jaxcaps.explaining.perturbation import check_decoder
from jaxcaps.explaining.subject import stored_subject
from jaxcaps.inference.model import TrainedEncoder
from jaxcaps.training.folder import check_writable
from jaxcaps.training.writers import replace_text

log = logging.getLogger("jaxcaps")

SCORES, UNREADABLE = "scores.csv", "unreadable.csv"
COLUMNS = ("name", "page", "class", "probability", "map", "deletion", "insertion")
# The longest part of a picture's name in the name of its page.
LONGEST = 60


class Score(NamedTuple):
    """A row of the table."""

    name: str
    page: str
    capsule: str
    probability: float
    kind: str
    deletion: float
    insertion: float


def page_name(row: int, name: str, suffix: str) -> str:
    """A name that every file system takes, and that sorts as the pictures do."""
    stem = re.sub(r"[^\w.-]+", "-", Path(name).stem, flags=re.ASCII).strip("-.")[-LONGEST:]
    return f"{row:05d}-{stem}{suffix}" if stem else f"{row:05d}{suffix}"


def explain_pictures(model: TrainedEncoder, images: str, out: Path, limit: int) -> None:
    """Writes a page for each picture, and the table of scores. What is written stays if the command is interrupted.

    Args:
        model: of `load`.
        images: the value of `--images`.
        out: the folder to write, new or empty.
        limit: the largest number of pictures.

    Raises:
        UserError: there is no picture, none can be read, or the folder cannot be written or has files.
    """
    check_writable(out)
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out={out}: this folder has files and was not changed; give another --out")
    source = model.source(images)
    for note in source.notes:
        log.info(note)
    names = [item.name for item in source.items]
    count = min(limit, len(names))
    if count < len(names):
        log.info("Explaining the first %d of %d pictures; --limit=%d explains all", count, len(names), len(names))
    notes = _notes(model)
    for note in notes:
        log.info(note)
    scores: list[Score] = []
    predicted: list[Score] = []
    bad: list[tuple[str, str]] = []
    done = 0
    out.mkdir(parents=True, exist_ok=True)
    try:
        for row, read in _read(model, source, count):
            if isinstance(read, str):
                bad.append((names[row], read))
                continue
            if not done:
                log.info("Compiling; the first picture takes the longest")
            explanation = explain_picture(model, stored_subject(model, read))
            page = page_name(row, names[row], ".html")
            # A page may be shared, and the source names a single file by its whole path.
            title = Path(names[row]).name if Path(names[row]).is_absolute() else names[row]
            replace_text(out / page, render(explanation, title, Path(model.restore).name, notes))
            found = list(_scores(explanation, names[row], page))
            scores += found
            predicted += found[: len(explanation.erasures)]
            done += 1
            log.info("%d of %d: %s", done, count - len(bad), out / page)
    finally:
        if done:
            _write(out / SCORES, COLUMNS, scores)
        if bad:
            _write(out / UNREADABLE, ("name", "reason"), bad)
    if not done:
        raise UserError(f"--images={images}: none of its {count} pictures can be used; {bad[0][0]}: {bad[0][1]}")
    if bad:
        log.info("%d pictures could not be used, see %s", len(bad), out / UNREADABLE)
    if predicted:
        _print_means(predicted)


def _notes(model: TrainedEncoder) -> tuple[str, ...]:
    try:
        check_decoder(model)
    except UserError as error:
        return (f"No sliders: {str(error).replace(str(model.restore), Path(model.restore).name)}",)
    return ()


def _read(model: TrainedEncoder, source: Source, count: int) -> Iterator[tuple[int, np.ndarray | str]]:
    """Yields each picture as training stores it, or the reason why it cannot be read, in order."""
    for batch in model.read(source, range(count)):
        found: dict[int, np.ndarray | str] = dict(batch.bad)
        found |= dict(zip(batch.rows, batch.images, strict=True))
        yield from sorted(found.items(), key=itemgetter(0))


def _scores(explanation: Explanation, name: str, page: str) -> Iterator[Score]:
    """A row for each class and map, the predicted class first."""
    for row, index in enumerate(explanation.shown):
        for kind, each in explanation.erasures.items():
            areas = (round(float(area[row]), 6) for area in (each.deletion_area, each.insertion_area))
            probability = round(float(explanation.scores[index]), 6)
            yield Score(name, page, explanation.names[index], probability, kind, *areas)


def _write(file: Path, columns: tuple[str, ...], rows: list[Score] | list[tuple[str, str]]) -> None:
    with writing(file) as text:
        table = csv.writer(text, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def _print_means(predicted: list[Score]) -> None:
    """Prints the mean areas over pictures, for the predicted classes."""
    table = Table("map", "deletion (low is good)", "insertion (high is good)", box=None, pad_edge=False)
    for kind in dict.fromkeys(score.kind for score in predicted):
        mine = [score for score in predicted if score.kind == kind]
        deletion, insertion = (np.mean([getattr(score, name) for score in mine]) for name in ("deletion", "insertion"))
        table.add_row(kind, f"{deletion:.3f}", f"{insertion:.3f}")
    console = Console(highlight=False)
    with console.capture() as text:
        console.print(table)
    log.info("Means over the pictures, for their predicted classes:\n%s", text.get().rstrip())
