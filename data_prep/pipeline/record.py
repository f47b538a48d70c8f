"""What was done in an output folder: a repeated command does only what is missing or changed.

The record is an SQLite file. A kill leaves it as it was at the last commit; frames finished since then are done again.
A row holds the name of a frame, the key of what it was made from, and the result. The lock of the file also keeps a
second command out of the folder.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.images.box import Box
from data_prep.pipeline.inspecting import Inspected, Inspection
from data_prep.pipeline.writing import Written

FILE = "record.sqlite"
# Raised when the tables below change.
FORMAT = 2
COMMIT_SECONDS = 1.0
TABLES = """
CREATE TABLE IF NOT EXISTS inspected (name TEXT PRIMARY KEY, key TEXT, result TEXT, masks BLOB, counts BLOB);
CREATE TABLE IF NOT EXISTS written (name TEXT PRIMARY KEY, key TEXT, target TEXT, result TEXT);
"""


class Record:
    """The record of the output folder `out`, which must exist. Use it in a `with` statement.

    Raises:
        UserError: another command is writing the folder, or the file is not a record of this version.
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
                raise UserError(f"{file} was written by another version of data_prep; give another --out")
            self._database.execute(f"PRAGMA user_version={FORMAT}")
            self._database.commit()
            self._database.executescript(TABLES)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise UserError(f"--out={out}: another command is writing this folder; wait for it to end") from error
            raise
        except sqlite3.DatabaseError as error:
            raise UserError(f"{file} is not a record of data_prep, or it is damaged; give another --out") from error
        self._committed = time.monotonic()

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, kind: object, value: BaseException | None, traceback: object) -> None:
        try:
            self._database.commit()
        except sqlite3.OperationalError:
            # The disk is full; what is not recorded is done again. An error under way says more than this one.
            if value is None:
                raise
        finally:
            self._database.close()

    def inspection(self, name: str, key: str) -> Inspection | None:
        """What was found in a frame, if it was found under the same key."""
        row = self._database.execute("SELECT result FROM inspected WHERE name=? AND key=?", (name, key)).fetchone()
        if row is None:
            return None
        inspection = Inspection(*_values(row[0]))
        return inspection._replace(box=Box(*inspection.box))

    def masks(self, name: str) -> bytes:
        """The packed masks of a frame that could be read."""
        blob: bytes
        (blob,) = self._database.execute("SELECT masks FROM inspected WHERE name=?", (name,)).fetchone()
        return blob

    def counts(self, names: Iterable[str]) -> Iterator[bytes]:
        """The packed histograms of those of these frames that have one."""
        for name in names:
            (blob,) = self._database.execute("SELECT counts FROM inspected WHERE name=?", (name,)).fetchone()
            if blob is not None:
                yield blob

    def add_inspection(self, key: str, inspected: Inspected) -> None:
        result = json.dumps(inspected.inspection)
        row = (inspected.inspection.name, key, result, inspected.masks, inspected.counts)
        self._database.execute("INSERT OR REPLACE INTO inspected VALUES (?, ?, ?, ?, ?)", row)
        self._commit_now_and_then()

    def written(self, name: str, key: str, target: str) -> Written | None:
        """The finished picture, if it was made under the same key and lies at `target`."""
        row = self._database.execute(
            "SELECT result FROM written WHERE name=? AND key=? AND target=?", (name, key, target)
        ).fetchone()
        return None if row is None else Written(*_values(row[0]))

    def add_written(self, key: str, target: str, written: Written) -> None:
        row = (written.name, key, target, json.dumps(written))
        self._database.execute("INSERT OR REPLACE INTO written VALUES (?, ?, ?, ?)", row)
        self._commit_now_and_then()

    def targets(self) -> dict[str, str]:
        """Where the pictures of frames went, by name."""
        return dict(self._database.execute("SELECT name, target FROM written"))

    def forget(self, name: str) -> None:
        """Drops the row of a picture that was removed."""
        self._database.execute("DELETE FROM written WHERE name=?", (name,))

    def commit(self) -> None:
        self._database.commit()
        self._committed = time.monotonic()

    def _commit_now_and_then(self) -> None:
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()


def _values(text: str) -> list[Any]:
    """The fields of a named tuple, from JSON, which has no tuples."""
    return [tuple(value) if isinstance(value, list) else value for value in json.loads(text)]
