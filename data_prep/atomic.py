"""Files that are there whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO


@contextlib.contextmanager
def replacing(target: Path, folder: Path | None = None) -> Iterator[Path]:
    """A path to write to. It becomes `target` when the block ends without an error, and is removed otherwise.

    A kill at any moment leaves the old file, the new one or none.

    Args:
        target: the file to write.
        folder: where the unfinished file lies, on the same file system; default: beside the target.
    """
    # The suffix stays: some writers choose the format by it. A whole stem could make the name too long.
    partial = (folder or target.parent) / f".{target.stem[:40]}.{os.getpid()}.partial{target.suffix}"
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(target: Path) -> Iterator[TextIO]:
    """A UTF-8 text file to write to, whose lines end as they are written. It becomes `target` as `replacing` says."""
    with replacing(target) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        yield file
