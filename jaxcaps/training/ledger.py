"""The ledger: one line for each time a test split is read, written before the split is opened and never changed.

A test split that was read while choices were still being made no longer gives an unbiased estimate. For each data set,
the ledger shows which choices were made before its test split was first read, and which after.
"""

import csv
import datetime
import io
import subprocess
from pathlib import Path

from jaxcaps import __version__

COLUMNS = ("date", "version", "commit", "data", "what", "arms", "seeds", "folder")


def record_reading(
    ledger: Path | None, *, data: str, what: str, arms: str, seeds: str, folder: Path, once: bool = False
) -> None:
    """Appends a line to the ledger.

    Args:
        ledger: the file; None means `ledger.csv` beside `folder`.
        data: the value of `--data`.
        what: why the split is read.
        arms, seeds: those of the study; empty for a single run.
        folder: the folder of the study or run.
        once: do not repeat an identical line, as when a study is resumed.
    """
    ledger = ledger or folder.absolute().parent / "ledger.csv"
    row = [_now(), __version__, _commit(), data, what, arms, seeds, str(folder)]
    if once and ledger.is_file():
        with ledger.open(encoding="utf-8", newline="") as file:
            known = list(csv.reader(file))
        if any(line[3:] == row[3:] for line in known):
            return
    ledger.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if not ledger.is_file():
        table.writerow(COLUMNS)
    table.writerow(row)
    with ledger.open("a", encoding="utf-8") as file:
        file.write(text.getvalue())


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")


def _commit() -> str:
    """Returns the commit of this code, with a `+` if files were modified, or "unknown" outside a checkout.

    An installed copy may lie inside the user's own repository, whose commit does not identify this code.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", str(Path(__file__).resolve()))
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
