"""The run folder: whose it is, what was logged, whether the run is finished."""

import logging
import os
from collections.abc import Iterable
from logging.handlers import MemoryHandler
from pathlib import Path

from jaxcaps.config import differences, from_dict, read_yaml
from jaxcaps.data.sources import anonymous
from jaxcaps.encoder_file import encoder_file, read_header
from jaxcaps.errors import UserError
from jaxcaps.plan.config import Config, identity, yaml_text
from jaxcaps.training.writers import replace_text

log = logging.getLogger("jaxcaps")

# Pictures, each as (what --data says, its name).
Learnt = set[tuple[str, str]]


def default_folder(config: Config) -> Path:
    return Path(config.out or f"runs/{config.stage}")


def check_writable(folder: Path) -> None:
    """
    Raises:
        UserError: the folder is a file, or cannot be made or written to.
    """
    ancestor = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK):
        raise UserError(f"--out={folder}: {ancestor} is no folder that can be written to; give another --out")


def check_folder(folder: Path, config: Config) -> None:
    """Refuses a folder that holds anything but this very run.

    Raises:
        UserError: another configuration's run, or files that are no run; another `--out` is suggested.
    """
    check_writable(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return
    spare = next(f"{folder}-{n}" for n in range(2, 1000) if not Path(f"{folder}-{n}").exists())
    if not (folder / "config.yaml").is_file():
        raise UserError(f"--out={folder} exists and is no run folder; nothing was changed. Try --out={spare}")
    found = identity(read_config(folder))
    wanted = identity(config)
    changes = differences(found, wanted)
    if changes:
        listed = "\n".join(f"  {line}" for line in changes)
        raise UserError(
            f"--out={folder} holds a run of another configuration; nothing was changed. "
            f"Try --out={spare}, or remove the folder.\nThat run -> this one:\n{listed}"
        )


def read_config(folder: Path) -> Config:
    """The configuration a run folder was made with.

    Raises:
        UserError: there is none, or it does not fit this version.
    """
    path = folder / "config.yaml"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such run folder")
    if not path.is_file():
        raise UserError(f"{folder} is no run folder: it has no config.yaml")
    return from_dict(Config, read_yaml(path), str(path))


def write_learnt(folder: Path, learnt: Learnt) -> None:
    """Records the pictures that this run, and the runs it was restored from, learnt from."""
    replace_text(folder / "learnt_from.txt", "".join(f"{data}\t{name}\n" for data, name in sorted(learnt)))


def read_learnt(origin: str | Path) -> Learnt:
    """The pictures that a run (its folder) or an encoder (its file) learnt from, whatever their data."""
    file = encoder_file(str(origin))
    if file is not None:
        header = read_header(file)
        return {(header.config.data.data, name) for name in header.learnt_from}
    path = Path(origin) / "learnt_from.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = set()
    for line in lines:
        data, tab, name = line.partition("\t")
        # Runs of before lines named their data learnt from their own alone.
        found.add((data, name) if tab else (read_config(Path(origin)).data.data, line))
    return found


def check_not_learnt(learnt: Learnt, data: str, names: Iterable[str], split: str, origin: str | Path) -> None:
    """Refuses to score pictures that were learnt from.

    Data is known again by what `--data` says; what an encoder's file was learnt from, by the kind and the last part of
    the path.

    Raises:
        UserError: some of the split's pictures were in the training split of the run in `origin`, or of one before it.
    """
    leaked = sorted({name for known, name in learnt if known in (data, anonymous(data))} & set(names))
    if leaked:
        raise UserError(
            f"{len(leaked)} pictures of the {split} split were learnt from in {origin} (such as {leaked[0]}): its "
            "split was another. Take its --split-seed and unchanged data, or give the data splits of its own"
        )


def is_finished(folder: Path) -> bool:
    """Whether the run in this folder has been through: `metrics.json` is the last file it writes."""
    return (folder / "metrics.json").is_file()


class RunLog:
    """Log lines go to standard output at once, and into `log.txt` from the moment the folder is claimed."""

    def __init__(self) -> None:
        self.early = MemoryHandler(100_000, flushLevel=logging.CRITICAL + 1)
        self.file: logging.FileHandler | None = None

    def __enter__(self) -> "RunLog":
        log.addHandler(self.early)
        return self

    def __exit__(self, *exception: object) -> None:
        log.removeHandler(self.early)
        self.early.close()
        if self.file is not None:
            self.file.close()

    def claim(self, folder: Path, config: Config) -> None:
        """Makes the folder this run's: its configuration and its log go there. For one process of the run alone."""
        folder.mkdir(parents=True, exist_ok=True)
        # On resuming it is there, and the same.
        if not (folder / "config.yaml").exists():
            replace_text(folder / "config.yaml", yaml_text(config))
        self.file = logging.FileHandler(folder / "log.txt", encoding="utf-8")
        self.file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        self.early.setTarget(self.file)
        self.early.flush()
        self.early.capacity = 1
