import shutil

import cv2
import numpy as np
import pytest

from jaxcaps.data.checks import check_bad_images
from jaxcaps.data.dataset import load_dataset
from jaxcaps.data.decoding import to_square
from jaxcaps.errors import UserError

DEFAULTS = {
    "image_size": 8,
    "labels": "training",
    "split_seed": 0,
    "synthetic_count": 60,
    "synthetic_seed": 0,
    "max_bad_images": 0.01,
    "cache_bytes": 2**20,
}


def load(data, **changes):
    return load_dataset(data=str(data), **(DEFAULTS | changes))


def picture(number):
    """Noise that differs for each number."""
    return np.random.default_rng(number).integers(0, 256, (24, 24, 3), np.uint8)


def write_table(folder, rows, header="path,label,group,split", skip=()):
    """Writes a table and its images: `rows` are the columns after the path; image i is `picture(i)`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [header]
    for number, row in enumerate(rows):
        if number not in skip:
            cv2.imwrite(str(folder / f"{number}.png"), picture(number)[..., ::-1])
        lines.append(",".join((f"{number}.png", *row)))
    (folder / "labels.csv").write_text("\n".join(lines))
    return f"csv:{folder}/labels.csv"


def three_splits(count=12):
    return [("ab"[n % 2], f"g{n}", ("train", "validation", "test")[n % 3]) for n in range(count)]


def test_labels_groups_names_and_pictures_belong_together(tmp_path):
    rows = [("b", "p", "train"), ("a", "q", "val"), ("a", "p", "train"), ("b", "r", "test"), ("b", "", "train")]
    dataset = load(write_table(tmp_path, rows), image_size=24)
    assert dataset.classes == ("a", "b")
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    assert train.names == ("0.png", "2.png", "4.png")
    np.testing.assert_array_equal(train.labels, [1, 0, 1])
    assert train.labels.dtype == train.groups.dtype == np.int32
    assert train.groups[0] == train.groups[1] != train.groups[2]
    assert validation.groups[0] not in train.groups
    assert train.has_groups
    for place, number in enumerate((0, 2, 4)):
        np.testing.assert_array_equal(train.read(place), picture(number))
        np.testing.assert_array_equal(train.images[place], picture(number))
    assert dataset.bad_images == ()
    assert dataset.notes == (
        "Split: the data's own.",
        "Train: 3 images (a 1, b 2).",
        "Validation: 1 images (a 1, b 0).",
        "Test: 1 images (a 0, b 1).",
    )


def test_splits_not_asked_for_are_never_decoded(tmp_path):
    skip = [number for number in range(12) if number % 3 == 2]
    dataset = load(write_table(tmp_path, three_splits(), skip=skip), splits=("train", "validation"))
    assert set(dataset.splits) == {"train", "validation"}
    assert dataset.bad_images == ()


def test_a_set_larger_than_the_cache_is_streamed_unchanged(tmp_path):
    spec = write_table(tmp_path, three_splits())
    kept, streamed = load(spec), load(spec, cache_bytes=5 * 8 * 8 * 3)
    # Only the four images of the training split fit.
    assert streamed.splits["train"].images is not None
    assert streamed.splits["test"].images is None
    for name in ("train", "validation", "test"):
        for index in range(4):
            np.testing.assert_array_equal(streamed.splits[name].read(index), kept.splits[name].read(index))
    assert "validation and test: decoded, they would exceed --cache-mb" in streamed.notes[-1]
    assert streamed.fingerprint == kept.fingerprint
    (tmp_path / "2.png").unlink()
    with pytest.raises(UserError, match=r"2\.png can no longer be read: no such file"):
        streamed.splits["test"].read(0)


def test_a_set_without_splits_is_split_with_its_groups_together(tmp_path):
    rows = [("ab"[n // 2 % 2], f"g{n // 2}") for n in range(60)]
    dataset = load(write_table(tmp_path, rows, "path,label,group"))
    homes = {}
    for name, split in dataset.splits.items():
        for group in split.groups.tolist():
            assert homes.setdefault(group, name) == name
    assert [len(split) for split in dataset.splits.values()] == [36, 12, 12]
    assert dataset.notes[0].startswith("Split: made here, 60/20/20, stratified by class, groups kept together, seed 0")
    again = load(f"csv:{tmp_path}/labels.csv", image_size=16, splits=("test",))
    assert again.splits["test"].names == dataset.splits["test"].names


def test_near_duplicates_become_groups_before_the_split(tmp_path):
    # Images 2k and 2k + 1 are the same frame; the second is brighter.
    for number in range(40):
        frame = cv2.resize(picture(number // 2) // 2, (64, 64), interpolation=cv2.INTER_LINEAR) + number % 2 * 30
        folder = tmp_path / "ab"[number // 2 % 2]
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{number:02d}.png"), frame)
    dataset = load(f"folder:{tmp_path}")
    assert "40 images form 20 groups of at most 2" in dataset.notes[0]
    members = {}
    for name, split in dataset.splits.items():
        assert split.has_groups
        for example, group in zip(split.names, split.groups.tolist(), strict=True):
            members.setdefault(group, []).append((int(example[2:4]) // 2, name))
    assert len(members) == 20
    for pair in members.values():
        assert len(pair) == 2
        assert len(set(pair)) == 1


def test_without_near_duplicates_every_image_is_its_own_group(tmp_path):
    dataset = load(write_table(tmp_path, [("ab"[n % 2],) for n in range(30)], "path,label"))
    assert "30 images form 30 groups" in dataset.notes[0]
    groups = np.concatenate([split.groups for split in dataset.splits.values()])
    assert len(set(groups.tolist())) == 30
    assert not dataset.splits["train"].has_groups


def test_a_missing_validation_split_is_taken_from_training(tmp_path):
    rows = [("ab"[n % 2], "train" if n < 20 else "test") for n in range(30)]
    spec = write_table(tmp_path, rows, "path,label,split", skip=range(20, 30))
    dataset = load(spec, splits=("train", "validation"))
    assert [len(split) for split in dataset.splits.values()] == [16, 4]
    assert all(int(name[:-4]) < 20 for split in dataset.splits.values() for name in split.names)
    assert any("validation is a fifth of training" in note for note in dataset.notes)
    with pytest.raises(UserError, match="10 of 30 images cannot be read"):
        load(spec)


def test_a_split_asked_for_that_is_empty_is_named(tmp_path):
    rows = [("ab"[n % 2], f"g{n}", "train" if n < 8 else "val") for n in range(12)]
    with pytest.raises(UserError, match="the test split has no readable image"):
        load(write_table(tmp_path, rows), splits=("test",))


def test_classes_that_are_numbers_are_sorted_as_numbers(tmp_path):
    rows = [(str(n % 11), f"g{n}", "train" if n < 11 else "val") for n in range(14)]
    dataset = load(write_table(tmp_path, rows), splits=("train",))
    assert dataset.classes == tuple(map(str, range(11)))


# --- channels


def test_grey_pictures_have_one_channel(tmp_path):
    """The luma of BT.601 in OpenCV's fixed-point arithmetic, computed before resizing."""
    spec = write_table(tmp_path, three_splits())
    kept, streamed = load(spec, image_size=24, channels=1), load(spec, image_size=24, channels=1, cache_bytes=0)
    luma = np.round(picture(0) @ [0.299, 0.587, 0.114])
    assert kept.splits["train"].images.shape == (4, 24, 24, 1)
    assert np.abs(kept.splits["train"].read(0)[..., 0] - luma).max() <= 1
    for name, split in kept.splits.items():
        for index in range(len(split)):
            np.testing.assert_array_equal(streamed.splits[name].read(index), split.read(index))
    assert len({kept.fingerprint, streamed.fingerprint, load(spec, image_size=24).fingerprint}) == 2
    # A third of the memory suffices.
    assert load(spec, channels=1, cache_bytes=12 * 8 * 8).splits["test"].images is not None


@pytest.mark.parametrize("size", [5, 12, 16, 24, 40])
def test_grey_pictures_stay_exact_with_one_channel(size):
    grey = np.concatenate([np.arange(256), np.random.default_rng(0).integers(0, 256, 320)]).reshape(24, 24)
    colour = np.repeat(grey[..., None].astype(np.uint8), 3, axis=-1)
    np.testing.assert_array_equal(to_square(colour, size, 1), to_square(colour, size)[..., :1])


# --- unreadable images


def broken(tmp_path, count, bad):
    spec = write_table(tmp_path, [("ab"[n % 2], f"g{n}", "train" if n < count - 4 else "val") for n in range(count)])
    for number in bad:
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    return spec


def test_a_few_unreadable_images_are_listed_and_skipped(tmp_path):
    dataset = load(broken(tmp_path, 40, [3]), max_bad_images=0.05, splits=("train", "validation"))
    assert dataset.bad_images == (("3.png", "it is not an image, or it is damaged"),)
    train = dataset.splits["train"]
    assert len(train) == len(train.labels) == len(train.images) == 35
    assert "3.png" not in train.names
    np.testing.assert_array_equal(train.images[3], cv2.resize(picture(4), (8, 8), interpolation=cv2.INTER_AREA))


def test_unreadable_images_of_a_set_that_we_split_are_skipped_too(tmp_path):
    spec = write_table(tmp_path, [("ab"[n % 2],) for n in range(40)], "path,label", skip=[7])
    dataset = load(spec, max_bad_images=0.05)
    assert dataset.bad_images == (("7.png", "no such file"),)
    names = [name for split in dataset.splits.values() for name in split.names]
    assert sorted(names) == sorted(f"{n}.png" for n in range(40) if n != 7)
    for split in dataset.splits.values():
        for index, name in enumerate(split.names):
            expected = cv2.resize(picture(int(name[:-4])), (8, 8), interpolation=cv2.INTER_AREA)
            np.testing.assert_array_equal(split.read(index), expected)


def test_too_many_unreadable_images_are_refused_with_the_first_ten(tmp_path):
    with pytest.raises(UserError) as error:
        load(broken(tmp_path, 40, range(12)), max_bad_images=0.05, splits=("train", "validation"))
    message = str(error.value)
    assert "12 of 40 images cannot be read, more than --max-bad-images=0.05 (0.05 x 40 = 2) allows" in message
    assert message.count("it is not an image, or it is damaged") == 10
    assert "9.png: it is not an image" in message
    assert "10.png" not in message
    assert message.endswith("and 2 more")


def test_exactly_the_allowed_share_is_skipped(tmp_path):
    # 0.29 x 100 is 28.999999999999996 in floating point.
    check_bad_images([("x.png", "damaged")] * 29, 100, 0.29, "x")
    assert len(load(broken(tmp_path, 40, [1, 2]), max_bad_images=0.05, splits=("train", "validation")).bad_images) == 2


def test_a_split_whose_images_are_all_unreadable_is_named(tmp_path):
    spec = write_table(tmp_path, [*three_splits(), ("a", "h", "train")], skip=[2, 5, 8, 11])
    with pytest.raises(UserError, match="the test split has no readable image"):
        load(spec, max_bad_images=0.5)


def test_a_set_of_unreadable_images_is_refused_whatever_is_allowed(tmp_path):
    with pytest.raises(UserError, match="none of the 10 images can be read"):
        load(broken(tmp_path, 10, range(10)), max_bad_images=1.0, splits=("train", "validation"))


# --- labels


def test_unlabelled_images_are_only_left_out_of_training(tmp_path):
    rows = three_splits(18)
    rows[0], rows[5] = ("", "g0", "train"), ("", "g5", "test")
    spec = write_table(tmp_path, rows)
    for labels in ("training", "required"):
        dataset = load(spec, labels=labels)
        assert dataset.splits["train"].names == ("3.png", "6.png", "9.png", "12.png", "15.png")
        assert "Training leaves out 1 images without a label." in dataset.notes
        assert dataset.splits["test"].labels.tolist() == [0, -1, 0, 1, 0, 1]
        assert "Test: 6 images (a 3, b 2, unlabelled 1)." in dataset.notes
    dataset = load(spec, labels="optional")
    assert dataset.splits["train"].labels.tolist() == [-1, 1, 0, 1, 0, 1]
    assert not any("leaves out" in note for note in dataset.notes)


def test_a_split_without_any_label_can_be_loaded_but_not_scored(tmp_path):
    rows = [("" if split == "test" else label, group, split) for label, group, split in three_splits()]
    spec = write_table(tmp_path, rows)
    assert load(spec, splits=("train", "validation")).classes == ("a", "b")
    assert load(spec, labels="optional", splits=("test",)).splits["test"].labels.tolist() == [-1] * 4
    for labels in ("training", "required"):
        with pytest.raises(UserError, match=r"none of the 4 images of the test split has a label; label some of them"):
            load(spec, labels=labels)


def test_data_to_score_need_not_be_suitable_for_training(tmp_path):
    rows = three_splits()
    rows[1] = ("rare", "g1", "validation")
    assert load(write_table(tmp_path, rows), labels="required").classes == ("a", "b", "rare")


def test_a_set_without_labels_only_allows_pre_training_and_prediction(tmp_path):
    spec = write_table(tmp_path, [() for _ in range(30)], "path")
    with pytest.raises(UserError, match="the images have no labels, but fine-tuning needs them"):
        load(spec)
    with pytest.raises(UserError, match="the images have no labels, but scoring needs them"):
        load(spec, labels="required")
    dataset = load(spec, labels="optional")
    assert dataset.classes == ()
    assert [len(split) for split in dataset.splits.values()] == [18, 6, 6]
    assert set(dataset.splits["train"].labels.tolist()) == {-1}
    assert "Train: 18 images." in dataset.notes


def test_a_single_class_is_refused(tmp_path):
    rows = [("a", f"g{n}", ("train", "val")[n % 2]) for n in range(6)]
    with pytest.raises(UserError, match="all images have the label 'a'; a classifier needs two classes"):
        load(write_table(tmp_path, rows))


def test_a_class_missing_from_training_is_named(tmp_path):
    rows = three_splits()
    rows[1] = ("rare", "g1", "validation")
    with pytest.raises(UserError, match="class 'rare' is in validation but not in training"):
        load(write_table(tmp_path, rows))


def test_a_class_that_is_only_in_the_test_split_is_named(tmp_path):
    rows = [("ab"[n % 2], "train") for n in range(20)] + [("rare", "test")]
    with pytest.raises(UserError, match="class 'rare' is in test but not in training"):
        load(write_table(tmp_path, rows, "path,label,split"))


def test_a_class_of_too_few_groups_to_be_split_is_named(tmp_path):
    rows = [("ab"[n % 2], f"g{n}") for n in range(40)] + [("rare", "r1"), ("rare", "r2"), ("rare", "r2")]
    spec = write_table(tmp_path, rows, "path,label,group")
    with pytest.raises(UserError, match=r"class 'rare' is missing from \w+: its 3 images form 2 group\(s\), too few"):
        load(spec)
    assert len(load(spec, labels="optional").classes) == 3


def test_a_group_in_two_splits_is_refused(tmp_path):
    rows = three_splits()
    rows[1] = ("b", "g0", "validation")
    with pytest.raises(UserError, match="group 'g0' is in two splits, train and validation"):
        load(write_table(tmp_path, rows))


# --- the fingerprint


def test_the_fingerprint_is_of_the_content_not_the_place(tmp_path):
    spec = write_table(tmp_path / "one", three_splits())
    fingerprint = load(spec).fingerprint
    assert load(spec, splits=("test",)).fingerprint == fingerprint
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert load(f"csv:{tmp_path}/two/labels.csv").fingerprint == fingerprint
    assert load(spec, image_size=9).fingerprint != fingerprint
    for column, value in ((0, "b"), (1, "g3"), (2, "test")):
        rows = [list(row) for row in three_splits()]
        rows[0][column] = value
        changed = write_table(tmp_path / f"changed{column}", rows)
        assert load(changed).fingerprint != fingerprint


def test_the_fingerprint_of_a_made_split_depends_on_its_seed(tmp_path):
    spec = write_table(tmp_path, [("ab"[n % 2], f"g{n}") for n in range(30)], "path,label,group")
    assert load(spec).fingerprint == load(spec).fingerprint
    assert load(spec).fingerprint != load(spec, split_seed=1).fingerprint


# --- real sets and the built-in one


def test_the_built_in_set_loads():
    dataset = load("synthetic", image_size=16, synthetic_count=45)
    assert len(dataset.classes) == 3
    assert sum(map(len, dataset.splits.values())) == 45
    assert dataset.splits["train"].has_groups


def test_near_duplicates_of_the_ultrasound_set_are_found(shared_data):
    dataset = load(f"folder:{shared_data}/busi/images")
    # The number of groups in the data's own grouping, which follows the same rule.
    assert "780 images form 734 groups" in dataset.notes[0]


def test_the_ultrasound_set_loads_with_its_own_splits(shared_data):
    dataset = load(f"csv:{shared_data}/busi/labels.csv", splits=("train", "validation"))
    assert dataset.classes == ("benign", "malignant", "normal")
    np.testing.assert_array_equal(np.bincount(dataset.splits["train"].labels), [263, 126, 79])
    np.testing.assert_array_equal(np.bincount(dataset.splits["validation"].labels), [87, 42, 27])


def test_the_blood_cells_keep_their_smears_together(shared_data):
    dataset = load(f"csv:{shared_data}/bccd/labels.csv", splits=("validation",))
    split = dataset.splits["validation"]
    assert len(split) == 1137
    assert split.has_groups
    assert len(set(split.groups.tolist())) < 364


def test_raw_endoscopy_frames_load(shared_data):
    dataset = load(f"folder:{shared_data}/endoscopy_raw", image_size=32)
    assert dataset.classes == ("colitis", "ileum")
    assert [len(split) for split in dataset.splits.values()] == [17, 6, 6]


def test_classes_and_names_that_look_mistaken_are_pointed_out(tmp_path):
    for name in ("1.png", "1_mask.png", "2.png"):
        cv2.imwrite(str(tmp_path / name), picture(0))
    (tmp_path / "labels.csv").write_text("path,label,split\n1.png,A,train\n1_mask.png,a,validation\n2.png,A,train\n")
    notes = load(f"csv:{tmp_path}/labels.csv", labels="optional", splits=("train",)).notes
    assert [note.split(":")[0] for note in notes[:3]] == ["Warning", "Warning", "Split"]


def test_dark_pictures_are_pointed_out(tmp_path):
    data = write_table(tmp_path, three_splits())
    # 10 bits in a 16-bit file.
    cv2.imwrite(str(tmp_path / "3.png"), np.full((24, 24), 1023, np.uint16) * 8)
    (note,) = [note for note in load(data).notes if note.startswith("Warning")]
    assert "1 of 12 pictures have no value above 63 of 255, such as 3.png" in note
