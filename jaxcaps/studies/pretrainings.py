"""The results of a study's pre-trainings: held-out losses, probes and diagnoses."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcaps.restoring.run_folder import is_finished
from jaxcaps.studies.design import Study
from jaxcaps.studies.execution import folder_of
from jaxcaps.tasks import PRETRAINING_TASKS
from jaxcaps.training.writers import LINEAR_PROBE

Row = dict[str, Any]

# Columns of the table, by their name in a row.
SHOWN = {
    f"validation/{LINEAR_PROBE}": "linear probe",
    **{
        name: name.removeprefix("validation/").replace("_", " ")
        for task in PRETRAINING_TASKS.values()
        for name in task.reported
        if name.startswith("validation/")
    },
    "masked_pixels/network": "error of masked pixels",
    "masked_pixels/mean": "filled with the mean",
    "masked_pixels/interpolation": "by interpolation",
    "reconstruction/shuffled": "with another's poses, times",
    "coupling_entropy": "coupling entropy",
    "gradient_over_weight/primary": "gradient / weights, primary",
    "gradient_over_weight/routing": "gradient / weights, routing",
    "parts/encoder/rank": "rank, primary",
    "saturation": "saturation",
}


def pretrainings(study: Study, out: Path) -> list[Row]:
    """A row for each finished pre-training: its last metrics on the validation split (`validation/...`) and its
    diagnosis (`part/name`)."""
    rows = []
    for cell in study.cells():
        folder = folder_of(out, cell) / "ssl"
        if not is_finished(folder):
            continue
        metrics, diagnosis = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("metrics.json", "diagnosis.json")
        )
        held_out = {name: value for name, value in metrics.items() if name.startswith("validation/")}
        diagnosis["warnings"] = "; ".join(diagnosis["warnings"])
        fold = "" if cell.fold is None else cell.fold
        rows.append({"initialisation": cell.arm, "seed": cell.seed, "fold": fold} | held_out | _flat(diagnosis))
    return rows


def pretraining_table(rows: Sequence[Row]) -> str:
    """Returns a Markdown table of the means over seeds and folds, for each arm. Empty columns are left out."""
    shown = {name: title for name, title in SHOWN.items() if any(row.get(name) is not None for row in rows)}
    lines = []
    for arm in dict.fromkeys(row["initialisation"] for row in rows):
        own = [row for row in rows if row["initialisation"] == arm]
        cells = [arm, str(len(own))]
        for name in shown:
            values = [row[name] for row in own if row.get(name) is not None]
            cells.append(f"{sum(values) / len(values):.3g}" if values else "-")
        lines.append(cells)
    return markdown_table(["pre-training", "runs", *shown.values()], lines)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _flat(values: Mapping[str, Any], prefix: str = "") -> Row:
    flat: Row = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
