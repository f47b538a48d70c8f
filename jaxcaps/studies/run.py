"""A study from its plan to its table, top to bottom."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from jaxcaps.config import differences, read_yaml
from jaxcaps.errors import UserError
from jaxcaps.studies.cells import unsuitable
from jaxcaps.studies.execution import folder_of, run_all, run_here
from jaxcaps.studies.forecast import forecast
from jaxcaps.studies.plan import Plan, check, from_plain, to_plain
from jaxcaps.studies.report import write_report
from jaxcaps.studies.results import choose, compare, gather
from jaxcaps.training.folder import check_writable
from jaxcaps.training.ledger import record_reading
from jaxcaps.training.writers import replace_text

log = logging.getLogger("jaxcaps")

PLAN = "study.yaml"


@dataclass(frozen=True)
class Machine:
    """How a study is run; no part of what it finds.

    Attributes:
        jobs: cells at a time.
        devices: accelerators by number, dealt to the jobs.
        keep_checkpoints: keep those of every run.
        ledger: where readings of test splits are recorded; `ledger.csv` beside the study where None.
    """

    jobs: int
    devices: tuple[str, ...]
    keep_checkpoints: bool
    ledger: Path | None


def run_study(plan: Plan, out: Path, machine: Machine) -> bool:
    """Runs (or resumes) a study and writes its table.

    Returns:
        Whether every cell finished, those apart that do not suit the data.

    Raises:
        UserError: a mistake in the plan, or a folder that holds another study; nothing has been run then.
    """
    _begin(plan, out, machine.ledger)
    _, failed = run_all(
        plan, out, jobs=machine.jobs, devices=machine.devices, keep_checkpoints=machine.keep_checkpoints
    )
    log.info("\n%s\n", report(plan, out))
    log.info("Everything is in %s", out)
    return not failed


def run_one(out: Path, number: int, *, keep_checkpoints: bool) -> bool:
    """Runs one cell of a study that is there, by its number.

    Raises:
        UserError: no study in the folder, or no cell of that number.
    """
    plan = read_plan(out)
    cells = plan.cells()
    if not 0 <= number < len(cells):
        raise UserError(f"--cell={number}: {out} has cells 0 to {len(cells) - 1}")
    return run_here(plan, cells[number], out, keep_checkpoints=keep_checkpoints)


def report(plan: Plan, out: Path) -> str:
    """Writes what the finished cells came to; the table."""
    results = gather(plan, out)
    final = bool(plan.chosen)
    lines = compare(plan, results, chosen_only=final)
    choices = plan.chosen if final else choose(plan, results)
    return write_report(plan, results, lines, choices, out)


def final_plan(selection: Path, seeds: tuple[int, ...]) -> Plan:
    """The plan that runs what a study has chosen, once, with fresh seeds, and opens the test split.

    Raises:
        UserError: no finished study there, or seeds it has used.
    """
    plan = read_plan(selection)
    if plan.split == "test":
        raise UserError(f"--final={selection}: that is a final study itself; give the one that chose its recipes")
    used = sorted(set(seeds) & set(plan.seeds))
    if used:
        raise UserError(
            f"--final={selection} --seeds={','.join(map(str, seeds))}: {', '.join(map(str, used))} took part in the "
            "choice of recipes; give seeds that have not been seen"
        )
    unsuited = [arm.name for arm in plan.arms if _suits_nowhere(plan, arm.name, selection)]
    if unsuited:
        log.info("Not applicable to %s, and left out: %s", plan.data, ", ".join(unsuited))
        arms = [arm for arm in plan.arms if arm.name not in unsuited]
        # Without an arm that pre-trains there is no budget to be given.
        budget = any(arm.pretrain is not None for arm in arms)
        plan = replace(plan, arms=tuple(arm for arm in arms if budget or not arm.longer))
    results = gather(plan, selection)
    done = {one.cell for one in results}
    missing = [cell.name for cell in plan.cells() if cell not in done and not plan.arm(cell.arm).pixels]
    if missing:
        raise UserError(
            f"--final={selection}: {len(missing)} of its cells have not finished, such as {missing[0]}; run it to its "
            "end first, without the arms that cannot run on some folds"
        )
    return replace(plan, seeds=seeds, split="test", chosen=choose(plan, results), selection=str(selection))


def _suits_nowhere(plan: Plan, arm: str, out: Path) -> bool:
    """Whether each cell of an arm was found not applicable to the data."""
    return all(unsuitable(folder_of(out, cell)) for cell in plan.cells() if cell.arm == arm)


def _begin(plan: Plan, out: Path, ledger: Path | None) -> None:
    """Makes the folder this study's once all that can be refused has been, the folder before the data is read."""
    check_out(plan, out)
    check(plan)
    _record_reading(plan, out, ledger, begun=not claim(plan, out))


def claim(plan: Plan, out: Path) -> bool:
    """Makes the folder this study's.

    Returns:
        Whether it is new; False where the same study was begun there before.

    Raises:
        UserError: as `check_out`.
    """
    check_out(plan, out)
    if (out / PLAN).is_file():
        return False
    out.mkdir(parents=True, exist_ok=True)
    replace_text(out / PLAN, yaml.safe_dump(_plain(plan), sort_keys=False))
    return True


def check_out(plan: Plan, out: Path) -> None:
    """
    Raises:
        UserError: the folder holds another study, or something else, or cannot be written to.
    """
    check_writable(out)
    if not (out / PLAN).is_file():
        if out.exists() and any(out.iterdir()):
            raise UserError(f"--out={out} exists and holds no study; nothing was changed. Give another --out")
        return
    # Read as a plan: what there was no choice of when it was written has its default.
    changes = differences(_plain(read_plan(out)), _plain(plan))
    if changes:
        listed = "\n".join(f"  {line}" for line in changes)
        raise UserError(
            f"--out={out} holds another study; nothing was changed. Give another --out.\n"
            f"That one -> this one:\n{listed}"
        )


def _record_reading(plan: Plan, out: Path, ledger: Path | None, *, begun: bool) -> None:
    """Before any cell runs, if the study opens the test split; a study that is resumed is on record."""
    if plan.split == "test":
        record_reading(
            ledger,
            data=plan.data + (f", minority {plan.minority}" if plan.minority else ""),
            what=f"final study of {plan.selection}",
            arms=",".join(arm.name for arm in plan.arms),
            seeds=",".join(map(str, plan.seeds)),
            folder=out,
            once=begun,
        )


def read_plan(out: Path) -> Plan:
    """
    Raises:
        UserError: no study there.
    """
    if not (out / PLAN).is_file():
        raise UserError(f"{out} holds no study: it has no {PLAN}")
    return from_plain(read_yaml(out / PLAN), str(out / PLAN))


def write_array(plan: Plan, out: Path, machine: Machine) -> Path:
    """Writes a SLURM array job in which each task is a cell; the study's own command then makes the table.

    Cells that are given another's budget come last, in an array of their own. A reading of the test split is recorded
    now, since its cells run by themselves.

    Raises:
        UserError: as `run_study`.
    """
    _begin(plan, out, machine.ledger)
    cells = plan.cells()
    last = [number for number, cell in enumerate(cells) if plan.arm(cell.arm).longer]
    first = [number for number in range(len(cells)) if number not in last]
    body = f'python -m jaxcaps.study --out={out} --cell="$SLURM_ARRAY_TASK_ID"'
    body += " --keep-checkpoints" if machine.keep_checkpoints else ""
    path = out / "array.sh"
    replace_text(
        path,
        "#!/bin/sh\n"
        "# sbatch this file: one task for each cell. Then run the study's own command again: it makes the table.\n"
        f"#SBATCH --job-name=jaxcaps-study\n#SBATCH --array={','.join(map(str, first))}\n"
        f"#SBATCH --output={out}/slurm-%a.txt\n\n{body}\n",
    )
    if last:
        replace_text(
            out / "array-last.sh",
            "#!/bin/sh\n"
            "# sbatch --dependency=afterany:JOB this file, JOB being the number of array.sh's.\n"
            f"#SBATCH --job-name=jaxcaps-study-last\n#SBATCH --array={','.join(map(str, last))}\n"
            f"#SBATCH --output={out}/slurm-%a.txt\n\n{body}\n",
        )
    return path


def dry_run(plan: Plan, jobs: int) -> str:
    """The cells, and the minutes they will take by a measured step."""
    check(plan)
    return forecast(plan, jobs)


def _plain(plan: Plan) -> dict[str, object]:
    """As YAML gives it back."""
    values: dict[str, object] = yaml.safe_load(yaml.safe_dump(to_plain(plan)))
    return values
