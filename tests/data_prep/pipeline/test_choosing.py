"""Copies, leaks, labels and splits, decided from made-up findings."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.config import Preparation
from data_prep.errors import UserError
from data_prep.pipeline.choosing import check_listing, choose, find_leaks
from data_prep.pipeline.inspecting import Inspection
from data_prep.sources.listing import Listing, RawFrame, Skipped

CONFIG = Preparation(source="csv:x.csv", out="out")


def frame(name, label="a", group=None, split="train"):
    return RawFrame(name, Path(name), label, group, split)


def found(frames, **shas):
    """Findings whose hashes are far apart, and whose files differ unless told otherwise."""
    rng = np.random.default_rng(0)
    return {
        one.name: Inspection(one.name, sha256=shas.get(one.name, one.name), hash=rng.bytes(32).hex()) for one in frames
    }


def listing(*frames, official=False, skipped=()):
    return Listing(Path("/source"), frames, skipped, official=official)


def chosen(*frames, config=CONFIG, official=False, **shas):
    return choose(listing(*frames, official=official), found(frames, **shas), config)


SPLIT = (frame("v", split="validation"), frame("t", split="test"))


def test_good_frames_stay_as_they_are():
    frames = (frame("x", group="g"), *SPLIT)
    choice = chosen(*frames)
    assert choice.frames == frames
    assert choice.skipped == choice.leaks == choice.near == ()
    assert choice.split_by == "given by the source"


def test_of_files_with_the_same_bytes_the_held_out_one_is_kept():
    frames = (frame("x"), frame("y", split="test"), frame("z"), frame("other"), *SPLIT)
    choice = chosen(*frames, x="1", y="1", z="1")
    assert [one.name for one in choice.frames] == ["y", "other", "v", "t"]
    assert choice.skipped == (Skipped("x", "the same file as y"), Skipped("z", "the same file as y"))


def test_a_labelled_copy_goes_before_an_unlabelled_one():
    choice = chosen(frame("x", label=None, split="test"), frame("y"), *SPLIT, x="1", y="1")
    assert choice.skipped == (Skipped("x", "the same file as y"),)


def test_copies_that_contradict_one_another_are_all_left_out():
    choice = chosen(frame("x", "a"), frame("y", "b"), frame("z"), *SPLIT, x="1", y="1")
    assert [one.name for one in choice.frames] == ["z", "v", "t"]
    assert choice.skipped == (
        Skipped("x", "label conflict: the same file as y, labelled a and b"),
        Skipped("y", "label conflict: the same file as x, labelled a and b"),
    )


def test_bad_files_are_left_out_with_their_reason():
    frames = (frame("x"), frame("bad"), *SPLIT)
    findings = found(frames) | {"bad": Inspection("bad", bad="the file is empty")}
    assert choose(listing(*frames), findings, CONFIG).skipped == (Skipped("bad", "the file is empty"),)


UNLABELLED = [(None, False, 4), (None, True, 3), ("keep", True, 4), ("skip", False, 3)]


@pytest.mark.parametrize(("told", "official", "kept"), UNLABELLED)
def test_unlabelled_frames_are_kept_unless_they_are_piccolos_or_it_is_told(told, official, kept):
    config = Preparation(source="s", out="o", unlabelled=told)
    assert len(chosen(frame("x"), frame("n", label=None), *SPLIT, config=config, official=official).frames) == kept


LEAKING = (
    *(frame("x", group="g"), frame("y", group="g", split="test"), frame("z", group="h")),
    *(frame("v", group="i", split="validation"), frame("t", group="i", split="test")),
)


def test_leaks_are_counted_by_split():
    assert find_leaks(LEAKING) == (("g", {"train": 1, "test": 1}), ("i", {"validation": 1, "test": 1}))


def test_leaks_are_refused_where_the_split_is_the_users():
    with pytest.raises(
        UserError, match=r"2 group\(s\) lie in more than one split, the first is 'g' \(train 1, test 1\)"
    ):
        check_listing(listing(*LEAKING), CONFIG)
    check_listing(listing(*LEAKING, official=True), CONFIG)
    check_listing(listing(*LEAKING), Preparation(source="s", out="o", leaks="keep"))


def test_kept_leaks_are_told_apart_by_split_so_that_training_takes_them():
    choice = chosen(*LEAKING, official=True)
    assert [one.group for one in choice.frames] == ["g (train)", "g (test)", "h", "i (validation)", "i (test)"]
    assert [leak.group for leak in choice.leaks] == ["g", "i"]


def test_dropping_leaks_takes_held_out_frames_of_training_groups():
    choice = chosen(*LEAKING, config=Preparation(source="s", out="o", leaks="drop"))
    assert [one.name for one in choice.frames] == ["x", "z", "v", "t"]
    assert choice.skipped == (Skipped("y", "its group g is in training too (--leaks=drop)"),)


def test_near_duplicates_in_two_splits_are_paired_once():
    frames = (frame("x"), frame("y", split="test"), frame("z"), *SPLIT)
    findings = found(frames)
    near = bytearray.fromhex(findings["x"].hash)
    near[0] ^= 0b111
    findings["y"] = findings["y"]._replace(hash=near.hex())
    findings["z"] = findings["z"]._replace(hash=findings["x"].hash)
    assert choose(listing(*frames), findings, CONFIG).near == (("x", "y"), ("z", "y"))


def test_a_source_without_splits_is_split_60_20_20_with_near_duplicates_together():
    frames = [frame(f"{label}{number}", label, split=None) for label in "ab" for number in range(20)]
    findings = found(frames)
    findings["a1"] = findings["a1"]._replace(hash=findings["a0"].hash)
    choice = choose(listing(*frames), findings, CONFIG)
    by_name = {one.name: one for one in choice.frames}
    assert sorted(one.split for one in choice.frames) == ["test"] * 8 + ["train"] * 24 + ["validation"] * 8
    assert by_name["a0"].group == by_name["a1"].group == "near-duplicates0"
    assert by_name["a0"].split == by_name["a1"].split
    assert {one.group for one in choice.frames} == {"near-duplicates0", None}
    assert "60/20/20" in choice.split_by


def test_given_groups_stay_together_and_go_before_near_duplicates():
    frames = [frame(str(number), "ab"[number % 2], f"g{number // 4}", None) for number in range(60)]
    choice = choose(listing(*frames), found(frames), CONFIG)
    homes = {one.group: {other.split for other in choice.frames if other.group == one.group} for one in choice.frames}
    assert set(homes) == {f"g{number}" for number in range(15)}
    assert all(len(splits) == 1 for splits in homes.values())


def test_validation_is_taken_from_training_where_the_source_has_none():
    frames = [frame(str(number), "ab"[number % 2], None, "train" if number < 50 else "test") for number in range(60)]
    choice = choose(listing(*frames), found(frames), CONFIG)
    splits = [one.split for one in choice.frames]
    assert splits[50:] == ["test"] * 10
    assert splits[:50].count("validation") == 10


def test_what_cannot_be_prepared_is_refused():
    with pytest.raises(UserError, match="no frame to prepare; the first of 1 skipped is x: why"):
        check_listing(listing(skipped=(Skipped("x", "why"),)), CONFIG)
    with pytest.raises(UserError, match="1 of 2 frames have no split, the first is y"):
        check_listing(listing(frame("x"), frame("y", split=None)), CONFIG)
    with pytest.raises(UserError, match="none of the 1 files can be used; the first: x: broken"):
        choose(listing(frame("x")), {"x": Inspection("x", bad="broken")}, CONFIG)
    with pytest.raises(UserError, match="no frame is in the training split"):
        chosen(*SPLIT)
    with pytest.raises(UserError, match="too few to split"):
        chosen(frame("x", split=None))
