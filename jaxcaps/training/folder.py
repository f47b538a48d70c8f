"""The run folder: its configuration, its log, and the pictures trained on. `jaxcaps.restoring` reads it again."""

import json
import logging
import os
from logging.handlers import MemoryHandler
from pathlib import Path

from data_prep.pipeline.applying import FittedSteps
from jaxcaps.config import differences
from jaxcaps.data.dataset import Split
from jaxcaps.data.splits import ALL, called
from jaxcaps.errors import UserError
from jaxcaps.plan.config import Config, identity, yaml_text
from jaxcaps.restoring.run_folder import CONFIG, LEARNT, PREPARATION, is_finished, read_config
from jaxcaps.training.writers import replace_text

log = logging.getLogger("jaxcaps")

# The contents of pictures, see `jaxcaps.data.reading.content`.
Learnt = frozenset[str]
# A data set may hold copies of some pictures in two of its splits. A larger share means that splits were mixed up.
COPIES = 0.05


def default_folder(config: Config) -> Path:
    return Path(config.out or f"runs/{config.stage}")


def check_writable(folder: Path) -> None:
    """
    Raises:
        UserError: the folder is a file, or cannot be created or written to.
    """
    ancestor = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not ancestor.is_dir() or not os.access(ancestor, os.W_OK):
        raise UserError(f"--out={folder}: {ancestor} is not a writable folder; give another --out")


def check_folder(folder: Path, config: Config) -> None:
    """Checks that a folder is new, empty, or holds a run of this configuration.

    Raises:
        UserError: the folder holds a run of another configuration or other files. The message suggests another `--out`.
    """
    check_writable(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return
    spare = next(f"{folder}-{n}" for n in range(2, 1000) if not Path(f"{folder}-{n}").exists())
    if not (folder / CONFIG).is_file():
        raise UserError(f"--out={folder} exists and is not a run folder; nothing was changed. Try --out={spare}")
    found = identity(read_config(folder))
    wanted = identity(config)
    changes = differences(found, wanted)
    if changes:
        listed = "\n".join(f"  {line}" for line in changes)
        if config.stage == "ssl" and is_finished(folder):
            spare += f" --restore={folder} to start from its parameters"
        raise UserError(
            f"--out={folder} holds a run of another configuration; nothing was changed. "
            f"Try --out={spare}, or remove the folder.\nThat run -> this one:\n{listed}"
        )


def write_preparation(folder: Path, prepared: FittedSteps | None) -> None:
    """Records the steps with which `data_prep` made the pictures of this run."""
    if prepared is not None:
        replace_text(folder / PREPARATION, json.dumps(prepared.to_dict()) + "\n")


def contents_of(split: Split) -> Learnt:
    """Returns the contents of the pictures of a split."""
    return frozenset(split.contents.astype(str).tolist())


def write_learnt(folder: Path, learnt: Learnt) -> None:
    """Records the pictures that this run, and the runs it was restored from, were trained on.

    They are known by content: the file holds no name, and pictures are recognised wherever they lie.
    """
    replace_text(folder / LEARNT, "".join(f"{content}\n" for content in sorted(learnt)))


def check_not_learnt(learnt: Learnt, scored: Split, split: str, origin: str | Path) -> None:
    """Checks that the pictures to score were not trained on, whatever their names. A few copies are only reported.

    Args:
        learnt: the contents of the pictures trained on, see `jaxcaps.restoring.Origin`.
        scored: the pictures to score.
        split: name of their split, or "all".
        origin: the run or encoder, for the message.

    Raises:
        UserError: more than 5% of the pictures were in the training split of the run in `origin`, or of a run it was
            restored from.
    """
    known = [name for name, content in zip(scored.names, scored.contents.astype(str), strict=True) if content in learnt]
    if len(known) > COPIES * len(scored):
        remedy = (
            "Give other pictures, or one of the splits that it was not trained on"
            if split == ALL
            else "Use its --split-seed and the same data, rows without labels included (fine-tuning leaves them out), "
            "or data that names the same splits"
        )
        raise UserError(
            f"{origin} was trained on {len(known)} of the {len(scored)} pictures of the {called(split)} (such as "
            f"{known[0]}). {remedy}"
        )
    if known:
        log.warning(
            "%d of the %d pictures of the %s are copies of pictures that %s was trained on, such as %s; they are "
            "scored too",
            len(known),
            len(scored),
            called(split),
            origin,
            known[0],
        )


class RunLog:
    """Buffers log lines until the run folder is claimed, then writes them to its `log.txt`."""

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
        """Creates the folder and writes the configuration and the log there. Only one process of a run calls this."""
        folder.mkdir(parents=True, exist_ok=True)
        # A resumed run has the same file already.
        if not (folder / CONFIG).exists():
            replace_text(folder / CONFIG, yaml_text(config))
        self.file = logging.FileHandler(folder / "log.txt", encoding="utf-8")
        self.file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        self.early.setTarget(self.file)
        self.early.flush()
        self.early.capacity = 1
