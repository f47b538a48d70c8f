"""What was done in an output folder, so that a repeated command does only what is missing or changed.

An SQLite file: a kill leaves it as it was at the last commit, and frames finished since then are done again. A row
holds under a frame's name the key of what it was made from, and the result. It also keeps a second command out while
one writes the folder.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from data_prep.errors import UserError
from data_prep.pipeline.inspecting import Findings, Inspection
from data_prep.pipeline.writing import Written

FILE = "record.sqlite"
# Raised when the tables below change.
FORMAT = 1
COMMIT_SECONDS = 1.0
TABLES = """
CREATE TABLE IF NOT EXISTS inspected (name TEXT PRIMARY KEY, key TEXT, result TEXT, masks BLOB, counts BLOB);
CREATE TABLE IF NOT EXISTS written (name TEXT PRIMARY KEY, key TEXT, target TEXT, result TEXT);
"""


class Record:
    """The record of the output folder `out`, which must exist; closed by `with`.

    Raises:
        UserError: another command is writing the folder, or the file is no record of this version.
    """

    def __init__(self, out: Path):
        file = out / FILE
        try:
            self._database = sqlite3.connect(file, timeout=0.5, isolation_level="DEFERRED")
            # The lock that the first statement takes is kept until the end.
            self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._database.execute("BEGIN EXCLUSIVE")
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version not in (0, FORMAT):
                raise UserError(f"{file} is of another version of data_prep; give another --out")
            self._database.execute(f"PRAGMA user_version={FORMAT}")
            self._database.commit()
            self._database.executescript(TABLES)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise UserError(f"--out={out}: another command is writing this folder; wait for it to end") from error
            raise
        except sqlite3.DatabaseError as error:
            raise UserError(f"{file} is no record of data_prep, or a damaged one; give another --out") from error
        self._committed = time.monotonic()

    def __enter__(self) -> "Record":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._database.commit()
        except sqlite3.OperationalError:
            # On a full disk: what is not recorded is done again. An error under way says more than this one.
            if value is None:
                raise
        finally:
            self._database.close()

    def inspection(self, name: str, key: str) -> Inspection | None:
        """What was found in a frame, if it was made from the same."""
        row = self._database.execute("SELECT result FROM inspected WHERE name=? AND key=?", (name, key)).fetchone()
        return None if row is None else Inspection(*_values(row[0]))

    def masks(self, name: str) -> bytes:
        """The packed masks of the frame's field of view; of a frame that could be read."""
        blob: bytes
        (blob,) = self._database.execute("SELECT masks FROM inspected WHERE name=?", (name,)).fetchone()
        return blob

    def counts(self, names: Iterable[str]) -> Iterator[bytes]:
        """The packed counts of these frames, where they were wanted."""
        for name in names:
            (blob,) = self._database.execute("SELECT counts FROM inspected WHERE name=?", (name,)).fetchone()
            if blob is not None:
                yield blob

    def add_inspection(self, key: str, inspection: Inspection, findings: Findings) -> None:
        result = json.dumps(inspection)
        row = (inspection.name, key, result, findings.masks, findings.counts)
        self._database.execute("INSERT OR REPLACE INTO inspected VALUES (?, ?, ?, ?, ?)", row)
        self._commit_at_times()

    def written(self, name: str, key: str, target: str) -> Written | None:
        """The finished picture, if it was made from the same and lies at `target`."""
        row = self._database.execute(
            "SELECT result FROM written WHERE name=? AND key=? AND target=?", (name, key, target)
        ).fetchone()
        return None if row is None else Written(*_values(row[0]))

    def add_written(self, key: str, target: str, written: Written) -> None:
        row = (written.name, key, target, json.dumps(written))
        self._database.execute("INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?)", row)
        self._commit_at_times()

    def targets(self) -> dict[str, str]:
        """Where the pictures of frames went, by name."""
        return dict(self._database.execute("SELECT name, target FROM written"))

    def forget(self, name: str) -> None:
        """Drops a picture that is no longer there."""
        self._database.execute("DELETE FROM written WHERE name=?", (name,))

    def commit(self) -> None:
        self._database.commit()
        self._committed = time.monotonic()

    def _commit_at_times(self) -> None:
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()


def _values(text: str) -> list[Any]:
    """The fields of a named tuple, from JSON, which has no tuples."""
    return [tuple(value) if isinstance(value, list) else value for value in json.loads(text)]
