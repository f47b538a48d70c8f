"""What a part writes while it measures: one line of JSON for each row of a table, at once."""

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Recorder:
    """Writes the rows of one part.

    Args:
        file: rows are appended to it.
        part: the part's name.
        scale: "full", or "tiny" for a check on a CPU that every part works.
        seconds: how long the part may take.
    """

    def __init__(self, file: Path, part: str, *, scale: str, seconds: float):
        self.file, self.part, self.tiny = file, part, scale == "tiny"
        self.stop = time.monotonic() + seconds

    def row(self, table: str, **values: Any) -> None:
        """Adds a row to one of the part's tables."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"part": self.part, "table": table, "row": values}) + "\n")

    def left(self) -> float:
        """Seconds that are left."""
        return self.stop - time.monotonic()

    @contextmanager
    def attempt(self, table: str, **labels: Any) -> Iterator[None]:
        """Turns an error of one measurement into a row that says so, and goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or [""]
            self.row(table, **labels, error=f"{type(error).__name__}: {lines[0][:200]}")


def read_rows(file: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """The rows of each table of each part. A line that was cut off is left out."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            each = json.loads(line)
        except json.JSONDecodeError:
            continue
        found.setdefault(each["part"], {}).setdefault(each["table"], []).append(each["row"])
    return found
