"""Every arm of the table makes runs that its file declares, and no others."""

import dataclasses
import re
from pathlib import Path

import pytest

from jaxcaps.config import differences, to_dict
from jaxcaps.errors import UserError
from jaxcaps.plan.flags import checked
from jaxcaps.studies.arms import ARMS
from jaxcaps.studies.checks import comparability
from jaxcaps.studies.design import Cell
from jaxcaps.studies.notation import Recipe
from tests.studies.build import study_of

# What each arm changes in the study's configuration, worked out by hand from its description.
PRETRAIN = {
    "inpaint": [],
    "contrast": ["inpaint.inpaint_weight: 10.0 -> 0.0", "inpaint.masked_views: 'both' -> 'none'"],
    "inpaint-only": ["inpaint.contrast_weight: 1.0 -> 0.0"],
    "sequence": ["inpaint.ssl_stages: 'joint' -> 'contrast-then-inpaint'"],
    "colourise": ["task: 'inpaint' -> 'colourise'"],
    "colourise-bins": ["colourise.colour_loss: 'l1' -> 'bins'", "task: 'inpaint' -> 'colourise'"],
    "vicreg": ["task: 'inpaint' -> 'vicreg'"],
    "skips": ["model.decoder_skips: False -> True"],
    "masked-capsules": ["inpaint.capsule_weight: 0.0 -> 1.0", "inpaint.hidden_capsules: 0.0 -> 0.5"],
    "balanced": ["training.sampling: 'auto' -> 'balanced'"],
    "frozen-capsules": ["optimizer.lr_mult: '' -> 'primary:0,routing:0'"],
    "few-latent": ["model.ssl_capsules: 4 -> 3"],
    "transfer-latent": ["model.ssl_capsules: 4 -> 3"],
    "lr-mult": [],
    "freeze": [],
}
FINETUNE = {
    "transfer-latent": ["classify.transfer_latent: False -> True"],
    "lr-mult": ["optimizer.lr_mult: '' -> 'stem:0.3,primary:1,routing:3'"],
    "freeze": ["classify.freeze_epochs: 0.0 -> 5.0"],
    "convnet": ["model.architecture: 'capsnet' -> 'convnet'"],
    "uniform": ["model.routing: 'dynamic' -> 'uniform'"],
}
NAMES = [name for name in ARMS if not ARMS[name].imagenet]
CELL = Cell("random", 0, None)


@pytest.fixture(scope="module")
def study():
    inits = [name for name in NAMES if name != "random"]
    return study_of(inits=",".join(["random", *inits]))


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_makes_valid_runs_that_differ_only_in_what_it_declares(name, study):
    arm, cell = ARMS[name], Cell(name, 0, None)
    tuned = study.finetuning(cell, "1", Recipe())
    assert checked(tuned) == tuned
    reference = study.finetuning(dataclasses.replace(cell, arm=arm.reference), "1", Recipe())
    assert (tuned.restore is not None) == (arm.pretrain is not None)
    tuned = dataclasses.replace(tuned, restore=None)
    if not arm.baseline:
        assert comparability(reference, tuned) == ""
    assert differences(to_dict(reference), to_dict(tuned)) == FINETUNE.get(name, [])
    if arm.pretrain is None:
        assert name not in PRETRAIN
        return
    before = study.pretraining(cell)
    assert checked(before) == before
    shared = dataclasses.replace(before, out=None)
    assert differences(to_dict(study.pretrain), to_dict(shared)) == PRETRAIN[name]


def test_an_arm_that_reads_the_classes_says_so(study):
    """The data is read for their number only if an arm declares that it needs it."""
    other = dataclasses.replace(study, classes=study.classes + 4)
    for name in NAMES:
        cell = Cell(name, 0, None)
        stages = [lambda of, cell=cell: of.finetuning(cell, "1", Recipe())]
        if ARMS[name].pretrain is not None:
            stages.append(lambda of, cell=cell: of.pretraining(cell))
        reads = any(make(study) != make(other) for make in stages)
        assert reads == ARMS[name].counts_classes, name


def test_the_imagenet_arm_alone_starts_from_vggs_kernels(tmp_path):
    study = study_of("--preset=vgg", f"--vgg-weights={tmp_path}/vgg.safetensors", inits="imagenet,inpaint")
    weights = {each.name: study.finetuning(Cell(each.name, 0, None), "1", Recipe()).vgg_weights for each in study.arms}
    assert weights == {"random": None, "imagenet": f"{tmp_path}/vgg.safetensors", "inpaint": None}
    assert study.pretraining(Cell("inpaint", 0, None)).vgg_weights is None
    without = study_of("--preset=vgg", inits="imagenet")
    with pytest.raises(UserError, match=r"--inits=imagenet: give --preset=vgg and --vgg-weights=FILE"):
        without.finetuning(Cell("imagenet", 0, None), "1", Recipe())


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_is_documented(name):
    table = (Path(__file__).parents[2] / "docs" / "how-to" / "study.md").read_text(encoding="utf-8")
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert any(name in re.findall(r"`([\w-]+)`", row.split("|")[1]) for row in rows)
    assert ARMS[name].about
