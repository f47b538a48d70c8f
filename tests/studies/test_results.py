"""Arms compared pair by pair, recipes chosen, and the files that a study writes."""

import csv
import math

import numpy as np
import pytest

from jaxcaps.errors import UserError
from jaxcaps.studies.checks import check
from jaxcaps.studies.design import Cell
from jaxcaps.studies.execution import folder_of
from jaxcaps.studies.outcomes import OUTCOME
from jaxcaps.studies.pretrainings import pretraining_table
from jaxcaps.studies.results import COMPARED, choose, compare, gather
from jaxcaps.studies.run import report
from tests.studies.build import IMAGES, finish, study_of, without


def test_arms_are_compared_pair_by_pair_over_all_folds(tmp_path):
    study = study_of("--folds=3")
    finish(study, tmp_path, lambda arm, recipe, fold: {"random": 0.5, "inpaint": 0.8}[arm])
    results = gather(study, tmp_path)
    random, inpaint = compare(study, results)
    assert random.images == inpaint.images == 3 * IMAGES
    assert random.differences == {}
    np.testing.assert_allclose(random.scores["accuracy"], [0.5, 0.5])
    found = inpaint.differences["accuracy"]
    assert found.value == pytest.approx(0.3)
    assert 0.2 < found.low < 0.3 < found.high < 0.4
    assert inpaint.relative.value == pytest.approx(0.6)


def test_all_arms_may_be_compared_with_one_of_another_network(tmp_path):
    arms = "random@capsule-dim=8,random"
    study = study_of("--against=random@capsule-dim=8", inits=arms)
    assert study_of(inits=arms).reference(study.arms[1]) == "random"
    check(study)
    finish(study, tmp_path, lambda arm, recipe, fold: {"random": 0.8}.get(arm, 0.5), random={"architecture": "other"})
    small, usual = compare(study, gather(study, tmp_path))
    assert small.differences == {}
    assert usual.differences["accuracy"].value == pytest.approx(0.3)
    with pytest.raises(UserError, match="--against=randon: not among the arms; did you mean 'random'"):
        study_of("--against=randon", inits=arms)


def test_only_seeds_with_all_folds_take_part(tmp_path):
    study = study_of("--folds=3")
    finish(study, tmp_path, lambda arm, recipe, fold: 0.5)
    (folder_of(tmp_path, Cell("inpaint", 1, 2)) / OUTCOME).unlink()
    random, inpaint = compare(study, gather(study, tmp_path))
    assert (random.seeds, inpaint.seeds) == ((0, 1), (0,))
    assert "inpaint/seed-1/fold-2: not run" in report(study, tmp_path)


def test_the_table_of_pre_trainings_has_means_of_what_any_of_them_measured():
    rows = [
        {"initialisation": "inpaint", "coupling_entropy": 0.5, "reconstruction/shuffled": 2.0, "saturation": None},
        {"initialisation": "inpaint", "coupling_entropy": 0.7, "reconstruction/shuffled": 3.0, "saturation": None},
        {"initialisation": "contrast", "coupling_entropy": 0.9, "reconstruction": None, "saturation": None},
    ]
    assert pretraining_table(rows).splitlines() == [
        "| pre-training | runs | with another's poses, times | coupling entropy |",
        "|---|---|---|---|",
        "| inpaint | 2 | 2.5 | 0.6 |",
        "| contrast | 1 | - | 0.9 |",
    ]


def test_cells_of_another_version_are_named(tmp_path):
    study = study_of("--seeds=0", inits="random")
    finish(study, tmp_path, lambda *_: 0.5)
    without(folder_of(tmp_path, study.cells()[0]), "updates")
    with pytest.raises(UserError, match=r"outcome\.json is of another version of jaxcaps.*updates is missing"):
        gather(study, tmp_path)


@pytest.mark.parametrize("what", ["architecture", "fingerprint", "updates"])
def test_arms_that_turn_out_to_differ_are_not_compared(tmp_path, what):
    study = study_of()
    finish(study, tmp_path, lambda *_: 0.5, inpaint={what: 99 if what == "updates" else "another"})
    with pytest.raises(UserError, match=f"inpaint/seed-0 and random/seed-0 cannot be compared: {what}"):
        gather(study, tmp_path)
    baseline = study_of(inits="random,uniform")
    finish(baseline, tmp_path / "b", lambda *_: 0.5, uniform={what: 99 if what == "updates" else "another"})
    assert len(gather(baseline, tmp_path / "b")) == 4


def test_each_arm_chooses_its_recipe_in_each_fold_from_the_same_grid(tmp_path):
    study = study_of("--folds=2", "--grid=lr=0.1,0.2")
    better = {("random", 0): "lr=0.1", ("random", 1): "lr=0.2", ("inpaint", 0): "lr=0.2", ("inpaint", 1): "lr=0.2"}
    finish(study, tmp_path, lambda arm, recipe, fold: 0.8 if better[arm, fold] == recipe else 0.6)
    chosen = choose(study, gather(study, tmp_path))
    assert {(one.arm, one.fold): one.recipe for one in chosen} == better
    text = report(study, tmp_path)
    assert "Recipes are chosen on these very scores" in text
    with (tmp_path / "choices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["initialisation"], int(row["fold"])): row["recipe"] for row in rows} == better


def test_the_report_has_a_row_a_run_and_figures(tmp_path):
    study = study_of("--label-fractions=0.5,1", inits="random,inpaint,contrast")
    finish(study, tmp_path, lambda arm, recipe, fold: {"random": 0.5, "inpaint": 0.9, "contrast": 0.5}[arm])
    text = report(study, tmp_path)
    assert text == (tmp_path / "table.md").read_text(encoding="utf-8").rstrip("\n")
    with (tmp_path / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2
    assert {(row["initialisation"], float(row["accuracy"])) for row in rows} == {
        ("random", 0.5),
        ("inpaint", 0.9),
        ("contrast", 0.5),
    }
    with (tmp_path / "differences.csv").open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["metric"] == "accuracy"]
    assert len(found) == 4
    for row in found:
        assert float(row["p_holm"]) >= float(row["p"])
        assert (float(row["p_holm"]) < 0.05) == (row["initialisation"] == "inpaint")
    assert all(math.isfinite(float(row["low"])) for row in found)
    with (tmp_path / "scores.csv").open(newline="") as file:
        levels = {(row["initialisation"], row["metric"]): row for row in csv.DictReader(file)}
    assert len(levels) == 3 * len(COMPARED)
    row = levels["inpaint", "accuracy"]
    assert 0.8 < float(row["low"]) < float(row["mean"]) == 0.9 < float(row["high"]) < 1
    assert f"[{float(row['low']):.3f}, {float(row['high']):.3f}]" in text
    # In scores and in differences.
    assert text.count("| accuracy | balanced accuracy | macro F1 | MCC | macro ROC-AUC |") == 2
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"accuracy.png", "balanced_accuracy.png"}
    assert "perceptual" not in text


def test_the_report_says_which_perceptual_network_ran(tmp_path):
    study = study_of("--seeds=0", inits="random,colourise,colourise+perceptual-weights=/vgg.safetensors,colourise-bins")
    finish(study, tmp_path, lambda arm, recipe, fold: 0.5)
    told = [line for line in report(study, tmp_path).splitlines() if "perceptual network: " in line]
    assert [line.partition("network: ")[2] for line in told] == ["a fixed random one", "VGG-16 of /vgg.safetensors"]
