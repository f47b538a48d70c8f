import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.splits import SPLITS, TEST, TRAIN, VALIDATION, make_splits, split_training
from jaxcaps.data.items import Item
from jaxcaps.data.splits import check_groups, given_splits
from jaxcaps.errors import UserError


def straddling(groups, splits):
    return [group for group in set(groups.tolist()) if len(set(splits[groups == group].tolist())) > 1]


@given(st.integers(0, 2**32), st.integers(0, 1000))
def test_groups_stay_together_and_all_images_are_used(seed, data_seed):
    rng = np.random.default_rng(data_seed)
    groups = np.sort(rng.integers(0, 40, 120))
    labels = (groups * 7) % 3
    splits = make_splits(labels, groups, seed)
    assert straddling(groups, splits) == []
    assert set(splits.tolist()) == {TRAIN, VALIDATION, TEST}
    for split in (TRAIN, VALIDATION, TEST):
        assert set(labels[splits == split].tolist()) == {0, 1, 2}


def test_single_images_are_split_60_20_20_in_every_class():
    labels = np.repeat([0, 1, -1], [500, 100, 50])
    splits = make_splits(labels, np.arange(650), seed=0)
    for label in (0, 1, -1):
        np.testing.assert_allclose(np.bincount(splits[labels == label]) / np.sum(labels == label), [0.6, 0.2, 0.2])


def test_the_split_is_a_function_of_its_seed():
    labels, groups = np.arange(100) % 2, np.arange(100) // 2
    np.testing.assert_array_equal(make_splits(labels, groups, 3), make_splits(labels, groups, 3))
    assert np.any(make_splits(labels, groups, 3) != make_splits(labels, groups, 4))


@pytest.mark.parametrize("seed", range(10))
def test_a_class_of_three_groups_reaches_all_three_splits(seed):
    labels = np.array([0] * 40 + [1] * 3)
    splits = make_splits(labels, np.arange(43), seed)
    assert sorted(splits[labels == 1].tolist()) == [TRAIN, VALIDATION, TEST]


def test_validation_can_be_taken_from_training():
    given_split = np.repeat([TRAIN, TEST], [80, 20]).astype(np.int8)
    labels, groups = np.arange(100) % 4, np.arange(100) // 2
    splits = split_training(given_split, labels, groups, seed=0)
    np.testing.assert_array_equal(splits == TEST, given_split == TEST)
    assert 14 <= np.sum(splits == VALIDATION) <= 18
    assert straddling(groups, splits) == []
    assert np.all(given_split == np.repeat([TRAIN, TEST], [80, 20]))


@pytest.mark.parametrize(("labels", "groups"), [([0, 0, 0], [1, 1, 1]), ([0, 1, 2], [0, 1, 2]), ([0, 0], [0, 1])])
def test_too_few_groups_to_split_are_refused(labels, groups):
    with pytest.raises(UserError, match="too few to split into training, validation and test"):
        make_splits(np.array(labels), np.array(groups), 0)


def items(*entries):
    return [Item(f"{number}.png", None, group, split) for number, (group, split) in enumerate(entries)]


def test_a_group_in_two_splits_is_named_with_both():
    with pytest.raises(UserError, match=r"--data=csv:x: group 'p7' is in two splits, train and test"):
        check_groups(items(("p1", "train"), ("p7", "train"), (None, "test"), ("p7", "test")), "csv:x")
    check_groups(items(("p1", "train"), ("p1", "train"), (None, "test"), (None, "train"), ("p2", None)), "csv:x")


def test_the_splits_of_the_data_are_used():
    entries = items((None, "test"), (None, "train"), (None, "validation"))
    np.testing.assert_array_equal(given_splits(entries, "x", SPLITS), [TEST, TRAIN, VALIDATION])
    assert given_splits(items((None, None), (None, None)), "x", SPLITS) is None


def test_images_without_a_split_among_others_are_refused():
    with pytest.raises(UserError, match=r"2 of 3 images have no split, such as 0\.png"):
        given_splits(items((None, None), (None, "train"), (None, None)), "x", SPLITS)


def test_splits_without_training_are_refused():
    with pytest.raises(UserError, match="no image is in the training split"):
        given_splits(items((None, "test"), (None, "validation")), "x", ("train", "validation"))
