"""Makes the page of a run: at its end, or later from its folder."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcaps.data.dataset import Split
from jaxcaps.errors import UserError
from jaxcaps.evaluation.table import differences_table
from jaxcaps.inference.runs import with_data
from jaxcaps.models.capsnet import count_parameters
from jaxcaps.reporting.comparison import Comparison, compare, run_names
from jaxcaps.reporting.inputs import Inputs
from jaxcaps.reporting.observation import observe
from jaxcaps.reporting.page import render
from jaxcaps.reporting.results import Predicted, Results, read_results
from jaxcaps.restoring import Origin, find_origin
from jaxcaps.training.callbacks import Callback, Finished
from jaxcaps.training.checkpoint import read_parameters
from jaxcaps.training.setup import load_data, make_modules, make_task
from jaxcaps.training.writers import replace_text

log = logging.getLogger("jaxcaps")

PAGE, COMPARISON = "report.html", "comparison.html"


class ReportAtEnd(Callback):
    """Writes `report.html` to the folder of a run that has just finished.

    The results are written by then, so an error is logged and not raised.
    """

    def on_end(self, finished: Finished) -> None:
        folder = finished.folder
        try:
            began = time.monotonic()
            path = _write(finished, read_results(folder), (), folder / PAGE)
            log.info("Report: %s (%.0f s)", path, time.monotonic() - began)
        # Whatever goes wrong here, the run is complete.
        except Exception as error:
            log.warning(
                "The report could not be made: %s: %s. The results are complete; python -m jaxcaps.report --restore=%s "
                "tries again", type(error).__name__, error, folder,
            )  # fmt: skip
            log.debug("The report failed", exc_info=True)


def report(
    restore: str | Path | Origin,
    others: Sequence[str | Path] = (),
    out: Path | None = None,
    data: str | None = None,
) -> Path:
    """Writes the page of a finished run, from its files and its validation pictures. No test split is read.

    Args:
        restore: the run, as `find_origin` finds it.
        others: fine-tuned runs to compare it with.
        out: the file to write. Default: `report.html`, or `comparison.html` with other runs, in the run folder.
        data: where its data lies now. Default: where it lay in training.

    Returns:
        The file written.

    Raises:
        UserError: a run has not finished, the runs cannot be compared, the data is not known, or the validation
            pictures of a classifier or their labels have changed.
    """
    origin = find_origin(restore)
    folder = origin.folder
    out = out or origin.own_folder / (COMPARISON if others else PAGE)
    origin.check_data(data)
    results = read_results(folder, origin.name)
    # Refuses other runs before anything is loaded.
    theirs = [find_origin(other) for other in others]
    comparisons = compare(results, [read_results(each.folder, each.name) for each in theirs]) if others else ()
    parameters, meta = read_parameters(origin)
    config = origin.config if data is None else with_data(origin.config, data=data)
    dataset = load_data(config, ("validation",), "optional")
    split = dataset.splits["validation"]
    if results.predicted is not None:
        where = f"{origin.name}: the validation split of {config.data.data}"
        _check_unchanged(results.predicted, split, dataset.classes, where)
    task = make_task(config, dataset)
    modules, _ = make_modules(config, task)
    run = Finished(folder, task, modules, parameters, split, tuple(meta["classes"]), meta["train_counts"])
    for one in comparisons:
        names = run_names(results, one.other)
        log.info("\nOn %d validation pictures:", len(split))
        log.info("%s\n", differences_table(names, one.levels, one.differences))
    return _write(run, results, comparisons, out)


def _check_unchanged(predicted: Predicted, split: Split, classes: Sequence[str], where: str) -> None:
    """
    Raises:
        UserError: the split holds other pictures or labels than when it was predicted.
    """
    if predicted.names != split.names:
        raise UserError(
            f"{where} holds other pictures than predictions.csv; the data has changed since the run, so restore it"
        )
    # The last name is that of label -1.
    then, now = (
        np.array([*names, ""])[labels]
        for names, labels in ((predicted.classes, predicted.labels), (classes, split.labels))
    )
    if len(changed := np.flatnonzero(then != now)):
        raise UserError(
            f"{where} holds other labels than predictions.csv for {len(changed)} pictures, such as "
            f"{split.names[changed[0]]}; the data has changed since the run, so restore it"
        )


def _write(run: Finished, results: Results, comparisons: Sequence[Comparison], out: Path) -> Path:
    page = render(
        Inputs(
            results=results,
            observed=observe(run.task, run.modules, run.parameters, run.validation, made=run.made),
            split=run.validation,
            classes=run.classes,
            train_counts=run.train_counts,
            parameters=count_parameters(run.modules),
            comparisons=comparisons,
        )
    )
    replace_text(out, page)
    return out
