"""A table of predictions that survives an interruption.

Rows go to FILE.partial, one JSON value a line, with the settings in the first. At the end it becomes FILE, and a second
table lists the pictures that could not be read. FILE.lock keeps a second command away meanwhile.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from data_prep.atomic import writing
from jaxcaps.errors import UserError

Value = str | float | bool | None


class Rows:
    """The rows of an output file. A context manager.

    Attributes:
        done: names of the pictures that an interrupted command has finished, in order.

    Args:
        out: the output file.
        settings: what the rows depend on, as plain values.

    Raises:
        UserError: the output file exists or cannot be written, another command writes it, or unfinished rows have
            other settings or are damaged.
    """

    def __init__(self, out: Path, settings: dict[str, Any]):
        self.out, self.partial = out, out.with_name(f"{out.name}.partial")
        self.unreadable = out.with_name(f"{out.stem}.unreadable.csv")
        self._lock = FileLock(out.with_name(f"{out.name}.lock"), timeout=0)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise UserError(
                f"--out={out}: another command is writing this table; wait for it, or give another --out"
            ) from None
        except OSError as error:
            raise self._not_writable(error) from None
        try:
            self._open(settings)
        except BaseException:
            self._unlock()
            raise

    def _open(self, settings: dict[str, Any]) -> None:
        # A command that was stopped at its end may have written the second table.
        for file in (self.out,) if self.partial.exists() else (self.out, self.unreadable):
            if file.exists():
                raise UserError(
                    f"--out={self.out}: {file} exists and was not changed; remove it, or give another --out"
                )
        try:
            # A kill may have cut the last line short: it is written again.
            kept = self._whole_lines()
            self._check(kept, settings)
            try:
                self.done = [json.loads(line)[0] for line in kept[1:]]
            except (ValueError, TypeError, LookupError):
                raise self.damaged() from None
            with self.partial.open("ab") as begun:
                begun.truncate(sum(map(len, kept)))
            self._file = self.partial.open("a", encoding="utf-8")
        except OSError as error:
            raise self._not_writable(error) from None
        if not kept:
            self._file.write(json.dumps(settings) + "\n")

    def _not_writable(self, error: OSError) -> UserError:
        return UserError(f"--out={self.out}: cannot be written ({error.strerror}); give another file")

    def damaged(self) -> UserError:
        """The error of unfinished rows that this command cannot have written."""
        return UserError(f"--out={self.out}: {self.partial} is damaged; remove it")

    def _unlock(self) -> None:
        # While it is held: a moment later, it may be another command's.
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def _whole_lines(self) -> list[bytes]:
        if not self.partial.exists():
            return []
        with self.partial.open("rb") as file:
            return [line for line in file if line.endswith(b"\n")]

    def _check(self, kept: list[bytes], settings: dict[str, Any]) -> None:
        try:
            same = not kept or json.loads(kept[0]) == settings
        except ValueError:
            same = False
        if not same:
            raise UserError(
                f"--out={self.out}: {self.partial} holds the beginning of other predictions; remove it, or give "
                "another --out"
            )

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._unlock()

    def add(self, rows: Sequence[tuple[str, list[Value] | str]]) -> None:
        """Adds pictures: their names, and either their values or the reason why they could not be read."""
        self._file.writelines(json.dumps(row) + "\n" for row in rows)
        self._file.flush()

    def __iter__(self) -> Iterator[tuple[str, list[Value] | str]]:
        """Yields all rows, those of an interrupted command included."""
        self._file.flush()
        with self.partial.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                name, found = json.loads(line)
                yield name, found

    def finish(self, columns: Sequence[str]) -> None:
        """Writes the tables and removes the unfinished one.

        Args:
            columns: of the values; the first column is the name.
        """
        if any(isinstance(found, str) for _, found in self):
            with writing(self.unreadable) as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(("name", "reason"))
                table.writerows((name, found) for name, found in self if isinstance(found, str))
        with writing(self.out) as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("name", *columns))
            table.writerows((name, *found) for name, found in self if not isinstance(found, str))
        self._file.close()
        self.partial.unlink()
