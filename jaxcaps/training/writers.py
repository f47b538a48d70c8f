"""Writes a run's metrics as JSON lines and as a CSV table."""

import json
import math
from pathlib import Path
from typing import Any

from data_prep.atomic import writing
from jaxcaps.evaluation.table import write_rows

Row = dict[str, float]
# The metric by which a pre-training is judged, in a row under validation/.
LINEAR_PROBE = "linear_probe/balanced_accuracy"


class MetricsWriter:
    """Appends rows to `metrics.jsonl` and keeps `metrics.csv` equal to it.

    A resumed run passes the micro-step it resumes from, and rows after that step are dropped.
    """

    def __init__(self, folder: Path, *, resumed_step: int = 0):
        self.jsonl, self.csv = folder / "metrics.jsonl", folder / "metrics.csv"
        self.rows = [row for row in read_rows(self.jsonl) if row["step"] <= resumed_step]
        replace_text(self.jsonl, "".join(_line(row) for row in self.rows))

    def write(self, row: Row) -> None:
        self.rows.append(row)
        with self.jsonl.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def write_csv(self) -> None:
        write_rows(self.rows, self.csv)


def _line(row: Row) -> str:
    # JSON has no NaN.
    return json.dumps({name: value if math.isfinite(value) else None for name, value in row.items()}) + "\n"


def read_rows(path: Path) -> list[Row]:
    """Reads the rows of a `metrics.jsonl`, up to a line that an interruption left incomplete."""
    rows: list[Row] = []
    if not path.exists():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            break
        rows.append({name: math.nan if value is None else value for name, value in values.items()})
    return rows


def replace_text(path: Path, text: str) -> None:
    """Writes a file atomically."""
    with writing(path) as file:
        file.write(text)
