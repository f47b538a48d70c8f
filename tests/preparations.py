"""Output folders of `data_prep`, as training finds them."""

import json
from dataclasses import replace
from pathlib import Path

import yaml

from data_prep.pipeline.applying import FittedSteps
from data_prep.presets import PRESETS

MATCHED = FittedSteps(replace(PRESETS["plain"], guess_modality=True, match=True), (tuple(range(256)),) * 3)


def write_record(folder: Path, steps: FittedSteps = MATCHED) -> None:
    """Writes the part of `data_prep`'s record that says which steps made the pictures of a folder."""
    record = steps.to_dict()
    counts = record.pop("reference_histogram")
    fitted = None
    if counts is not None:
        fitted = {"file": "reference_histogram.json", "on": "3 training frames"}
        (folder / fitted["file"]).write_text(json.dumps({"counts": counts}), encoding="utf-8")
    record["fitted"] = {"reference_histogram": fitted}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(record), encoding="utf-8")
