"""The files of a study: its rows as CSV, `table.md`, and the figures of differences and of convergence."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcaps.evaluation.comparison_plots import Curves, plot_convergence, plot_differences
from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.evaluation.paired import Estimate
from jaxcaps.evaluation.table import write_rows
from jaxcaps.studies.design import Cell, Choice, Study
from jaxcaps.studies.execution import folder_of
from jaxcaps.studies.notation import ALL_SHOWN, StudyArm, labels_in_words
from jaxcaps.studies.outcomes import OUTCOME, read_failure
from jaxcaps.studies.pretrainings import markdown_table, pretraining_table, pretrainings
from jaxcaps.studies.results import COMPARED, Line, Result, corrected
from jaxcaps.tasks import PRETRAINING_TASKS
from jaxcaps.training.writers import read_rows, replace_text

# The metrics that have a figure. By the first one differences are told from chance.
MAIN = ("balanced_accuracy", "accuracy")


def write_report(
    study: Study, results: Sequence[Result], lines: Sequence[Line], choices: Sequence[Choice], out: Path
) -> str:
    """Writes all files of a study.

    Returns:
        The table as text.
    """
    _write_rows(study, results, out / "study.csv")
    _write_scores(lines, out / "scores.csv")
    _write_differences(lines, out / "differences.csv")
    write_rows([_about(one) | {"fold": _shown(one.fold)} for one in choices], out / "choices.csv")
    text = table(study, lines, out)
    before = pretrainings(study, out)
    if before:
        write_rows(before, out / "pretraining.csv")
        text += "\n\n" + pretraining_table(before)
    replace_text(out / "table.md", text + "\n")
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    shown = {_title(line): line.differences for line in lines if line.differences}
    for metric in MAIN:
        if shown:
            estimates = {name: found[metric] for name, found in shown.items()}
            plot_differences(estimates, METRICS[metric], figures / f"{metric}.png")
    curves = _curves(study, results, out)
    if curves:
        plot_convergence(curves, "balanced accuracy on validation", figures / "convergence.png")
    return text


def table(study: Study, lines: Sequence[Line], out: Path) -> str:
    """The study as Markdown: mean ± standard deviation over seeds, paired differences, and 95% intervals of both."""
    grid = len({line.recipe for line in lines}) > 1
    several = len(study.labels) > 1

    def named(line: Line) -> list[str]:
        return [line.arm, *([labels_in_words(line.labels)] if several else []), *([line.recipe] if grid else [])]

    head = ["initialisation", *(["labels"] if several else []), *(["recipe"] if grid else [])]
    titles = [METRICS[metric].title for metric in COMPARED]
    scores = [
        [*named(line), *(_mean(line.scores[metric], line.levels[metric]) for metric in COMPARED)] for line in lines
    ]
    parts = [_heading(study, lines), markdown_table([*head, *titles], scores)]
    p_values = corrected(lines, MAIN[0])
    compared = [
        [
            *named(line),
            *(_estimate(line.differences[metric]) for metric in COMPARED),
            _percent(line.relative),
            f"{p_values[line.arm, line.labels, line.recipe]:.3f}",
        ]
        for line in lines
        if line.differences and line.relative is not None
    ]
    if compared:
        parts.append("Differences:\n\n" + markdown_table([*head, *titles, "accuracy, relative", "p, Holm"], compared))
    parts.append("\n".join(f"- {arm.name}: {arm.about}{_details(study, arm)}" for arm in study.arms))
    missing = _missing(study, out)
    if missing:
        parts.append("\n".join(missing))
    return "\n\n".join(parts)


def _heading(study: Study, lines: Sequence[Line]) -> str:
    images = sorted({line.images for line in lines})
    split = f"{study.split} split" if not study.folds else f"{study.split} parts of {study.folds} folds, pooled"
    text = f"{study.finetune.data.data}, {split} ({', '.join(map(str, images))} images scored for each seed), seeds "
    text += f"{', '.join(map(str, study.seeds))}. Mean ± standard deviation over seeds [95% interval]; differences are "
    text += "paired by seed and image; intervals are a bootstrap over seeds and groups of images; p is two-sided, "
    text += f"of the difference in {METRICS[MAIN[0]].title}, corrected for the number of lines (Holm)."
    if study.split == "validation" and len(study.recipes) > 1:
        text += " Recipes are chosen on these very scores: trust the differences between arms, not the levels."
        if study.labels[0] != ALL_SHOWN:
            text += " Where labels are hidden, they are chosen by the pictures whose labels are visible (`study.csv`)."
    return text


def _details(study: Study, arm: StudyArm) -> str:
    """Returns what the task of an arm adds to its description."""
    if arm.kind.pretrain is None:
        return ""
    config = study.pretraining(Cell(arm.name, study.seeds[0], study.fold_numbers[0]))
    details = PRETRAINING_TASKS[config.task].details(config)
    return f"; {details}" if details else ""


def _missing(study: Study, out: Path) -> list[str]:
    lines = []
    for cell in study.cells():
        failure = read_failure(folder_of(out, cell))
        if failure is not None:
            what = "failed" if failure.applicable else "not applicable"
            lines.append(f"- {cell.name}: {what}: {' '.join(failure.reason.split())}")
        elif not (folder_of(out, cell) / OUTCOME).is_file():
            lines.append(f"- {cell.name}: not run")
    return lines


def _write_rows(study: Study, results: Sequence[Result], path: Path) -> None:
    """A row for each fine-tuning."""
    facts = ("validation", "architecture", "fingerprint", "updates", "pretraining_seconds", "seconds")
    rows = []
    for one in results:
        cell, run = one.cell, one.run
        row: dict[str, object] = {"initialisation": cell.arm, "seed": cell.seed, "fold": _shown(cell.fold)}
        row |= {"labels": run.labels, "recipe": run.recipe, "split": study.split}
        row |= {"images": len(one.predictions.labels)}
        row |= {metric: f"{one.score(metric):.6f}" for metric in COMPARED}
        row |= {name: str(getattr(run, name)) for name in facts}
        rows.append(row | {"folder": folder_of(path.parent, cell).relative_to(path.parent) / run.folder})
    write_rows(rows, path)


def _write_scores(lines: Sequence[Line], path: Path) -> None:
    rows = []
    for metric in COMPARED:
        for line in lines:
            found = line.levels[metric]
            numbers = _rounded(mean=found.value, low=found.low, high=found.high)
            rows.append(_about(line) | {"metric": metric} | numbers | {"seeds": len(line.seeds)})
    write_rows(rows, path)


def _write_differences(lines: Sequence[Line], path: Path) -> None:
    rows = []
    for metric in COMPARED:
        p_values = corrected(lines, metric)
        for line in (line for line in lines if line.differences):
            found = line.differences[metric]
            numbers = _rounded(difference=found.value, low=found.low, high=found.high, p=found.p_value)
            p_holm = _rounded(p_holm=p_values[line.arm, line.labels, line.recipe])
            rows.append(_about(line) | {"metric": metric} | numbers | p_holm)
    write_rows(rows, path)


def _about(one: Line | Choice) -> dict[str, object]:
    return {"initialisation": one.arm, "labels": one.labels, "recipe": one.recipe}


def _shown(fold: int | None) -> int | str:
    return "" if fold is None else fold


def _rounded(**numbers: float) -> dict[str, str]:
    return {name: f"{number:.6f}" for name, number in numbers.items()}


def _curves(study: Study, results: Sequence[Result], out: Path) -> dict[str, Curves]:
    """{panel: {arm: (epochs, balanced accuracy [runs, evaluations])}}, as long as the shortest run of an arm.

    A panel is a choice of visible labels with a recipe.
    """
    runs: dict[str, dict[str, list[tuple[list[float], list[float]]]]] = {}
    for one in results:
        rows = read_rows(folder_of(out, one.cell) / one.run.folder / "metrics.jsonl")
        found = [row for row in rows if "validation/balanced_accuracy" in row]
        if found:
            epochs, values = [row["epoch"] for row in found], [row["validation/balanced_accuracy"] for row in found]
            visible = [labels_in_words(one.run.labels)] if len(study.labels) > 1 else []
            panel = ", ".join(visible + ([one.run.recipe] if len(study.recipes) > 1 else []))
            runs.setdefault(panel, {}).setdefault(one.cell.arm, []).append((epochs, values))

    def together(parts: list[tuple[list[float], list[float]]]) -> tuple[np.ndarray, np.ndarray]:
        length = min(len(values) for _, values in parts)
        epochs = np.mean([epochs[:length] for epochs, _ in parts], axis=0)
        return epochs, np.array([values[:length] for _, values in parts])

    return {panel: {arm: together(parts) for arm, parts in arms.items()} for panel, arms in runs.items()}


def _title(line: Line) -> str:
    recipe = f" {line.recipe}" if line.recipe not in ("chosen", "as-given") else ""
    return f"{line.arm}{recipe}" + (f", {labels_in_words(line.labels)}" if line.labels != ALL_SHOWN else "")


def _mean(values: np.ndarray, found: Estimate) -> str:
    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread} [{found.low:.3f}, {found.high:.3f}]"


def _estimate(found: Estimate) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _percent(found: Estimate) -> str:
    if math.isnan(found.value):
        return "-"
    return f"{found.value:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"
