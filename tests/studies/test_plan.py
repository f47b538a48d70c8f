"""What a study works out before it runs."""

import pytest
import yaml

from jaxcaps.errors import UserError
from jaxcaps.plan.flags import parse_config
from jaxcaps.studies.arms import ARMS, arm
from jaxcaps.studies.plan import (
    Cell,
    Plan,
    Recipe,
    check,
    from_plain,
    parse_arms,
    parse_flags,
    parse_grid,
    parse_numbers,
    to_plain,
    with_classes,
)
from jaxcaps.studies.plans import PLANS


def plan_of(inits, **changes):
    given = {"data": "synthetic", "preset": "tiny", "arms": parse_arms(inits), "seeds": (0, 1)}
    return Plan(**(given | changes))


def test_an_arm_takes_flags_of_its_pretraining_and_of_its_network():
    longer = arm("inpaint+epochs=100+lr=0.002")
    assert longer.pretrain == ("--epochs=100", "--lr=0.002")
    assert longer.reference == "random"
    wide = arm("contrast@capsule-dim=8+epochs=3")
    assert wide.network == ("--capsule-dim=8",)
    assert wide.pretrain == ("--inpaint-weight=0", "--masked-views=none", "--epochs=3")
    assert wide.reference == "random@capsule-dim=8"


def test_the_arm_that_others_are_compared_with_is_added():
    assert [each.name for each in parse_arms("inpaint,contrast")] == ["random", "inpaint", "contrast"]
    names = [each.name for each in parse_arms("inpaint@capsule-dim=8,inpaint")]
    assert names == ["random@capsule-dim=8", "random", "inpaint@capsule-dim=8", "inpaint"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inpant", "unknown initialisation 'inpant'; did you mean 'inpaint'"),
        ("random+epochs=3", "random does not pre-train, so --epochs=3 has nothing to act on"),
        ("extra-trees@capsule-dim=8", "extra-trees is no network"),
        ("inpaint+", "expected a flag after each"),
        ("inpaint,inpaint", "inpaint is there twice"),
        (" ,", "names no initialisation"),
    ],
)
def test_bad_arms_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse_arms(text)


def test_a_grid_is_the_product_of_its_axes():
    recipes = parse_grid("lr=0.001,0.003 freeze-epochs=0,5")
    assert [recipe.flags for recipe in recipes] == [
        ("--lr=0.001", "--freeze-epochs=0"),
        ("--lr=0.001", "--freeze-epochs=5"),
        ("--lr=0.003", "--freeze-epochs=0"),
        ("--lr=0.003", "--freeze-epochs=5"),
    ]
    assert recipes[1].name == "lr=0.001+freeze-epochs=5"
    assert parse_grid("") == (Recipe(),)
    by_depth = parse_grid("lr-mult=stem:1;stem:0.1,primary:0.1 epochs=3")
    assert [recipe.flags[0] for recipe in by_depth] == ["--lr-mult=stem:1", "--lr-mult=stem:0.1,primary:0.1"]
    for bad in ("lr", "lr=", "lr=1,,2"):
        with pytest.raises(UserError, match="--grid="):
            parse_grid(bad)


def test_flags_that_are_the_studys_to_give_are_refused():
    assert parse_flags("--ssl", "--lr=0.1 --decoder-skips") == ("--lr=0.1", "--decoder-skips")
    assert parse_flags("--ssl", "--crop-scale 0.4 1") == ("--crop-scale", "0.4", "1")
    with pytest.raises(UserError, match="--seed is the study's to give"):
        parse_flags("--ssl", "--seed=3")
    with pytest.raises(UserError, match=r"expected flags of jaxcaps\.train such as --lr=0\.001, found 'lr=3'"):
        parse_flags("--finetune", "lr=3")
    for bad in ("", "1,1", "x"):
        with pytest.raises(UserError, match="expected numbers"):
            parse_numbers("--seeds", bad, int)
    # Wherever they stand: an arm's flags and a recipe's come last, and would overrule the study's.
    for text in ("balanced+label-fraction=1", "random@seed=3", "inpaint+config=other.yaml"):
        with pytest.raises(UserError, match="is the study's to give"):
            parse_arms(text)
    with pytest.raises(UserError, match="--label-fraction is the study's to give"):
        parse_grid("label-fraction=0.1,1")
    with pytest.raises(UserError, match="--label-fraction is the study's to give"):
        parse_flags("--ssl", "--label_fraction=1")


def test_cells_are_every_arm_seed_and_fold_once_seed_by_seed():
    plan = plan_of("random,random-seconds,inpaint", folds=2)
    cells = plan.cells()
    assert len(set(cells)) == len(cells) == 3 * 2 * 2
    assert [cell.seed for cell in cells] == [0] * 6 + [1] * 6
    # Its seconds are another's, which must be known first.
    assert [cell.arm for cell in cells[:3]] == ["random", "inpaint", "random-seconds"]
    assert Cell("inpaint", 1, 0).name == "inpaint/seed-1/fold-0"
    assert Cell("inpaint", 1, None).name == "inpaint/seed-1"


def test_every_arm_has_the_same_grid_data_and_seed_in_its_commands():
    plan = plan_of(
        "random,inpaint", folds=3, label_fractions=(0.5, 1.0), finetune=("--epochs=1",), pretrain=("--lr=0.1",)
    )
    cell = Cell("inpaint", 1, 2)
    ssl = parse_config(plan.pretraining(cell, "a"))
    assert (ssl.stage, ssl.seed, ssl.data.folds, ssl.data.fold) == ("ssl", 1, 3, 2)
    # Of the labels it sees no more than the fine-tuning with the fewest.
    assert (ssl.data.label_fraction, ssl.optimizer.lr) == (0.5, 0.1)
    tuned = parse_config(plan.finetuning(cell, 1.0, Recipe(("--lr=0.5",)), None, "b"))
    assert (tuned.stage, tuned.training.epochs, tuned.optimizer.lr, tuned.data.label_fraction) == (
        "finetune",
        1,
        0.5,
        1,
    )
    # No labels of validation steer a run of a study.
    assert tuned.training.best_metric == "none"


def test_arms_that_differ_in_more_than_their_start_are_refused():
    check(plan_of("random,inpaint,skips,uniform,random-epochs,extra-trees"))
    one = arm("inpaint")
    for flag, what in (
        ("--epochs=3", "epochs"),
        ("--effective-batch=32", "batch size"),
        ("--capsule-dim=4", "architecture"),
    ):
        other = type(one)("other", "another", (), finetune=(flag,))
        with pytest.raises(UserError, match=f"other and random cannot be compared: their {what} differs"):
            check(plan_of("random", arms=(ARMS["random"], other)))
    with pytest.raises(UserError, match="need an arm that pre-trains"):
        check(plan_of("random,random-epochs"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pretrain": ("--split-seed=1",)},
            "inpaint: its pre-training and its fine-tuning differ.*\n  split_seed: 1 -> 0",
        ),
        ({"arms": parse_arms("inpaint+extra-convs=7")}, r"extra-convs=7: its pre-training .*\n  extra_convs: 7 -> "),
        ({"recipes": parse_grid("lr-mult=stem:1;stm:0.1")}, "unknown layer group 'stm'; did you mean 'stem'"),
        ({"recipes": parse_grid("capsule-dim=8,12")}, "--grid: capsule-dim=12 changes network or data"),
        (
            {"arms": parse_arms("random,inpaint,random-seconds"), "finetune": ("--evaluate-every=9", "--epochs=9")},
            "--evaluate-every=9 with --epochs=9: random-seconds goes by the pace",
        ),
        ({"finetune": ("--best-metric=mmc",)}, "--best-metric=mmc: unknown; did you mean 'mcc'"),
        ({"finetune": ("--batch-size=7",)}, "is not a multiple of --batch-size=7"),
        ({"pretrain": ("--contrast-weight=0", "--inpaint-weight=0")}, "leave no loss"),
        (
            {"finetune": ("--sampling=shuffled", "--batch-size=64", "--effective-batch=64")},
            "--batch-size=64 is larger than the training set of 33 images",
        ),
    ],
)
def test_what_would_fail_after_the_pre_training_is_refused_before(changes, message):
    with pytest.raises(UserError, match=message):
        check(plan_of("random,inpaint", **changes))


def test_recipes_may_differ_in_loss_and_reconstruction():
    check(plan_of("random,inpaint", recipes=parse_grid("loss=margin,cross-entropy reconstruction-weight=0,0.001")))


def test_the_perceptual_weights_of_a_study_go_to_those_who_use_them():
    arms = parse_arms("inpaint,colourise,colourise-bins,colourise+perceptual-weights=/own")
    plan = plan_of("random", arms=arms, perceptual_weights="/vgg")
    given = {
        each.name: parse_config(plan.pretraining(Cell(each.name, 0, None), "x")).colourise.perceptual_weights
        for each in plan.pretrained()
    }
    assert list(given.values()) == [None, "/vgg", None, "/own"]


def test_a_plan_survives_yaml():
    plan = plan_of("random,inpaint+epochs=3,extra-trees", folds=2, recipes=parse_grid("lr=0.1,0.2"))
    assert from_plain(yaml.safe_load(yaml.safe_dump(to_plain(plan))), "here") == plan


@pytest.mark.parametrize("name", PLANS)
def test_the_arms_of_a_ready_made_study_are_comparable(name):
    plan = with_classes(plan_of(PLANS[name].inits, preset="tiny"))
    check(plan)
    assert len(plan.arms) > 5


def test_as_many_latent_capsules_as_the_data_has_classes():
    plan = with_classes(plan_of("few-latent,transfer-latent,inpaint"))
    pretrain = {each.name: each.pretrain for each in plan.arms}
    assert pretrain["few-latent"] == pretrain["transfer-latent"] == ("--ssl-capsules=3",)
    assert pretrain["inpaint"] == arm("inpaint").pretrain
    plain = plan_of("inpaint", data="nowhere")
    assert with_classes(plain) is plain, "an arm that does not ask must not cost a reading of the data"
