"""`--to=bundle`: a finished run as one file, which every `--restore` opens."""

import json
from pathlib import Path

import yaml

from jaxcaps import __version__
from jaxcaps.data.sources import anonymous
from jaxcaps.errors import UserError
from jaxcaps.exporting.base import RunFormat
from jaxcaps.exporting.safetensors import write_parameters
from jaxcaps.plan.config import shareable
from jaxcaps.reporting.results import read_results
from jaxcaps.restoring import Origin
from jaxcaps.restoring.bundle import SUFFIX, pack
from jaxcaps.restoring.origin import MODEL
from jaxcaps.restoring.run_folder import CONFIG, LEARNT, METRICS, PREPARATION

# The files of a run folder that are copied as they are. No log, which names folders, and no pictures.
COPIED = (
    METRICS,
    "metrics.jsonl",
    "metrics.csv",
    "table.txt",
    "figures/curves.png",
    "diagnosis.json",
    "encoder.safetensors",
    "calibration.json",
    "familiar.npz",
    "predictions.csv",
    PREPARATION,
    LEARNT,
)


def write(origin: Origin, file: Path) -> None:
    """Writes the bundle of a run.

    Raises:
        UserError: the run has not finished, a file of it is damaged or not its own, or there are only parameters.
    """
    folder = origin.folder
    # Refuses a run that could not be reported.
    scored = read_results(folder).scored
    members = {CONFIG: yaml.safe_dump(shareable(origin.config), sort_keys=False).encode()}
    members |= {name: (folder / name).read_bytes() for name in COPIED if (folder / name).is_file()}
    for suffix in scored:
        written = folder / f"metrics-{suffix}.json"
        metrics = json.loads(written.read_text(encoding="utf-8"))
        if "data" not in metrics:
            raise UserError(f"{written} has no 'data', so jaxcaps.evaluate did not write it; rename or remove it")
        metrics["data"] = anonymous(metrics["data"])
        members[f"metrics-{suffix}.json"] = (json.dumps(metrics, indent=2) + "\n").encode()
    parameters = file.with_name(f"{file.name}{MODEL}")
    try:
        write_parameters(origin, parameters)
        members[MODEL] = parameters.read_bytes()
    finally:
        parameters.unlink(missing_ok=True)
    pack(members, file, __version__)


FORMAT = RunFormat(write, SUFFIX)
