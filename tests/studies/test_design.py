"""A study's design: its cells, their configurations, and what is refused before anything runs."""

import dataclasses
import functools
from pathlib import Path

import pytest
import yaml

from data_prep import synthetic
from jaxcaps.config import from_dict, to_dict
from jaxcaps.errors import UserError
from jaxcaps.studies import design
from jaxcaps.studies.arms import ARMS, Arm
from jaxcaps.studies.checks import check
from jaxcaps.studies.design import Cell, Study
from jaxcaps.studies.notation import Recipe, StudyArm
from jaxcaps.studies.ready_made import READY_MADE
from tests.marks import slow
from tests.studies.build import study_of, write_npz


@pytest.fixture(autouse=True, scope="module")
def drawn_once():
    """Draws each built-in picture once, though many tests check a study of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "draw", functools.cache(synthetic.draw))
        yield


def test_cells_are_every_arm_seed_and_fold_once_seed_by_seed():
    cells = study_of("--folds=2", inits="random,random-seconds,inpaint").cells()
    assert len(set(cells)) == len(cells) == 3 * 2 * 2
    assert [cell.seed for cell in cells] == [0] * 6 + [1] * 6
    # It takes the seconds of another arm, which must be known first.
    assert [cell.arm for cell in cells[:3]] == ["random", "inpaint", "random-seconds"]
    assert Cell("inpaint", 1, 0).name == "inpaint/seed-1/fold-0"
    assert Cell("inpaint", 1, None).name == "inpaint/seed-1"


def test_every_arm_has_the_same_grid_data_and_seed_in_its_runs(tmp_path):
    study = study_of(
        "--folds=3", "--label-fractions=1,0.5", "--epochs=1", "--ssl=--lr=0.1", "--grid=lr=0.5", "--minority=polyp:0.1"
    )
    cell = Cell("inpaint", 1, 2)
    before = study.pretraining(cell, tmp_path)
    assert (before.stage, before.seed, before.data.folds, before.data.fold) == ("ssl", 1, 3, 2)
    # It sees no more labels than the fine-tuning with the fewest.
    assert (before.data.label_fraction, before.optimizer.lr) == (0.5, 0.1)
    assert before.out == str(tmp_path / "ssl")
    (recipe,) = study.recipes
    tuned = study.finetuning(cell, "1", recipe, tmp_path)
    assert (tuned.stage, tuned.seed, tuned.data.fold) == ("finetune", 1, 2)
    assert (tuned.training.epochs, tuned.optimizer.lr, tuned.data.label_fraction) == (1, 0.5, 1)
    assert (tuned.out, tuned.restore) == (str(tmp_path / "finetune/1/lr=0.5"), before.out)
    assert before.data.minority == tuned.data.minority == "polyp:0.1"
    # No labels of validation steer a run of a study.
    assert tuned.training.best_metric == "none"
    assert study.finetuning(Cell("random", 1, 2), "1", recipe).restore is None


def test_flags_of_data_and_network_hold_for_both_stages():
    study = study_of("--image-size=24", "--capsule-dim=8", "--no-decoder-skips", "--routing=em")
    cell = Cell("inpaint", 0, None)
    for config in (study.pretraining(cell), study.finetuning(cell, "1", Recipe())):
        assert (config.data.image_size, config.model.capsule_dim, config.model.routing) == (24, 8, "em")
        # What is not given is the preset's.
        assert config.data.synthetic_count == 60


def test_later_flags_win_the_grid_over_the_arm_over_the_stage():
    study = study_of(
        "--ssl=--temperature=0.3 --inpaint-weight=2", "--finetune=--lr=0.2", "--grid=lr=0.3", inits="contrast"
    )
    before = study.pretraining(Cell("contrast", 0, None))
    assert (before.inpaint.temperature, before.inpaint.inpaint_weight) == (0.3, 0)
    assert study.finetuning(Cell("contrast", 0, None), "1", study.recipes[0]).optimizer.lr == 0.3
    own = study_of("--ssl=--epochs=2", inits="contrast+epochs=3@capsule-dim=8")
    config = own.pretraining(Cell(own.inits[1], 0, None))
    assert (config.training.epochs, config.model.capsule_dim, config.inpaint.inpaint_weight) == (3, 8, 0)


def test_flags_of_every_form_change_what_they_name_and_nothing_else():
    study = study_of("--ssl=--crop-scale 0.4 0.9 --no-flip --lr-mult=stem:0.5", "--finetune=--no-flip")
    plain = study_of()
    before = dataclasses.replace(plain.pretrain.augmentation, crop_scale=(0.4, 0.9), flip=False)
    optimizer = dataclasses.replace(plain.pretrain.optimizer, lr_mult="stem:0.5")
    assert study.pretrain == dataclasses.replace(plain.pretrain, augmentation=before, optimizer=optimizer)
    after = dataclasses.replace(plain.finetune.augmentation, flip=False)
    assert study.finetune == dataclasses.replace(plain.finetune, augmentation=after)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ssl=--lr=oops"], r"--ssl='--lr=oops': Error parsing --lr: could not convert string to float: 'oops'"),
        (["--finetune=--lrr=3"], r"--finetune='--lrr=3': --lrr: unknown flag; did you mean"),
        (["--inits=inpaint+contrast-on=x"], r"--inits=inpaint\+contrast-on=x: invalid choice 'x'"),
        (["--grid=lr=oops"], "--grid: Error parsing --lr"),
        (["--fold=1"], "--fold: the study sets it for each run; --folds makes the folds"),
        (["--label-fraction=0.1"], "--label-fraction: the study sets it for each run; give --label-fractions"),
    ],
)
def test_an_error_says_where_the_flag_stands(flags, message):
    with pytest.raises(UserError, match=message):
        check(study_of(*flags))


def test_baselines_may_differ_and_the_longer_ones_need_a_budget():
    check(study_of(inits="random,inpaint,skips,uniform,random-epochs,extra-trees"))
    with pytest.raises(UserError, match="the budget of an arm that pre-trains"):
        check(study_of(inits="random,random-epochs"))


@pytest.mark.parametrize(
    ("section", "field", "value", "what"),
    [
        ("training", "epochs", 3.0, "epochs"),
        ("training", "effective_batch", 32, "batch size"),
        ("model", "capsule_dim", 4, "architecture"),
    ],
)
def test_arms_that_differ_in_more_than_their_start_are_refused(section, field, value, what, monkeypatch):
    def finetune(config, classes):
        return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **{field: value})})

    arms = {"random": ARMS["random"], "other": Arm("another", finetune=finetune)}
    monkeypatch.setattr(design, "study_arm", lambda name: StudyArm(name, arms[name]))
    study = dataclasses.replace(study_of(inits="random"), inits=("random", "other"))
    design._finetuning.cache_clear()
    with pytest.raises(UserError, match=f"other and random cannot be compared: their {what} differs"):
        check(study)
    design._finetuning.cache_clear()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ssl=--split-seed=1"], "inpaint: its pre-training and its fine-tuning must agree.*\n  split_seed: 1 -> 0"),
        (["--inits=inpaint+extra-convs=7"], r"extra-convs=7: its pre-training .*\n  extra_convs: 7 -> "),
        (["--grid=lr-mult=stem:1;stm:0.1"], "unknown layer group 'stm'; did you mean 'stem'"),
        (["--grid=capsule-dim=8,12"], "--grid: capsule-dim=12 changes the network or the data"),
        (
            ["--inits=random,inpaint,random-seconds", "--finetune=--evaluate-every=9 --epochs=9"],
            "--evaluate-every=9 with --epochs=9: random-seconds needs the time between evaluations",
        ),
        (
            ["--finetune=--best-metric=mmc"],
            "random, fine-tuning: --best-metric=mmc: unknown metric; did you mean 'mcc'",
        ),
        (["--finetune=--batch-size=7"], "is not a multiple of --batch-size=7"),
        (["--ssl=--contrast-weight=0 --inpaint-weight=0"], "inpaint, pre-training: .*leave no loss"),
        (
            ["--finetune=--sampling=shuffled --batch-size=64 --effective-batch=64"],
            "--batch-size=64 is larger than the training set of 33 images",
        ),
        (["--folds=1"], "--folds=1 --fold=0: expected 2 to 100 folds"),
        (["--folds=90"], "--folds=90: class"),
        (["--label-fractions=0,1"], "--label-fraction=0.0: expected above 0 and at most 1"),
        (["--label-fractions=0.01"], "leaves no label of class"),
        (["--seeds=4294967296"], "--seed=4294967296: expected"),
        (
            ["--finetune=--transfer-latent"],
            "fine-tuning: --transfer-latent takes pre-trained latent capsules, but",
        ),
        (["--inits=transfer-latent+ssl-capsules=8"], "with --ssl-capsules=3, as many as there are classes"),
        (["--perceptual-weights=vgg.safetensors"], "no arm reads it; add one of --task=colourise to --inits"),
        (["--vgg-weights=vgg.safetensors"], "no arm reads it; add imagenet to --inits"),
    ],
)
def test_what_would_fail_after_the_pre_training_is_refused_before(flags, message):
    with pytest.raises(UserError, match=message):
        check(study_of(*flags))


def test_recipes_may_differ_in_loss_and_reconstruction():
    check(study_of("--grid=loss=margin,cross-entropy reconstruction-weight=0,0.001"))


def test_the_perceptual_weights_of_a_study_go_to_the_arms_that_use_them():
    study = study_of(
        "--perceptual-weights=/vgg", inits="inpaint,colourise,colourise-bins,colourise+perceptual-weights=/own"
    )
    given = {name: study.pretraining(Cell(name, 0, None)).colourise.perceptual_weights for name in study.pretrained}
    assert list(given.values()) == [None, "/vgg", None, "/own"]


def test_a_study_survives_yaml():
    study = study_of("--folds=2", "--grid=lr=0.1,0.2", inits="random,inpaint+epochs=3,extra-trees,few-latent")
    assert from_dict(Study, yaml.safe_load(yaml.safe_dump(to_dict(study))), "here") == study


@pytest.mark.parametrize("name", ["paper", *slow(*(name for name in READY_MADE if name != "paper"))])
def test_the_arms_of_a_ready_made_study_are_comparable(name):
    study = study_of(inits=READY_MADE[name].inits)
    check(study)
    assert len(study.arms) > 5


def test_as_many_latent_capsules_as_the_data_has_classes():
    study = study_of(inits="few-latent,transfer-latent,inpaint")
    capsules = {name: study.pretraining(Cell(name, 0, None)).model.ssl_capsules for name in study.pretrained}
    assert capsules == {"few-latent": 3, "transfer-latent": 3, "inpaint": 4}
    # An arm that does not ask must not cost a reading of the data.
    assert study_of("--data=csv:nowhere.csv", inits="inpaint").classes == 0
    with pytest.raises(UserError, match=r"nowhere\.csv"):
        study_of("--data=csv:nowhere.csv", inits="few-latent")


def test_a_share_that_shows_too_little_of_validation_is_refused(tmp_path):
    data = "--data=" + write_npz(tmp_path / "few.npz", 24, 6)
    with pytest.raises(UserError, match=r"--label-fraction=0\.25 (shows|leaves) no label"):
        check(study_of(data, "--label-fractions=0.25,1"))
    # By one class of two a run can be followed, but no recipe chosen.
    uneven = "--data=" + write_npz(tmp_path / "uneven.npz", 24, 5)
    check(study_of(uneven, "--label-fractions=0.4,1"))
    with pytest.raises(UserError, match=r"0\.4 of the labels leave no validation label of 1"):
        check(study_of(uneven, "--label-fractions=0.4,1", "--grid=lr=0.1,0.2"))
    check(study_of(data, "--label-fractions=0.5,1", "--grid=lr=0.1,0.2"))


def test_labels_per_class_are_an_axis_too(tmp_path):
    data = "--data=" + write_npz(tmp_path / "set.npz", 24, 6)
    study = study_of(data, "--labels-per-class=all,10,5")
    assert study.labels == ("5-per-class", "10-per-class", "1")
    cell = Cell("inpaint", 0, None)
    configs = [study.finetuning(cell, labels, Recipe(), tmp_path) for labels in study.labels]
    assert [(each.data.labels_per_class, each.data.label_fraction) for each in configs] == [(5, 1), (10, 1), (None, 1)]
    assert [Path(each.out).parent.name for each in configs] == ["5-per-class", "10-per-class", "1"]
    assert study.pretraining(cell).data.labels_per_class == 5
    check(study)
    with pytest.raises(UserError, match=r"--labels-per-class=20 wants more labels than there are of class"):
        check(study_of(data, "--labels-per-class=20"))
    with pytest.raises(UserError, match=r"--label-fractions=0\.5 and --labels-per-class=5: give one"):
        study_of(data, "--label-fractions=0.5", "--labels-per-class=5")
    for wrong in ("five", "5,5", ""):
        with pytest.raises(UserError, match=f"--labels-per-class={wrong}: expected numbers separated by commas"):
            study_of(data, f"--labels-per-class={wrong}")
