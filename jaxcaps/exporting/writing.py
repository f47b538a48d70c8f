"""Writes an exported model: the model itself, its description, its card and the checksums of all."""

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from jaxcaps.errors import UserError
from jaxcaps.exporting import FORMATS
from jaxcaps.exporting.card import card, description
from jaxcaps.inference.model import load_classifier
from jaxcaps.reporting.results import read_results
from jaxcaps.training.folder import check_writable

SUMS = "SHA256SUMS"


def export(restore: Path, to: str, out: Path) -> Path:
    """Exports a fine-tuned run to a new folder, which appears only when it is complete.

    Args:
        restore: folder of a finished run.
        to: name of a format.
        out: the folder to write.

    Returns:
        The folder.

    Raises:
        UserError: there is no such format, the run is not a finished classifier, or the folder exists.
    """
    form = FORMATS.find(to, "--to")
    if out.exists():
        raise UserError(f"--out={out} exists; nothing was changed. Give another --out, or remove it")
    check_writable(out)
    model = load_classifier(restore)
    results = read_results(model.folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        form.write(model, folder)
        (folder / "model.json").write_text(json.dumps(description(model), indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(card(model, results, form.usage), encoding="utf-8")
        sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in sorted(folder.iterdir())]
        (folder / SUMS).write_text("\n".join(sums) + "\n", encoding="utf-8")
        shutil.move(folder, out)
    return out
