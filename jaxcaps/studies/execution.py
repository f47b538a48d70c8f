"""Runs the cells of a study, each in its own process and several at once if asked. A failure stops only its cell."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from jaxcaps.errors import UnsuitableTask, UserError
from jaxcaps.studies.cells import run_cell
from jaxcaps.studies.design import Cell, Study
from jaxcaps.studies.notation import study_arm
from jaxcaps.studies.outcomes import CELLS, Failure, awaits_run, read_failure, unsuitable, write_failure
from jaxcaps.training.progress import duration

log = logging.getLogger("jaxcaps")

LOCK = "lock"
# Seconds between two looks at which processes have ended.
POLL = 0.5


@dataclass(frozen=True)
class Machine:
    """How a study runs. It is not part of what the study finds.

    Attributes:
        jobs: cells at a time; on a CPU they share its cores evenly.
        devices: accelerators by number, dealt to the jobs in turn; empty leaves the choice to JAX.
        keep_checkpoints: keep those of every run.
        ledger: where readings of test splits are recorded; `ledger.csv` beside the study if None.
    """

    jobs: int = 1
    devices: tuple[str, ...] = ()
    keep_checkpoints: bool = False
    ledger: Path | None = None


def folder_of(out: Path, cell: Cell) -> Path:
    return out / CELLS / cell.name


def run_here(study: Study, cell: Cell, out: Path, *, keep_checkpoints: bool) -> bool:
    """Runs one cell in this process, and records why if it fails.

    Returns:
        Whether the study can count on it: it finished, or its task does not suit the data.
    """
    folder = folder_of(out, cell)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            run_cell(study, cell, folder, keep_checkpoints=keep_checkpoints)
        return True
    except Timeout:
        log.error("Another process runs %s; it was left alone", cell.name)
    except UnsuitableTask as error:
        write_failure(folder, Failure(False, str(error)))
        return True
    except UserError as error:
        write_failure(folder, Failure(True, str(error)))
        log.error("%s failed: %s", cell.name, error)
    return False


def run_all(study: Study, out: Path, machine: Machine) -> list[Cell]:
    """Runs every cell that has not finished. A failure does not stop the others.

    Args:
        study: as in the `study.yaml` of its folder.
        out: the study's folder.
        machine: how many cells run at once, and where.

    Returns:
        The cells that failed.
    """
    cells = study.cells()
    waiting = [cell for cell in cells if awaits_run(folder_of(out, cell))]
    log.info("%d cells, %d of them finished; %d at a time", len(cells), len(cells) - len(waiting), machine.jobs)
    running: dict[int, tuple[Cell, subprocess.Popen[bytes], float]] = {}
    failed: list[Cell] = []
    began, total = time.monotonic(), len(waiting)
    try:
        while waiting or running:
            for slot in set(range(machine.jobs)) - set(running):
                cell = _ready(study, waiting, [cell for cell, _, _ in running.values()])
                if cell is not None:
                    waiting.remove(cell)
                    process = _start(out, cells.index(cell), folder_of(out, cell), slot, machine)
                    running[slot] = cell, process, time.monotonic()
            time.sleep(POLL)
            for slot, (cell, process, since) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[slot]
                folder = folder_of(out, cell)
                state = "unsuitable" if unsuitable(folder) else "done"
                if not _succeeded(folder, process.returncode):
                    failed.append(cell)
                    state = "failed"
                now, done = time.monotonic(), total - len(waiting) - len(running)
                left = (now - began) / done * (total - done)
                times = duration(now - since), duration(left)
                log.info("%d/%d  %s  %s in %s  %s left", done, total, cell.name, state, *times)
    finally:
        # Ctrl-C reaches the children too; whatever else ends this process must not leave them running. They write down
        # the seconds that they took.
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.wait()
    return failed


def _ready(study: Study, waiting: list[Cell], running: Iterable[Cell]) -> Cell | None:
    """Returns the first cell that can run now. A baseline with the budget of another arm has to wait for that arm."""
    unfinished = [*waiting, *running]
    awaited = {(cell.seed, cell.fold) for cell in unfinished if cell.arm in study.pretrained}
    free = (cell for cell in waiting if not (study_arm(cell.arm).kind.longer and (cell.seed, cell.fold) in awaited))
    return next(free, None)


def _start(out: Path, number: int, folder: Path, slot: int, machine: Machine) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    # What one cell has compiled the others need not compile.
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str((out / "compiled").absolute()))
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    if machine.devices:
        environment["CUDA_VISIBLE_DEVICES"] = machine.devices[slot % len(machine.devices)]
    command = [sys.executable, "-m", "jaxcaps.study", f"--out={out}", f"--cell={number}"]
    command += ["--keep-checkpoints"] if machine.keep_checkpoints else []
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    if machine.jobs > 1 and not machine.devices and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        # Before the child has got as far as starting threads, which inherit it.
        os.sched_setaffinity(process.pid, cores[slot :: machine.jobs] or cores)
    return process


def _succeeded(folder: Path, status: int) -> bool:
    """Whether a cell succeeded, given the status of its process. Records failures that the cell did not record."""
    if status == 0 and not awaits_run(folder):
        return True
    try:
        with FileLock(folder / LOCK, timeout=0):
            if read_failure(folder) is None:
                output = (folder / "output.txt").read_text(encoding="utf-8", errors="replace")
                last = " ".join(output.strip().splitlines()[-1:])
                write_failure(folder, Failure(True, f"its process ended with status {status}: {last}"))
    except Timeout:
        # Another process runs it.
        pass
    return False
