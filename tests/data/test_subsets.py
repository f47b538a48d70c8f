"""Folds, shares of labels and rare classes."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.splits import TEST, TRAIN, VALIDATION, make_folds
from jaxcaps.config import DataConfig
from jaxcaps.data.dataset import load_dataset
from jaxcaps.data.splits import assign
from jaxcaps.data.subsets import Subset, group_order, hidden, left_out, with_known_labels, without_most_of
from jaxcaps.errors import UserError
from tests.preparations import write_record


def some_groups(seed, images=240, groups=60, classes=3):
    rng = np.random.default_rng(seed)
    members = rng.integers(0, groups, images)
    return ((members * 7) % classes).astype(np.int32), members.astype(np.int32)


@settings(max_examples=5)
@given(st.integers(0, 2**31 - 1), st.integers(0, 100), st.integers(2, 6))
def test_folds_contain_every_image_once_and_split_no_group(seed, data_seed, folds):
    labels, groups = some_groups(data_seed)
    numbers = make_folds(labels, groups, folds, seed)
    assert set(numbers.tolist()) == set(range(folds))
    for group in np.unique(groups):
        assert len(set(numbers[groups == group].tolist())) == 1
    tests = np.zeros(len(labels), int)
    for fold in range(folds):
        splits, made, _ = assign(None, labels, groups, np.ones(240, bool), seed, "x", folds=folds, fold=fold)
        assert made == (TRAIN, VALIDATION, TEST)
        tests += splits == TEST
        for group in np.unique(groups):
            assert len(set(splits[groups == group].tolist())) == 1
    assert np.all(tests == 1)


@given(st.integers(0, 2**31 - 1), st.integers(0, 100))
def test_shares_of_labels_are_nested_whole_groups(seed, data_seed):
    labels, groups = some_groups(data_seed)
    before = np.zeros(len(labels), bool)
    for fraction in (0.05, 0.1, 0.25, 0.6, 1.0):
        known = with_known_labels(labels, groups, fraction, seed)
        assert np.all(known | ~before)
        for group in np.unique(groups):
            assert len(set(known[groups == group].tolist())) == 1
        if fraction >= 0.25:
            for label in range(3):
                largest = np.bincount(groups[labels == label]).max()
                share = np.sum(known & (labels == label))
                assert fraction * np.sum(labels == label) - largest < share <= fraction * np.sum(labels == label)
        before = known
    assert before.all()


def test_shares_of_single_images_are_exact():
    labels = np.repeat([0, 1], [400, 100])
    known = with_known_labels(labels, np.arange(500), 0.25, seed=3)
    assert np.bincount(labels[known]).tolist() == [100, 25]
    assert not np.array_equal(known, with_known_labels(labels, np.arange(500), 0.25, seed=4))


def test_a_group_of_two_classes_is_taken_as_a_whole():
    labels, groups = np.array([0, 1, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 3, 4])
    for seed in range(20):
        known = with_known_labels(labels, groups, 0.5, seed)
        assert known[0] == known[1]
        places, _ = group_order(labels, groups, seed)
        assert places[0] == places[1]


def test_a_class_is_made_rare_in_nested_groups():
    labels = np.repeat([0, 1], [300, 900]).astype(np.int32)
    kept = without_most_of(labels, np.arange(1200), ("normal", "ill"), "normal:0.1", 0, "x")
    assert np.bincount(labels[kept]).tolist() == [100, 900]
    fewer = without_most_of(labels, np.arange(1200), ("normal", "ill"), "normal:0.01", 0, "x")
    assert np.bincount(labels[fewer]).tolist() == [9, 900]
    assert np.all(kept | ~fewer)


@pytest.mark.parametrize(
    ("minority", "message"),
    [
        ("normal", r"expected CLASS:SHARE"),
        ("normal:1.5", r"expected CLASS:SHARE"),
        ("normul:0.1", r"no class 'normul' in npz:x; did you mean 'normal'"),
        ("normal:0.9", r"'normal' is already rarer, 0.25 of training"),
    ],
)
def test_an_impossible_rare_class_is_refused(minority, message):
    labels = np.repeat([0, 1], [25, 75])
    with pytest.raises(UserError, match=message):
        without_most_of(labels, np.arange(100), ("normal", "ill"), minority, 0, "npz:x")


def load(subset, *, labels="training", data="synthetic"):
    defaults = DataConfig()
    return load_dataset(
        data=data,
        image_size=16,
        labels=labels,
        split_seed=0,
        synthetic_count=120,
        synthetic_seed=0,
        max_bad_images=defaults.max_bad_images,
        cache_bytes=2**28,
        subset=subset,
    )


def test_a_rare_class_keeps_the_share_of_labels_that_the_others_keep():
    """The share refers to the remaining images, not to the original ones."""
    labels = np.repeat([0, 1], [400, 900]).astype(np.int32)
    groups, everywhere = np.arange(1300), np.full(1300, TRAIN)
    readable = np.ones(1300, bool)
    subset = Subset(label_fraction=0.25, minority="a:0.1")
    readable[left_out(labels, groups, readable, everywhere, ("a", "b"), "x", subset)] = False
    shown = hidden(labels, groups, readable, everywhere, ("a", "b"), subset)[readable]
    assert np.bincount(labels[readable]).tolist() == [100, 900]
    assert np.bincount(shown[shown >= 0]).tolist() == [25, 225]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """240 pictures of 80 groups in three classes."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    lines = ["path,label,group"]
    for number in range(240):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (16, 16, 3), np.uint8))
        lines.append(f"{number}.png,{'abc'[number // 3 % 3]},g{number // 3}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"csv:{folder}/labels.csv"


def test_folds_only_hide_labels_of_training_and_validation(table):
    whole = load(Subset(folds=3, fold=1), data=table)
    assert sum(map(len, whole.splits.values())) == 240
    few = load(Subset(folds=3, fold=1, label_fraction=0.5), data=table)
    assert set(few.splits["train"].names) < set(whole.splits["train"].names)
    assert few.splits["train"].labels.min() == 0
    assert np.any(few.splits["validation"].labels == -1)
    assert few.splits["test"].names == whole.splits["test"].names
    assert few.splits["test"].labels.min() == 0
    # Pre-training sees all pictures, but no more labels than fine-tuning.
    unlabelled = load(Subset(folds=3, fold=1, label_fraction=0.5), data=table, labels="optional")
    assert unlabelled.splits["train"].names == whole.splits["train"].names
    train = unlabelled.splits["train"]
    known = {name for name, label in zip(train.names, train.labels, strict=True) if label >= 0}
    assert known == set(few.splits["train"].names)
    other = load(Subset(folds=3, fold=2), data=table)
    assert set(other.splits["test"].names).isdisjoint(whole.splits["test"].names)
    assert len({whole.fingerprint, few.fingerprint, other.fingerprint}) == 3


def test_labels_per_class_are_whole_groups_nested_and_at_most_so_many(table):
    shown = []
    for count in (4, 6, 9):
        few = load(Subset(folds=3, fold=1, labels_per_class=count), data=table)
        for name in ("train", "validation"):
            split = few.splits[name]
            visible = split.labels >= 0
            assert np.bincount(split.labels[visible]).tolist() == [count // 3 * 3] * 3  # groups of three pictures
            assert np.bincount(np.bincount(split.groups[visible])).nonzero()[0].tolist() == [0, 3]
        shown.append(set(few.splits["train"].names))
        assert few.splits["test"].labels.min() == 0
        assert any(f"labels of {count} images of each class, in whole groups" in note for note in few.notes)
    assert shown[0] < shown[1] < shown[2]
    other = load(Subset(folds=3, fold=1, labels_per_class=4, seed=1), data=table)
    assert set(other.splits["train"].names) != shown[0]


def test_more_labels_per_class_than_there_are_are_refused(table):
    with pytest.raises(
        UserError, match=r"--labels-per-class=61 wants .* of class '[abc]', which has \d+ .*; give at most \d+"
    ):
        load(Subset(folds=3, fold=1, labels_per_class=61), data=table)
    with pytest.raises(UserError, match=r"--labels-per-class=2 leaves no label of class 'a', .* give a larger number"):
        load(Subset(folds=3, fold=1, labels_per_class=2), data=table)


def test_a_class_is_only_made_rare_in_training(table):
    found = load(Subset(folds=3, minority="b:0.1"), data=table)
    shares = {name: np.mean(split.labels == 1) for name, split in found.splits.items()}
    assert 0.03 < shares["train"] <= 0.1
    assert shares["validation"] > 0.2 < shares["test"]


def test_more_folds_than_a_class_has_groups_are_refused():
    with pytest.raises(UserError, match=r"--folds=90: class .* has \d+ group\(s\), fewer than folds"):
        load(Subset(folds=90))


def test_folds_are_refused_if_the_preparation_was_fitted_on_the_training_split(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label,split\na.png,x,train\nb.png,y,test\n", encoding="utf-8")
    write_record(tmp_path)
    with pytest.raises(UserError, match="fitted histogram matching on the data's own training split"):
        load(Subset(folds=2), data=f"csv:{tmp_path}/labels.csv")
    (tmp_path / "dataset.yaml").write_text("nothing: here\n", encoding="utf-8")
    with pytest.raises(UserError, match="was not written by this version of data_prep"):
        load(Subset(folds=2), data=f"csv:{tmp_path}/labels.csv")


def test_a_share_of_the_labels_that_leaves_a_class_without_any_is_refused():
    with pytest.raises(
        UserError, match=r"--label-fraction=0.001 leaves no label of class '\w+', which has \d+ training"
    ):
        load(Subset(label_fraction=0.001))
    labels = np.repeat([0, 1], [25, 75])
    with pytest.raises(UserError, match=r"0.8 images of 'normal' would remain"):
        without_most_of(labels, np.arange(100), ("normal", "ill"), "normal:0.01", 0, "npz:x")
