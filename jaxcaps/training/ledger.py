"""The ledger: every reading of a test split is a line, written before the split is opened, never changed after.

A test split that was read while a recipe was still being sought is a test split no longer. The ledger shows, for each
set, what was decided before its test split was first read and what after.
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
    """Appends a line.

    Args:
        ledger: the file; `ledger.csv` beside `folder` where None.
        data: what `--data` says.
        what: why the split is read.
        arms, seeds: of the study; empty for a single run.
        folder: of the study or run.
        once: not where a line says the same already: a study that is resumed reads each picture once.
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
    """The commit of this code, with a + where files differ from it; "unknown" outside a checkout of it.

    An installed copy may lie inside a repository of the user's, whose commit says nothing of the code.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", str(Path(__file__).resolve()))
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
