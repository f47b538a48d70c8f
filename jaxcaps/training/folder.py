"""The run folder: whose it is, what was logged, whether the run is finished."""

import json
import logging
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from jaxcaps.config import Config, differences, from_dict, identity, read_yaml, write_yaml
from jaxcaps.errors import UserError

log = logging.getLogger("jaxcaps")


def default_folder(config: Config) -> Path:
    return Path(config.out or f"runs/{config.stage}")


def check_folder(folder: Path, config: Config) -> None:
    """Refuses a folder that holds anything but this very run.

    Raises:
        UserError: another configuration's run, or files that are no run; another `--out` is suggested.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
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


def finished_metrics(folder: Path) -> dict[str, Any] | None:
    """What the finished run in this folder measured; None while it is unfinished."""
    path = folder / "metrics.json"
    if not path.is_file():
        return None
    metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return metrics


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
        """Makes the folder this run's: its configuration and its log go there."""
        folder.mkdir(parents=True, exist_ok=True)
        write_yaml(config, folder / "config.yaml")
        self.file = logging.FileHandler(folder / "log.txt", encoding="utf-8")
        self.file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        self.early.setTarget(self.file)
        self.early.flush()
        self.early.capacity = 1
