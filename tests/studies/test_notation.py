"""What users type to describe a study."""

import pytest

from jaxcaps.errors import UserError
from jaxcaps.studies.notation import Recipe, parse_arms, parse_flags, parse_grid, parse_numbers, study_arm


def test_an_arm_takes_flags_of_its_pretraining_and_of_its_network():
    longer = study_arm("inpaint+epochs=100+lr=0.002")
    assert (longer.pretrain, longer.network) == (("--epochs=100", "--lr=0.002"), ())
    assert longer.reference == "random"
    assert longer.about == "contrast and in-painting together, epochs=100, lr=0.002"
    wide = study_arm("contrast@capsule-dim=8+epochs=3")
    assert (wide.pretrain, wide.network) == (("--epochs=3",), ("--capsule-dim=8",))
    assert wide.reference == "random@capsule-dim=8"


def test_the_arm_that_others_are_compared_with_is_added():
    assert parse_arms("inpaint,contrast") == ("random", "inpaint", "contrast")
    assert parse_arms("inpaint@capsule-dim=8, inpaint") == (
        "random@capsule-dim=8",
        "random",
        "inpaint@capsule-dim=8",
        "inpaint",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inpant", "--inits=inpant: unknown initialisation; did you mean 'inpaint'"),
        ("random+epochs=3", "random does not pre-train; drop --epochs=3"),
        ("extra-trees@capsule-dim=8", "extra-trees is not a network; drop --capsule-dim=8"),
        ("inpaint+", "expected a flag after each"),
        ("inpaint,inpaint", "inpaint is listed twice; remove one"),
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


def test_flags_that_the_study_sets_are_refused_wherever_they_stand():
    assert parse_flags("--ssl", "--lr=0.1 --decoder-skips") == ("--lr=0.1", "--decoder-skips")
    assert parse_flags("--ssl", "--crop-scale 0.4 1") == ("--crop-scale", "0.4", "1")
    with pytest.raises(UserError, match="--ssl='--seed=3': the study sets --seed itself"):
        parse_flags("--ssl", "--seed=3")
    with pytest.raises(UserError, match=r"expected flags of jaxcaps\.train such as --lr=0\.001, found 'lr=3'"):
        parse_flags("--finetune", "lr=3")
    # An arm's flags and a recipe's come last, and would overrule the study's.
    for text in ("balanced+label-fraction=1", "random@seed=3", "inpaint+config=other.yaml"):
        with pytest.raises(UserError, match=r"--inits=.*: the study sets --[a-z-]+ itself"):
            parse_arms(text)
    with pytest.raises(UserError, match="the study sets --label-fraction itself"):
        parse_grid("label-fraction=0.1,1")
    with pytest.raises(UserError, match="the study sets --label-fraction itself"):
        parse_flags("--ssl", "--label_fraction=1")


@pytest.mark.parametrize("bad", ["", "1,1", "x"])
def test_bad_lists_of_numbers_are_refused(bad):
    with pytest.raises(UserError, match=r"--seeds=.*: expected numbers separated by commas, each once"):
        parse_numbers("--seeds", bad, int)
