"""The runs below a folder: what they are, how far they have come, and their best metric."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from jaxcaps.errors import UserError
from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.plan.config import Config
from jaxcaps.restoring.run_folder import CONFIG, is_finished, read_config, read_json
from jaxcaps.training.writers import LINEAR_PROBE, Row, read_rows

HEADS = ("run", "stage", "what", "preset", "data", "state", "validation")
# The folders of a run that hold no runs.
OWN = ("checkpoints", "figures", "wandb")


@dataclass(frozen=True)
class ListedRun:
    """One run folder.

    Attributes:
        folder: the folder.
        config: its configuration; None if it cannot be read.
        state: `finished`, how far it has come, or why it cannot be read.
        metric: the name of the metric that it is judged by; None before the first evaluation.
        value: the metric on the validation split, of the parameters that a finished run kept or of the last evaluation.
    """

    folder: Path
    config: Config | None
    state: str
    metric: str | None = None
    value: float | None = None


def list_runs(folder: Path) -> list[ListedRun]:
    """Finds the runs in a folder and below it, behind links too, in the order of their names.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one that holds run folders, such as runs")
    return [_listed(each) for each in _run_folders(folder)]


def runs_table(runs: list[ListedRun]) -> Table:
    """Returns a table for the terminal, with one row for each run."""
    table = Table(*HEADS, box=None, pad_edge=False, header_style="bold")
    for run in runs:
        table.add_row(*map(Text, _cells(run)))
    return table


def _run_folders(folder: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for path, below, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(path)
        if place in seen:
            # A link to a folder above would go on for ever.
            below.clear()
            continue
        seen.add(place)
        if CONFIG in files:
            # W&B has a file of that name in its folder.
            below[:] = [name for name in below if name not in OWN]
            yield Path(path)
        below.sort()


def _listed(folder: Path) -> ListedRun:
    try:
        config = read_config(folder)
        if is_finished(folder):
            return ListedRun(folder, config, "finished", *_judged(config, [read_json(folder / "metrics.json")]))
        rows = read_rows(folder / "metrics.jsonl")
    except UserError as error:
        return ListedRun(folder, None, f"cannot be read: {str(error).splitlines()[0]}")
    epoch = rows[-1]["epoch"] if rows else 0
    return ListedRun(folder, config, f"epoch {epoch:.3g} of {config.training.epochs:g}", *_judged(config, rows))


def _judged(config: Config, rows: list[Row]) -> tuple[str | None, float | None]:
    """The name and the last value of the metric that the run is judged by."""
    chosen = config.training.best_metric
    classified = chosen if chosen in METRICS else "balanced_accuracy"
    # A pre-training without labels has no probe.
    names = (classified,) if config.stage == "finetune" else (LINEAR_PROBE, "loss")
    for name in names:
        for row in reversed(rows):
            # The results of a classifier are all of the validation split.
            value = row.get(f"validation/{name}", row.get(name))
            if value is not None:
                return name, value
    return None, None


def _cells(run: ListedRun) -> list[str]:
    if run.config is None:
        return [str(run.folder), "", "", "", "", run.state, ""]
    # A classifier has an architecture; the task of its pre-training is another run's.
    ssl = run.config.stage == "ssl"
    what = run.config.task if ssl else run.config.model.architecture
    metric = "" if run.metric is None else f"{run.metric} {run.value:.3f}"
    return [str(run.folder), run.config.stage, what, run.config.preset, run.config.data.data, run.state, metric]
