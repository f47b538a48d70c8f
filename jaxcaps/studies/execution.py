"""Running the cells of a study: each in a process of its own, several at once where asked, failures kept apart."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from jaxcaps.errors import UnsuitableTask, UserError
from jaxcaps.studies.cells import FAILED, read_failure, read_outcome, run_cell, unsuitable
from jaxcaps.studies.plan import Cell, Plan
from jaxcaps.training.progress import duration
from jaxcaps.training.writers import replace_text

log = logging.getLogger("jaxcaps")

CELLS, LOCK = "cells", "lock"
# How often finished processes are looked for, in seconds.
POLL = 0.5


def folder_of(out: Path, cell: Cell) -> Path:
    return out / CELLS / cell.name


def run_here(plan: Plan, cell: Cell, out: Path, *, keep_checkpoints: bool) -> bool:
    """Runs one cell in this process, and records why where it fails.

    Returns:
        Whether the study can count on it: it finished, or its task does not suit the data.
    """
    folder = folder_of(out, cell)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            run_cell(plan, cell, folder, keep_checkpoints=keep_checkpoints)
        return True
    except Timeout:
        log.error("%s is being run by another process; it was left alone", cell.name)
        return False
    except UnsuitableTask as error:
        _record(folder, str(error), applicable=False)
        return True
    except UserError as error:
        _record(folder, str(error), applicable=True)
        log.error("%s failed: %s", cell.name, error)
        return False


def _record(folder: Path, reason: str, *, applicable: bool) -> None:
    replace_text(folder / FAILED, json.dumps({"applicable": applicable, "reason": reason}, indent=2) + "\n")


def run_all(
    plan: Plan, out: Path, *, jobs: int, devices: Sequence[str], keep_checkpoints: bool
) -> tuple[list[Cell], list[Cell]]:
    """Runs every cell that has not finished, `jobs` at once. A failure does not stop the others.

    Args:
        plan: the study.
        out: its folder, with `study.yaml` in it.
        jobs: processes at a time; on a CPU they share its cores evenly.
        devices: accelerators by number, dealt to the processes in turn; empty leaves the choice to JAX.
        keep_checkpoints: whether the runs' checkpoints are kept.

    Returns:
        The cells that finished and those that failed.
    """
    cells = plan.cells()
    waiting = [
        cell for cell in cells if read_outcome(folder_of(out, cell)) is None and not unsuitable(folder_of(out, cell))
    ]
    log.info("%d cells, %d of them finished; %d at a time", len(cells), len(cells) - len(waiting), jobs)
    running: dict[int, tuple[Cell, subprocess.Popen[bytes], float]] = {}
    failed: list[Cell] = []
    began, total = time.monotonic(), len(waiting)
    try:
        while waiting or running:
            for slot in range(jobs):
                cell = _next(plan, waiting, running) if slot not in running else None
                if cell is not None:
                    waiting.remove(cell)
                    process = _start(
                        out, cells.index(cell), folder_of(out, cell), slot, jobs, devices, keep_checkpoints
                    )
                    running[slot] = cell, process, time.monotonic()
            time.sleep(POLL)
            for slot, (cell, process, since) in list(running.items()):
                if process.poll() is None:
                    continue
                del running[slot]
                done = total - len(waiting) - len(running)
                left = (time.monotonic() - began) / done * (total - done)
                if not _succeeded(out, cell, process.returncode):
                    failed.append(cell)
                log.info(
                    "%d/%d  %s  %s in %s  %s left",
                    done,
                    total,
                    cell.name,
                    "failed" if cell in failed else "unsuitable" if unsuitable(folder_of(out, cell)) else "done",
                    duration(time.monotonic() - since),
                    duration(left),
                )
    finally:
        # Ctrl-C reaches the children too; whatever else ends this one must not leave them running. They write down the
        # seconds that they took.
        for _, process, _ in running.values():
            process.terminate()
        for _, process, _ in running.values():
            process.wait()
    return [cell for cell in cells if read_outcome(folder_of(out, cell)) is not None], failed


def _next(
    plan: Plan, waiting: Sequence[Cell], running: dict[int, tuple[Cell, subprocess.Popen[bytes], float]]
) -> Cell | None:
    """The first cell that waits for no other: a baseline that is given another's budget needs to know whose."""
    pretrained = {each.name for each in plan.pretrained()}
    unfinished = [*waiting, *(cell for cell, _, _ in running.values())]
    awaited = {(cell.seed, cell.fold) for cell in unfinished if cell.arm in pretrained}
    for cell in waiting:
        if not (plan.arm(cell.arm).longer and (cell.seed, cell.fold) in awaited):
            return cell
    return None


def _start(
    out: Path, number: int, folder: Path, slot: int, jobs: int, devices: Sequence[str], keep_checkpoints: bool
) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    # What one cell has compiled the others need not.
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str((out / "compiled").absolute()))
    environment.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    command = [sys.executable, "-m", "jaxcaps.study", f"--out={out}", f"--cell={number}"]
    command += ["--keep-checkpoints"] if keep_checkpoints else []
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    if jobs > 1 and not devices and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        share = [core for index, core in enumerate(cores) if index % jobs == slot] or cores
        # Before the child has got as far as starting threads, which inherit it.
        os.sched_setaffinity(process.pid, share)
    return process


def _is_locked(folder: Path) -> bool:
    """Whether another process runs the cell."""
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def _succeeded(out: Path, cell: Cell, status: int) -> bool:
    folder = folder_of(out, cell)
    if status == 0 and (read_outcome(folder) is not None or unsuitable(folder)):
        return True
    if read_failure(folder) is None and not _is_locked(folder):
        tail = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        _record(folder, f"its process ended with status {status}: {' '.join(tail)}", applicable=True)
    return False
