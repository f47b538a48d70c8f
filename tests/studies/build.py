"""Small studies for tests, made as the command makes them, and cells that look finished."""

import json

import numpy as np

from jaxcaps.studies.execution import folder_of
from jaxcaps.studies.outcomes import OUTCOME, FineTuning, Predictions, write_outcome
from jaxcaps.study import design, parse

IMAGES = 60


def study_of(*flags, inits="random,inpaint"):
    """The study that flags of `python -m jaxcaps.study` describe, at the smallest size."""
    return design(parse(["--preset=tiny", "--seeds=0,1", f"--inits={inits}", *flags]))


def finish(study, out, quality, **changes):
    """Writes what finished cells leave, without training: `quality` (arm, recipe, fold) -> share of right answers."""
    for cell in study.cells():
        folder = folder_of(out, cell)
        done = []
        for visible in study.labels:
            for recipe in study.recipes_of(cell, visible):
                rng = np.random.default_rng([cell.seed, cell.fold or 0, sum(map(ord, cell.arm + recipe.name))])
                labels = np.arange(IMAGES) % 3
                right = rng.permutation(IMAGES) < IMAGES * quality(cell.arm, recipe.name, cell.fold)
                best = np.where(right, labels, (labels + 1) % 3)
                names = np.array([f"{cell.fold or 0}-{index:03d}" for index in range(IMAGES)])
                groups = (cell.fold or 0) * IMAGES + np.arange(IMAGES)
                where = f"finetune/{visible}/{recipe.name}"
                (folder / where).mkdir(parents=True)
                # Runs may list the images in any order.
                order = rng.permutation(IMAGES)
                found = Predictions(
                    names[order], labels[order], groups[order], np.eye(3)[best][order], np.array(["a", "b", "c"])
                )
                found.save(folder / where)
                values = {"labels": visible, "recipe": recipe.name, "folder": where, "updates": 7}
                values |= {"architecture": "architecture", "fingerprint": f"data-{cell.fold}"}
                values |= {"pretraining_seconds": 1.0, "seconds": 2.0, "validation": float(right.mean())}
                done.append(FineTuning(**(values | changes.get(cell.arm, {}))))
        write_outcome(folder, done)


def without(outcome_folder, name):
    """Removes a value from what a cell wrote, as if another version had written it."""
    path = outcome_folder / OUTCOME
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps([{key: each[key] for key in each if key != name} for each in values]), encoding="utf-8")


def write_npz(path, train, validation):
    """Pictures of noise in two classes; what `--data` says."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, images in (("train", train), ("val", validation), ("test", 8)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (images, 32, 32), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(images)[:, None] % 2
    np.savez(path, **arrays)
    return f"npz:{path}"
