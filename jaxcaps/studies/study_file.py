"""The folder of a study, which holds the study in `study.yaml`."""

import json
from pathlib import Path
from typing import Any

import yaml

from jaxcaps.config import differences, from_dict, read_yaml, to_dict
from jaxcaps.errors import UserError
from jaxcaps.plan.config import identity
from jaxcaps.studies.design import Study
from jaxcaps.training.folder import check_writable
from jaxcaps.training.writers import replace_text

FILE = "study.yaml"


def read_study(out: Path) -> Study:
    """
    Raises:
        UserError: no study there, or one of another version of jaxcaps.
    """
    if not (out / FILE).is_file():
        raise UserError(f"{out} does not hold a study: {FILE} is missing")
    return from_dict(Study, read_yaml(out / FILE), str(out / FILE))


def claim(study: Study, out: Path) -> bool:
    """Makes the folder this study's.

    Returns:
        Whether it is new; False if the same study was begun there before.

    Raises:
        UserError: as `check_out`.
    """
    check_out(study, out)
    if (out / FILE).is_file():
        return False
    out.mkdir(parents=True, exist_ok=True)
    replace_text(out / FILE, yaml.safe_dump(to_dict(study), sort_keys=False))
    return True


def check_out(study: Study, out: Path) -> None:
    """
    Raises:
        UserError: the folder holds another study or other files, or cannot be written to.
    """
    check_writable(out)
    if not (out / FILE).is_file():
        if out.exists() and any(out.iterdir()):
            raise UserError(f"--out={out} is not empty and does not hold a study; give another --out")
        return
    there = read_study(out)
    presets = there.finetune.preset, study.finetune.preset
    # With another preset most of it is different.
    changes = (
        differences(_identity(there), _identity(study))
        if len(set(presets)) == 1
        else ["preset: {!r} -> {!r}".format(*presets)]
    )
    if changes:
        listed = "\n".join(f"  {line}" for line in changes)
        raise UserError(
            f"--out={out} holds another study; nothing was changed. Give another --out.\n"
            f"That one -> this one:\n{listed}"
        )


def _identity(study: Study) -> dict[str, Any]:
    """The values that identify a study."""
    stages = {"pretrain": identity(study.pretrain), "finetune": identity(study.finetune)}
    plain: dict[str, Any] = json.loads(json.dumps(to_dict(study) | stages))
    return plain
