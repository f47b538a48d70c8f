"""A study from its design to its table."""

import logging
from dataclasses import replace
from pathlib import Path

from jaxcaps.errors import UserError
from jaxcaps.studies.checks import check
from jaxcaps.studies.design import Study
from jaxcaps.studies.execution import Machine, folder_of, run_all, run_here
from jaxcaps.studies.outcomes import unsuitable
from jaxcaps.studies.report import write_report
from jaxcaps.studies.results import choose, compare, gather
from jaxcaps.studies.study_file import check_out, claim, read_study
from jaxcaps.training.ledger import record_reading
from jaxcaps.training.writers import replace_text

log = logging.getLogger("jaxcaps")


def run_study(study: Study, out: Path, machine: Machine) -> bool:
    """Runs (or resumes) a study and writes its table.

    Returns:
        Whether every cell finished, apart from those that do not suit the data.

    Raises:
        UserError: a mistake in the design, or a folder that holds another study; nothing has been run then.
    """
    _begin(study, out, machine.ledger)
    failed = run_all(study, out, machine)
    log.info("\n%s\n", report(study, out))
    log.info("Everything is in %s", out)
    return not failed


def run_one(out: Path, number: int, *, keep_checkpoints: bool) -> bool:
    """Runs one cell of the study in a folder, by its number.

    Raises:
        UserError: no study in the folder, or no cell of that number.
    """
    study = read_study(out)
    cells = study.cells()
    if not 0 <= number < len(cells):
        raise UserError(f"--cell={number}: {out} has cells 0 to {len(cells) - 1}")
    return run_here(study, cells[number], out, keep_checkpoints=keep_checkpoints)


def report(study: Study, out: Path) -> str:
    """Writes the results of the finished cells; returns the table."""
    results = gather(study, out)
    final = bool(study.chosen)
    lines = compare(study, results, chosen_only=final)
    choices = study.chosen if final else choose(study, results)
    return write_report(study, results, lines, choices, out)


def final_study(selection: Path, seeds: tuple[int, ...]) -> Study:
    """The study that runs what another has chosen, once, with fresh seeds, and opens the test split.

    Raises:
        UserError: no finished study there, or seeds that it has used.
    """
    study = read_study(selection)
    if study.split == "test":
        raise UserError(f"--final={selection}: that is itself a final study; give the one that chose its recipes")
    used = ", ".join(map(str, sorted(set(seeds) & set(study.seeds))))
    if used:
        raise UserError(
            f"--final={selection} --seeds={','.join(map(str, seeds))}: the recipes were chosen with seed {used}; give "
            "fresh seeds"
        )
    cells = study.cells()
    suited = {cell.arm for cell in cells if not unsuitable(folder_of(selection, cell))}
    if left_out := [name for name in study.inits if name not in suited]:
        log.info("Not applicable to %s, and left out: %s", study.finetune.data.data, ", ".join(left_out))
        # Without an arm that pre-trains there is no budget to give.
        budget = bool(suited.intersection(study.pretrained))
        kept = (arm for arm in study.arms if arm.name in suited and (budget or not arm.kind.longer))
        study = replace(study, inits=tuple(arm.name for arm in kept))
    results = gather(study, selection)
    done = {one.cell for one in results}
    pixels = {arm.name for arm in study.arms if arm.kind.pixels}
    missing = [cell.name for cell in study.cells() if cell not in done and cell.arm not in pixels]
    if missing:
        raise UserError(
            f"--final={selection}: {len(missing)} of its cells have not finished, such as {missing[0]}; finish "
            "that study first, without the arms that cannot run on some folds"
        )
    return replace(study, seeds=seeds, split="test", chosen=choose(study, results), selection=str(selection))


def write_array(study: Study, out: Path, machine: Machine) -> Path:
    """Writes a SLURM array job in which each task is a cell; the study's own command then makes the table.

    Cells that get the budget of another come last, in an array of their own. A reading of the test split is recorded
    now, since the cells run by themselves.

    Raises:
        UserError: as `run_study`.
    """
    _begin(study, out, machine.ledger)
    longer = {arm.name for arm in study.arms if arm.kind.longer}
    last = [number for number, cell in enumerate(study.cells()) if cell.arm in longer]
    first = [number for number in range(len(study.cells())) if number not in last]
    keep = " --keep-checkpoints" if machine.keep_checkpoints else ""

    def write(name: str, numbers: list[int], hint: str) -> Path:
        replace_text(
            out / f"{name}.sh",
            f"#!/bin/sh\n# {hint}\n"
            f"#SBATCH --job-name=jaxcaps-study\n#SBATCH --array={','.join(map(str, numbers))}\n"
            f"#SBATCH --output={out}/slurm-%a.txt\n\n"
            f'python -m jaxcaps.study --out={out} --cell="$SLURM_ARRAY_TASK_ID"{keep}\n',
        )
        return out / f"{name}.sh"

    if last:
        write("array-last", last, "sbatch --dependency=afterany:JOB this file, JOB being the number of array.sh's job.")
    return write("array", first, "sbatch this file: one task per cell. Then run the study's command for the table.")


def _begin(study: Study, out: Path, ledger: Path | None) -> None:
    """Makes the folder this study's once all checks have passed, those of the folder before those of the data.

    A reading of the test split goes into the ledger before any cell runs. A study that is resumed is there already.
    """
    check_out(study, out)
    check(study)
    new = claim(study, out)
    if study.split == "test":
        data = study.finetune.data
        record_reading(
            ledger,
            data=data.data + (f", minority {data.minority}" if data.minority else ""),
            what=f"final study of {study.selection}",
            arms=",".join(study.inits),
            seeds=",".join(map(str, study.seeds)),
            folder=out,
            once=not new,
        )
