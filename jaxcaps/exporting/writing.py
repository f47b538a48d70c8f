"""Writes an exported model or run, whole or not at all."""

import hashlib
import json
import tempfile
from pathlib import Path

from data_prep.atomic import replacing
from jaxcaps.errors import UserError
from jaxcaps.exporting import FORMATS
from jaxcaps.exporting.base import Format, RunFormat
from jaxcaps.exporting.card import card, description
from jaxcaps.inference.model import TrainedClassifier, load_classifier
from jaxcaps.restoring import find_origin
from jaxcaps.training.folder import check_writable

SUMS = "SHA256SUMS"


def export(restore: str | Path, to: str, out: Path) -> Path:
    """Exports a run to a new folder, or to a new file, which appears only when it is complete.

    Args:
        restore: a finished run, as `find_origin` finds it.
        to: name of a format.
        out: the folder or the file to write.

    Returns:
        The folder or the file.

    Raises:
        UserError: there is no such format, the run cannot be exported, or `out` exists or cannot be written.
    """
    form = FORMATS.find(to, "--to")
    if isinstance(form, RunFormat) and out.suffix != form.suffix:
        raise UserError(f"--out={out}: --to={to} writes one file; give it a name that ends in {form.suffix}")
    if out.exists():
        raise UserError(f"--out={out} exists; nothing was changed. Give another --out, or remove it")
    check_writable(out)
    if isinstance(form, Format):
        return _write_folder(form, load_classifier(restore), out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:
        form.write(find_origin(restore), partial)
    return out


def _write_folder(form: Format, model: TrainedClassifier, out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        form.write(model, folder)
        (folder / "model.json").write_text(json.dumps(description(model), indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(card(model, form.usage), encoding="utf-8")
        sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}" for file in sorted(folder.iterdir())]
        (folder / SUMS).write_text("\n".join(sums) + "\n", encoding="utf-8")
        try:
            folder.rename(out)
        except OSError as error:
            raise UserError(f"--out={out}: cannot be put in place ({error.strerror}); give another --out") from None
    return out
