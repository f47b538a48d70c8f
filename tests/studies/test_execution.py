"""Cells in processes of their own: failures kept apart, nothing run twice, nothing left running."""

import dataclasses
import signal
import subprocess
import sys
import time

import pytest
from filelock import FileLock

from jaxcaps.errors import UnsuitableTask, UserError
from jaxcaps.studies import execution
from jaxcaps.studies.design import Cell
from jaxcaps.studies.execution import Machine, folder_of, run_all, run_here
from jaxcaps.studies.outcomes import OUTCOME, read_failure
from jaxcaps.studies.run import write_array
from tests.studies.build import study_of


def test_a_cell_that_another_process_runs_is_left_alone(tmp_path, monkeypatch):
    study, cell = study_of(), Cell("inpaint", 0, None)
    monkeypatch.setattr(execution, "run_cell", lambda *_, **__: pytest.fail("it was run twice"))
    folder_of(tmp_path, cell).mkdir(parents=True)
    with FileLock(folder_of(tmp_path, cell) / "lock"):
        assert not run_here(study, cell, tmp_path, keep_checkpoints=False)
        assert not execution._succeeded(folder_of(tmp_path, cell), 1)
    assert read_failure(folder_of(tmp_path, cell)) is None


def test_a_study_that_is_told_to_stop_ends_its_cells(tmp_path, monkeypatch):
    """`timeout`, SLURM and a closed terminal send no Ctrl-C. The cell is a shell that waits."""
    monkeypatch.chdir(tmp_path)
    script = (
        "import subprocess\n"
        "from pathlib import Path\n"
        "from jaxcaps import study\n"
        "from jaxcaps.commands import run_command\n"
        "from jaxcaps.studies import execution\n"
        "real = subprocess.Popen\n"
        "waiting = 'trap \"echo ended > ended; exit\" TERM; echo > begun; while :; do sleep 0.05; done'\n"
        "execution.subprocess.Popen = lambda command, **settings: real(['sh', '-c', waiting], **settings)\n"
        "plan = study.design(study.parse(['--preset=tiny', '--inits=random', '--seeds=0']))\n"
        "run_command(lambda: execution.run_all(plan, Path('out'), execution.Machine()))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    while process.poll() is None and not (tmp_path / "begun").exists():
        time.sleep(0.1)
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert (tmp_path / "ended").exists()


def test_a_cell_that_fails_is_recorded_and_one_that_does_not_suit_is_no_failure(tmp_path, monkeypatch):
    study, cell = study_of(), Cell("inpaint", 0, None)
    for error, applicable in ((UserError("the disk is full"), True), (UnsuitableTask("grey"), False)):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(execution, "run_cell", fail)
        assert run_here(study, cell, tmp_path, keep_checkpoints=False) is not applicable
        assert read_failure(folder_of(tmp_path, cell)) == (applicable, str(error))


def test_failures_do_not_stop_the_other_cells(tmp_path, monkeypatch):
    """The cells' processes are replaced by shells, of which one in two fails."""
    study = study_of()
    real = subprocess.Popen

    def shell(command, **settings):
        number = int(command[-1].removeprefix("--cell="))
        folder = folder_of(tmp_path, study.cells()[number])
        script = "echo it broke; exit 3" if number % 2 else f"echo '[]' > '{folder / OUTCOME}'"
        return real(["sh", "-c", script], **settings)

    monkeypatch.setattr(subprocess, "Popen", shell)
    monkeypatch.setattr(execution, "POLL", 0.01)
    failed = run_all(study, tmp_path, Machine(jobs=2))
    assert all((folder_of(tmp_path, cell) / OUTCOME).is_file() for cell in study.cells()[::2])
    assert sorted(cell.name for cell in failed) == sorted(cell.name for cell in study.cells()[1::2])
    assert read_failure(folder_of(tmp_path, failed[0])) == (True, "its process ended with status 3: it broke")
    # What is done is not done again.
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a finished cell was started"))
    with pytest.raises(pytest.fail.Exception):
        run_all(study, tmp_path, Machine(jobs=2))


def test_a_slurm_array_has_every_cell_and_keeps_those_that_wait_apart(tmp_path):
    study = study_of(inits="random,random-seconds,inpaint")
    text = write_array(study, tmp_path, Machine()).read_text(encoding="utf-8")
    assert "#SBATCH --array=0,1,3,4\n" in text
    assert f'python -m jaxcaps.study --out={tmp_path} --cell="$SLURM_ARRAY_TASK_ID"' in text
    assert "#SBATCH --array=2,5\n" in (tmp_path / "array-last.sh").read_text(encoding="utf-8")
    keeping = dataclasses.replace(Machine(), keep_checkpoints=True)
    assert '"$SLURM_ARRAY_TASK_ID" --keep-checkpoints\n' in write_array(study, tmp_path, keeping).read_text(
        encoding="utf-8"
    )
