"""What a study writes: its rows as CSV files, `table.md`, and the figures of differences and of convergence."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.atomic import writing
from jaxcaps.evaluation.comparison_plots import Curves, plot_convergence, plot_differences
from jaxcaps.evaluation.metrics import METRICS
from jaxcaps.evaluation.paired import Estimate
from jaxcaps.evaluation.table import write_rows
from jaxcaps.plan.flags import parse_config
from jaxcaps.studies.arms import Arm
from jaxcaps.studies.cells import read_failure
from jaxcaps.studies.execution import folder_of
from jaxcaps.studies.plan import Cell, Choice, Plan
from jaxcaps.studies.pretrainings import pretraining_table, pretrainings
from jaxcaps.studies.results import COMPARED, Line, Result, corrected
from jaxcaps.tasks.pretraining.colourise import ColouriseConfig, uses_perceptual_network
from jaxcaps.training.writers import read_rows, replace_text

# The metrics that have a figure. By the first one differences are told from chance.
MAIN = ("balanced_accuracy", "accuracy")


def write_report(
    plan: Plan, results: Sequence[Result], lines: Sequence[Line], choices: Sequence[Choice], out: Path
) -> str:
    """Writes all files of a study.

    Returns:
        The table as text.
    """
    _write_rows(plan, results, out)
    _write_scores(lines, out / "scores.csv")
    _write_differences(lines, out / "differences.csv")
    _write_choices(choices, out / "choices.csv")
    text = table(plan, lines, out)
    before = pretrainings(plan, out)
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
    curves = _curves(plan, results, out)
    if curves:
        plot_convergence(curves, "balanced accuracy on validation", figures / "convergence.png")
    return text


def table(plan: Plan, lines: Sequence[Line], out: Path) -> str:
    """The study as Markdown: mean ± standard deviation over seeds, paired differences, and 95% intervals of both."""
    grid = len({line.recipe for line in lines}) > 1
    shares = len(plan.label_fractions) > 1

    def named(line: Line) -> list[str]:
        return [line.arm, *([f"{line.label_fraction:g}"] if shares else []), *([line.recipe] if grid else [])]

    head = ["initialisation", *(["labels"] if shares else []), *(["recipe"] if grid else [])]
    titles = [METRICS[metric].title for metric in COMPARED]
    scores = [
        [*named(line), *(_mean(line.scores[metric], line.levels[metric]) for metric in COMPARED)] for line in lines
    ]
    parts = [_heading(plan, lines), _rows([*head, *titles], scores)]
    p_values = corrected(lines, MAIN[0])
    compared = [
        [
            *named(line),
            *(_estimate(line.differences[metric]) for metric in COMPARED),
            _percent(line.relative),
            f"{p_values[line.arm, line.label_fraction, line.recipe]:.3f}",
        ]
        for line in lines
        if line.differences and line.relative is not None
    ]
    if compared:
        parts.append("Differences:\n\n" + _rows([*head, *titles, "accuracy, relative", "p, Holm"], compared))
    parts.append("\n".join(f"- {arm.name}: {arm.about}{_perceptual(plan, arm)}" for arm in plan.arms))
    missing = _missing(plan, out)
    if missing:
        parts.append("\n".join(missing))
    return "\n\n".join(parts)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _heading(plan: Plan, lines: Sequence[Line]) -> str:
    images = sorted({line.images for line in lines})
    split = f"{plan.split} split" if not plan.folds else f"{plan.split} parts of {plan.folds} folds, pooled"
    text = f"{plan.data}, {split} ({', '.join(map(str, images))} images scored for each seed), seeds "
    text += f"{', '.join(map(str, plan.seeds))}. Mean ± standard deviation over seeds [95% interval]; differences are "
    text += "paired by seed and image; intervals are a bootstrap over seeds and groups of images; p is two-sided, "
    text += f"of the difference in {METRICS[MAIN[0]].title}, corrected for the number of lines (Holm)."
    if plan.split == "validation" and len(plan.recipes) > 1:
        text += " Recipes are chosen on these very scores: trust the differences between arms, not the levels."
        if min(plan.label_fractions) < 1:
            text += " With a share of the labels they are chosen by the pictures whose labels it shows (`study.csv`)."
    return text


def _perceptual(plan: Plan, arm: Arm) -> str:
    """Which network an arm's perceptual loss goes by; empty without one."""
    if arm.pretrain is None:
        return ""
    config = parse_config(plan.pretraining(Cell(arm.name, plan.seeds[0], 0 if plan.folds else None), "unused"))
    if not uses_perceptual_network(config):
        return ""
    weights = config.options(ColouriseConfig).perceptual_weights
    return "; perceptual network: " + ("a fixed random one" if weights is None else f"VGG-16 of {weights}")


def _missing(plan: Plan, out: Path) -> list[str]:
    lines = []
    for cell in plan.cells():
        failure = read_failure(folder_of(out, cell))
        if failure is not None:
            what = "failed" if failure[0] else "not applicable"
            lines.append(f"- {cell.name}: {what}: {' '.join(failure[1].split())}")
        elif not (folder_of(out, cell) / "outcome.json").is_file():
            lines.append(f"- {cell.name}: not run")
    return lines


def _write_rows(plan: Plan, results: Sequence[Result], out: Path) -> None:
    """A row for each fine-tuning."""
    columns = ["initialisation", "seed", "fold", "label_fraction", "recipe", "split", "images", *COMPARED]
    facts = ["validation", "architecture", "fingerprint", "updates", "pretraining_seconds", "seconds", "folder"]
    with writing(out / "study.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns + facts)
        for one in results:
            cell, run = one.cell, one.run
            fold = "" if cell.fold is None else cell.fold
            scores = [f"{one.score(metric):.6f}" for metric in COMPARED]
            where = folder_of(out, cell).relative_to(out) / run.folder
            row = [cell.arm, cell.seed, fold, run.label_fraction, run.recipe, plan.split, len(one.predictions.labels)]
            writer.writerow([*row, *scores, *(f"{getattr(run, name)}" for name in facts[:-1]), where])


def _write_scores(lines: Sequence[Line], path: Path) -> None:
    with writing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("initialisation", "label_fraction", "recipe", "metric", "mean", "low", "high", "seeds"))
        for metric in COMPARED:
            for line in lines:
                found = line.levels[metric]
                numbers = [f"{number:.6f}" for number in (found.value, found.low, found.high)]
                writer.writerow([line.arm, line.label_fraction, line.recipe, metric, *numbers, len(line.seeds)])


def _write_differences(lines: Sequence[Line], path: Path) -> None:
    columns = ("initialisation", "label_fraction", "recipe", "metric", "difference", "low", "high", "p", "p_holm")
    with writing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for metric in COMPARED:
            p_values = corrected(lines, metric)
            for line in lines:
                if line.differences:
                    key = line.arm, line.label_fraction, line.recipe
                    numbers = [*line.differences[metric], p_values[key]]
                    writer.writerow([*key, metric, *(f"{number:.6f}" for number in numbers)])


def _write_choices(choices: Sequence[Choice], path: Path) -> None:
    with writing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("initialisation", "label_fraction", "fold", "recipe"))
        for one in choices:
            writer.writerow([one.arm, one.label_fraction, "" if one.fold is None else one.fold, one.recipe])


def _curves(plan: Plan, results: Sequence[Result], out: Path) -> dict[str, Curves]:
    """{panel: {arm: (epochs, balanced accuracy [runs, evaluations])}}, as long as the shortest run of an arm.

    A panel is a share of the labels with a recipe.
    """
    runs: dict[str, dict[str, list[tuple[list[float], list[float]]]]] = {}
    for one in results:
        rows = read_rows(folder_of(out, one.cell) / one.run.folder / "metrics.jsonl")
        found = [row for row in rows if "validation/balanced_accuracy" in row]
        if found:
            epochs, values = [row["epoch"] for row in found], [row["validation/balanced_accuracy"] for row in found]
            shares = [f"{one.run.label_fraction:g} of labels"] if len(plan.label_fractions) > 1 else []
            panel = ", ".join(shares + ([one.run.recipe] if len(plan.recipes) > 1 else []))
            runs.setdefault(panel, {}).setdefault(one.cell.arm, []).append((epochs, values))

    def together(parts: list[tuple[list[float], list[float]]]) -> tuple[np.ndarray, np.ndarray]:
        length = min(len(values) for _, values in parts)
        epochs = np.mean([epochs[:length] for epochs, _ in parts], axis=0)
        return epochs, np.array([values[:length] for _, values in parts])

    return {panel: {arm: together(parts) for arm, parts in arms.items()} for panel, arms in runs.items()}


def _title(line: Line) -> str:
    recipe = f" {line.recipe}" if line.recipe not in ("chosen", "as-given") else ""
    return f"{line.arm}{recipe}" + (f", {line.label_fraction:g} of labels" if line.label_fraction < 1 else "")


def _mean(values: np.ndarray, found: Estimate) -> str:
    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread} [{found.low:.3f}, {found.high:.3f}]"


def _estimate(found: Estimate) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _percent(found: Estimate) -> str:
    if math.isnan(found.value):
        return "-"
    return f"{found.value:+.1%} [{found.low:+.1%}, {found.high:+.1%}]"
