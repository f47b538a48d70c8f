import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxcaps.data.dataset import load_dataset
from jaxcaps.data.decoding import BadImage
from jaxcaps.data.items import Item
from jaxcaps.data.tfds.builders import Piccolo, PreparedFolder
from jaxcaps.errors import UserError
from tests.data.sources.sample import Sample, noise, open_spec, refused
from tests.preparations import MATCHED, write_record

Features = tfds.features


class OtherSet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Builds a TFDS data set without our builders: `splits` maps each split to its examples, in order."""

    def __init__(self, features, splits, *, name="other", version="1.0.0", keys=None, **settings):
        self.name, self.VERSION = name, tfds.core.Version(version)
        self.features, self.examples, self.keys = features, splits, keys
        super().__init__(**({"file_format": "array_record"} | settings))

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=Features.FeaturesDict(self.features),
            supervised_keys=self.keys,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {split: enumerate(examples) for split, examples in self.examples.items()}

    def _generate_examples(self):
        raise AssertionError


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """The data folder of TFDS."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "sets"))
    return tmp_path / "sets"


def build(data_dir, features, splits, **settings):
    OtherSet(features, splits, data_dir=data_dir, **settings).download_and_prepare()


def load(spec):
    return load_dataset(
        data=spec, image_size=8, labels="training", split_seed=0, synthetic_count=1, synthetic_seed=0,
        max_bad_images=0, cache_bytes=2**20,
    )  # fmt: skip


def write(folder, pictures):
    features = {"image": Features.Image(), "label": Features.Text(), "group": Features.Text()}
    splits = {}
    for picture in pictures:
        example = {"image": picture.encoded(), "label": picture.label or "", "group": picture.group or ""}
        splits.setdefault(picture.split or "train", []).append(example)
    OtherSet(features, splits, name="sample", data_dir=folder).download_and_prepare()
    return f"tfds:sample@{folder}"


SAMPLE = Sample(write, frozenset({"grey", "16-bit", "alpha", "palette", "damaged", "unlabelled", "groups", "splits"}))


def encoded(number, **kind):
    return cv2.imencode(".png", noise(number, **kind))[1].tobytes()


def prepared_folder(folder, rows, header="path,label,group,split,modality,source"):
    """A prepared folder of pictures of every kind: colour and grey, 16 bits, transparency, JPEG."""
    (folder / "images").mkdir(parents=True)
    lines = [header]
    for number, row in enumerate(rows):
        shape, dtype, suffix = (
            ((9, 7, 3), np.uint8, ".png"),
            ((8, 5), np.uint8, ".png"),
            ((6, 11, 3), np.uint16, ".png"),
            ((5, 5, 4), np.uint8, ".png"),
            ((16, 12, 3), np.uint8, ".jpg"),
        )[number % 5]
        cv2.imwrite(str(folder / "images" / f"{number}{suffix}"), noise(number, shape, dtype))
        lines.append(",".join((f"images/{number}{suffix}", *row)))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def three_splits(count=20):
    splits = ("train", "train", "train", "validation", "test")
    return [
        (("", "adenoma", "Hyperplasie ü")[n % 3], f"g{n}" if n % 4 else "", splits[n % 5], "WL", f"raw/{n}.png")
        for n in range(count)
    ]


# --- data sets from our builders


@pytest.mark.parametrize("divided", [True, False])
def test_a_prepared_folder_reads_through_tfds_as_by_its_table(tmp_path, data_dir, divided):
    rows = three_splits()
    if divided:
        folder = prepared_folder(tmp_path / "frames", rows)
    else:
        folder = prepared_folder(tmp_path / "frames", [row[:2] for row in rows], "path,label,group")
    PreparedFolder(folder, name="frames", data_dir=data_dir).download_and_prepare()
    table, records = open_spec(f"csv:{folder}/labels.csv"), open_spec("tfds:frames")
    assert sorted(records.items) == sorted(table.items)
    assert {item.label for item in records.items} == {None, "adenoma", "Hyperplasie ü"}
    assert {item.split for item in records.items} == ({"train", "validation", "test"} if divided else {None})
    places = {item.name: place for place, item in enumerate(records.items)}
    for place, item in enumerate(table.items):
        np.testing.assert_array_equal(records.read(places[item.name]), table.read(place))


def test_tfds_metadata_record_the_steps_that_made_the_pictures(tmp_path, data_dir):
    folder = prepared_folder(tmp_path / "frames", three_splits())
    write_record(folder)
    PreparedFolder(folder, name="frames", data_dir=data_dir).download_and_prepare()
    assert open_spec("tfds:frames").prepared == open_spec(f"csv:{folder}/labels.csv").prepared == MATCHED


def test_tfds_itself_reads_the_built_data_set(tmp_path, data_dir):
    """The builders also work with TFDS's own decoder."""
    folder = prepared_folder(tmp_path / "frames", three_splits(5))
    builder = PreparedFolder(folder, name="frames", version="1.2.0", data_dir=data_dir)
    builder.download_and_prepare()
    (example,) = tfds.data_source("frames:1.2.0", split="test", data_dir=data_dir)
    assert example["label"] == builder.info.features["label"].str2int("adenoma")
    assert {name: example[name].decode() for name in ("path", "group", "modality", "source")} == {
        "path": "images/4.jpg", "group": "", "modality": "WL", "source": "raw/4.png",
    }  # fmt: skip
    file = cv2.imread(str(folder / "images" / "4.jpg"))
    np.testing.assert_array_equal(example["image"], file[..., ::-1])


def test_a_set_is_prepared_and_read_without_tensorflow(tmp_path):
    folder = prepared_folder(tmp_path / "frames", three_splits(10))
    code = """
import sys
from importlib.machinery import PathFinder

class WithoutTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "tensorflow" else super().find_spec(name, path, target)

sys.meta_path = [WithoutTensorFlow if finder is PathFinder else finder for finder in sys.meta_path]
from jaxcaps.data.sources import open_source
from jaxcaps.data.tfds.builders import PreparedFolder

folder, sets = sys.argv[1:]
PreparedFolder(folder, name="frames", data_dir=sets).download_and_prepare()
records = open_source(f"tfds:frames@{sets}", synthetic_count=1, synthetic_seed=0, image_size=8)
for index in range(len(records.items)):
    assert records.read(index).ndim == 3
print(len(records.items), "tensorflow" in sys.modules, "jax" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(folder), str(tmp_path / "sets")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "10 False False"


def test_piccolo_is_built_from_the_manual_directory(tmp_path, data_dir):
    builder = Piccolo(data_dir=data_dir)
    # TFDS checks the directory and shows the instructions.
    with pytest.raises(AssertionError, match=r"python -m data_prep --source=piccolo:RELEASE --out=MANUAL_DIR/piccolo"):
        builder.download_and_prepare()
    manual = data_dir / "downloads" / "manual"
    (manual / "something else").mkdir(parents=True)
    with pytest.raises(UserError, match=r"piccolo has no labels\.csv(.|\n)*python -m data_prep --source=piccolo:"):
        builder.download_and_prepare()
    rows = [
        (
            ("Adenoma", "Hyperplasia", "Adenocarcinoma", "")[n % 4],
            f"c{n}",
            ("train", "validation", "test")[n % 3],
            "",
            "",
        )
        for n in range(12)
    ]
    folder = prepared_folder(manual / "piccolo", rows)
    Piccolo(data_dir=data_dir).download_and_prepare()
    records = open_spec("tfds:piccolo:0.1.0")
    assert sorted(records.items) == sorted(open_spec(f"csv:{folder}/labels.csv").items)
    assert tfds.builder("piccolo", data_dir=data_dir).info.features["label"].names == [
        "Adenocarcinoma", "Adenoma", "Hyperplasia",
    ]  # fmt: skip


def test_real_ultrasound_images_read_through_tfds_as_by_their_table(shared_data, tmp_path):
    PreparedFolder(shared_data / "busi", name="busi", data_dir=tmp_path).download_and_prepare()
    table, records = open_spec(f"csv:{shared_data}/busi/labels.csv"), open_spec(f"tfds:busi@{tmp_path}")
    assert sorted(records.items) == sorted(table.items)
    places = {item.name: place for place, item in enumerate(records.items)}
    for place in range(0, 780, 20):
        np.testing.assert_array_equal(records.read(places[table.items[place].name]), table.read(place))


# --- data sets from other builders


def test_names_of_classes_splits_and_records(data_dir):
    """-1 is an unknown class, a split with an unknown name is skipped, and grey pictures become RGB."""
    features = {
        "image": Features.Image(shape=(9, 7, 1)),
        "label": Features.ClassLabel(names=["cat", "dog"]),
        "mask": Features.LabeledImage(shape=(9, 7, 1), labels=2),
        "id": Features.Text(),
    }

    def examples(numbers, labels):
        for number, label in zip(numbers, labels, strict=True):
            grey = encoded(number, shape=(9, 7))
            yield {"image": grey, "label": label, "mask": grey, "id": "twice"}

    splits = {
        "train": list(examples(range(3), [1, 0, -1])),
        "val": list(examples([3], [0])),
        "test": list(examples([4], [1])),
        "extra": list(examples([5, 6], [0, 0])),
    }
    build(data_dir, features, splits)
    records = open_spec("tfds:other")
    assert records.items == (
        Item("train/0", "dog", None, "train"),
        Item("train/1", "cat", None, "train"),
        Item("train/2", None, None, "train"),
        Item("val/0", "cat", None, "validation"),
        Item("test/0", "dog", None, "test"),
    )
    for place, number in enumerate(range(5)):
        grey = noise(number, (9, 7))
        np.testing.assert_array_equal(records.read(place), np.stack([grey] * 3, axis=-1))


def test_a_missing_validation_split_is_taken_from_training(data_dir):
    features = {
        "image": Features.Image(),
        "label": Features.ClassLabel(num_classes=3),
        "group": Features.Scalar(np.int32),
    }

    def examples(numbers):
        return [{"image": encoded(n, shape=(32, 32, 3)), "label": n % 3, "group": n // 6} for n in numbers]

    build(data_dir, features, {"train": examples(range(60)), "test": examples(range(60, 72))})
    dataset = load("tfds:other")
    assert dataset.classes == ("0", "1", "2")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 48, "validation": 12, "test": 12}
    train, validation = (dataset.splits[name] for name in ("train", "validation"))
    # Six adjacent pictures form a group, for any type of feature.
    assert len(set(train.groups)) == 8
    assert not set(train.groups) & set(validation.groups)


def test_a_set_of_one_split_is_undivided(data_dir):
    features = {"image": Features.Image(), "label": Features.Text()}
    build(data_dir, features, {"train": [{"image": encoded(n), "label": "ab"[n % 2]} for n in range(4)]})
    assert open_spec("tfds:other").items[1] == Item("train/1", "b", None, None)


def test_supervised_keys_name_the_picture_and_the_class(data_dir):
    features = {
        "left": Features.Image(),
        "right": Features.Image(),
        "coarse": Features.ClassLabel(names=["x", "y"]),
        "fine": Features.ClassLabel(names=["p", "q"]),
    }
    example = {"left": encoded(0), "right": encoded(1), "coarse": 0, "fine": 1}
    build(data_dir, features, {"train": [example]}, keys=("right", "fine"))
    records = open_spec("tfds:other")
    assert records.items[0].label == "q"
    np.testing.assert_array_equal(records.read(0), noise(1)[..., ::-1])
    build(data_dir, features, {"train": [example]}, name="unclear")
    refused("tfds:unclear", "left and right are pictures, but none is named image")
    del features["left"], example["left"]
    build(data_dir, features, {"train": [example]}, name="classes")
    refused("tfds:classes", "coarse and fine are classes, but none is named label")


def test_pictures_without_labels_are_read_too(data_dir):
    build(data_dir, {"image": Features.Image()}, {"train": [{"image": encoded(n)} for n in range(2)]})
    records = open_spec("tfds:other")
    assert records.items == (Item("train/0", None, None, None), Item("train/1", None, None, None))
    np.testing.assert_array_equal(records.read(1), noise(1)[..., ::-1])
    with pytest.raises(UserError, match="--data=tfds:other: the images have no labels, but fine-tuning needs them"):
        load("tfds:other")


def test_a_damaged_picture_is_a_bad_image(data_dir):
    build(data_dir, {"image": Features.Image()}, {"train": [{"image": b""}, {"image": encoded(0)[:60]}]})
    records = open_spec("tfds:other")
    for place in range(2):
        with pytest.raises(BadImage):
            records.read(place)


SCALAR = Features.Tensor(shape=(), dtype=np.float32)
UNFIT = {
    "no picture": ({"text": Features.Text()}, {"text": "x"}, ["text Text", "no tfds.features.Image"]),
    "an array": (
        {"image": Features.Tensor(shape=(2, 2), dtype=np.uint8)},
        {"image": np.zeros((2, 2), np.uint8)},
        ["image Tensor", "no tfds.features.Image"],
    ),
    "pixels of 32 bits": (
        {"image": Features.Image(shape=(None, None, 1), dtype=np.float32)},
        None,
        ["the pixels of image are float32, expected uint8 or uint16"],
    ),
    "several frames": ({"image": Features.Image(shape=(2, 9, 7, 3))}, {"image": encoded(0)}, ["several frames"]),
    "a measurement": (
        {"image": Features.Image(), "label": SCALAR},
        {"image": encoded(0), "label": 0.5},
        ["label is Tensor(shape=(), dtype=float32); expected one ClassLabel, integer or Text"],
    ),
    "several labels": (
        {"image": Features.Image(), "label": Features.Sequence(Features.ClassLabel(num_classes=3))},
        {"image": encoded(0), "label": [0, 2]},
        ["label is Sequence(", "expected one ClassLabel"],
    ),
    "a group of floats": (
        {"image": Features.Image(), "group": SCALAR},
        {"image": encoded(0), "group": 0.5},
        ["group is Tensor(shape=(), dtype=float32); expected"],
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_a_set_without_single_pictures_is_refused(data_dir, case):
    features, example, words = UNFIT[case]
    if example is None:
        # Preparing such a data set needs TensorFlow, so its description replaces that of another.
        build(data_dir, {"image": Features.Image(shape=(None, None, 1))}, {"train": [{"image": encoded(0)}]})
        Features.FeaturesDict(features).save_config(data_dir / "other" / "1.0.0")
    else:
        build(data_dir, features, {"train": [example]})
    refused("tfds:other", *words)


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_the_error_for_a_video_mentions_tensorflow(data_dir):
    build(data_dir, {"image": Features.Image()}, {"train": [{"image": encoded(0)}]})
    file = data_dir / "other" / "1.0.0" / "features.json"
    description = json.loads(file.read_text())
    description["featuresDict"]["features"]["film"] = {
        "pythonClassName": "tensorflow_datasets.core.features.video_feature.Video",
        "video": {"shape": {"dimensions": ["-1", "9", "7", "3"]}, "dtype": "uint8"},
    }
    file.write_text(json.dumps(description))
    refused("tfds:other", "its features cannot be read here (No module named 'tensorflow')", "such as Video")


def test_a_set_with_only_unknown_split_names_is_refused(data_dir):
    build(data_dir, {"image": Features.Image()}, {name: [{"image": encoded(0)}] for name in ("left", "right")})
    refused("tfds:other", "its splits are left, right; expected train, validation and test")


# --- finding a data set

# Each contains one picture with this number.
SETS = {"frames:1.9.0": 0, "frames:1.10.0": 1, "corrupted/fog:1.0.0": 2, "corrupted/snow:1.0.0": 3}


@pytest.fixture
def several(data_dir):
    """A data set in two versions, and one in two configurations."""
    for full_name, number in SETS.items():
        name, version = full_name.split(":")
        name, _, config = name.partition("/")
        chosen = {"config": tfds.core.BuilderConfig(name=config, version=version)} if config else {}
        example = {"image": encoded(number)}
        build(data_dir, {"image": Features.Image()}, {"train": [example]}, name=name, version=version, **chosen)
    return data_dir


def test_a_set_is_found_by_name_configuration_version_and_folder(several, monkeypatch):
    def number(spec):
        image = open_spec(f"tfds:{spec}").read(0)[..., ::-1]
        return [np.array_equal(image, noise(number)) for number in range(4)].index(True)

    for full_name, expected in SETS.items():
        assert number(full_name) == expected
    # 1.10.0 is higher than 1.9.0.
    assert number("frames") == number("frames:1.*.*") == 1
    assert number("frames:*.9.*") == 0
    assert number("corrupted/snow") == 3
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert number(f"frames:1.9.0@{several}") == 0
    monkeypatch.setenv("HOME", str(several.parent))
    several.rename(several.parent / "tensorflow_datasets")
    assert number("corrupted/fog") == 2
    assert number("corrupted/fog@~/tensorflow_datasets") == 2


def test_the_error_for_a_missing_set_lists_the_prepared_ones(several):
    refused("tfds:corrupted", "several configurations", "name one of tfds:corrupted/fog, tfds:corrupted/snow")
    refused("tfds:corrupted/rain", "has corrupted/fog:1.0.0, corrupted/snow:1.0.0")
    refused("tfds:frames:2.0.0", "has frames:1.10.0, frames:1.9.0")
    refused("tfds:frames/fog", "has frames:1.10.0, frames:1.9.0")
    refused("tfds:frame", f"{several} has corrupted, frames", "did you mean tfds:frames?")


def test_the_error_for_a_missing_set_says_how_to_prepare_it(several, monkeypatch):
    def forbidden(*_, **__):
        raise AssertionError("it would be downloaded")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", forbidden)
    refused(
        "tfds:cifar10", "it is not prepared",
        f"tfds.builder('cifar10', data_dir='{several}', file_format='array_record')",
        "need TensorFlow for this step", "not for training",
    )  # fmt: skip
    refused("tfds:mnist_corrupted/fog", f"tfds.builder('mnist_corrupted/fog', data_dir='{several}'")
    refused("tfds:piccolo", "from jaxcaps.data.tfds.builders import Piccolo")
    refused(
        "tfds:colorectal_histolgy",
        "TFDS has no data set of that name (did you mean colorectal_histology?); see docs/how-to/tfds.md",
    )
    refused("tfds:zzzzzz", "TFDS has no data set of that name; see docs/how-to/tfds.md")
    assert sorted(path.name for path in several.iterdir() if path.name != "downloads") == ["corrupted", "frames"]


def test_the_command_for_a_registered_set_names_the_set(tmp_path):
    """Without a download, the test only shows that TFDS accepts these arguments."""
    builder = tfds.builder("mnist_corrupted/fog", data_dir=str(tmp_path), file_format="array_record")
    assert (builder.name, builder.builder_config.name, builder.is_prepared()) == ("mnist_corrupted", "fog", False)


def test_a_folder_without_sets_is_named(data_dir):
    refused("tfds:cifar10", f"the folder {data_dir} does not exist", "TFDS_DATA_DIR=DIR or give tfds:NAME@DIR")
    data_dir.mkdir()
    refused("tfds:cifar10", f"{data_dir} has no data sets")
    refused("tfds:cifar10@nowhere", "the folder nowhere does not exist")


@pytest.mark.parametrize("spec", ["../frames", "frames/../x", "a b", "9lives", "kaggle:dogs", "frames:1"])
def test_an_invalid_name_of_a_set_is_refused(spec):
    refused(f"tfds:{spec}", "expected tfds:NAME, tfds:NAME/CONFIG or tfds:NAME/CONFIG:VERSION")


# --- damage


@pytest.fixture
def frames(data_dir):
    """The folder of a prepared data set of 20 pictures."""
    features = {"image": Features.Image(), "label": Features.ClassLabel(names=["a", "b"])}
    examples = [{"image": encoded(n), "label": n % 2} for n in range(20)]
    build(data_dir, features, {"train": examples, "test": examples[:2]}, name="frames")
    assert len(open_spec("tfds:frames").items) == 22
    return data_dir / "frames" / "1.0.0"


RECORDS = "frames-train.array_record-00000-of-00001"


def test_a_truncated_file_of_records_is_refused(frames):
    file = frames / RECORDS
    file.write_bytes(file.read_bytes()[:-100])
    refused("tfds:frames", f"the records of split 'train' in {frames} cannot be read", "prepare the set again")


def test_a_changed_byte_in_a_record_is_refused(frames):
    """Each chunk of records has a checksum."""
    content = bytearray((frames / RECORDS).read_bytes())
    content[content.index(encoded(7)) + 50] ^= 1
    (frames / RECORDS).write_bytes(content)
    refused("tfds:frames", "the records of split 'train'", "hash mismatch")


def test_a_missing_file_of_records_is_refused(frames):
    (frames / RECORDS).unlink()
    refused("tfds:frames", "the records of split 'train'", "No such file")


def test_a_record_that_is_lost_while_training_is_a_bad_image(data_dir):
    """Without labels, records are only read with their pictures."""
    build(data_dir, {"image": Features.Image()}, {"train": [{"image": encoded(n)} for n in range(2)]})
    file = data_dir / "other" / "1.0.0" / "other-train.array_record-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[content.index(encoded(0)) + 50] ^= 1
    file.write_bytes(content)
    records = open_spec("tfds:other")
    with pytest.raises(BadImage, match=r"its record cannot be read .*hash mismatch"):
        records.read(0)
    np.testing.assert_array_equal(records.read(1), noise(1)[..., ::-1])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"no": "field"}'])
@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_a_damaged_description_is_refused(frames, file, text):
    (frames / file).write_text(text)
    refused("tfds:frames", f"its description in {frames} is damaged", "prepare the set again")


def test_damaged_metadata_are_refused(frames):
    (frames / "metadata.json").write_text("{")
    refused("tfds:frames", f"its description in {frames} is damaged", "prepare the set again")


@pytest.mark.parametrize("text", ["a\n", "a\na\n", "a\nb\nc\n"])
def test_names_that_do_not_fit_the_classes_are_refused(frames, text):
    """TFDS accepts any number of class names."""
    (frames / "label.labels.txt").write_text(text)
    refused("tfds:frames", "label is ClassLabel(", "num_classes=2) with names ['a'", "the set is damaged")


def test_another_file_format_is_refused_with_a_remedy(frames):
    description = json.loads((frames / "dataset_info.json").read_text())
    (frames / "dataset_info.json").write_text(json.dumps(description | {"fileFormat": "tfrecord"}))
    refused(
        "tfds:frames", f"{frames} is prepared as tfrecord, which has no random access without TensorFlow",
        "expected array_record. Move that folder away", "tfds.builder('frames', ",
    )  # fmt: skip


# --- invalid folders


def unprepared(folder, data_dir, match, **settings):
    with pytest.raises(UserError, match=match):
        PreparedFolder(folder, **({"name": "frames", "data_dir": data_dir} | settings)).download_and_prepare()
    assert not list(data_dir.glob("frames/*/features.json"))


def test_an_invalid_prepared_folder_is_refused(tmp_path, data_dir):
    unprepared(tmp_path / "nowhere", data_dir, r"nowhere/labels\.csv: no such file")
    unprepared(tmp_path, data_dir, "name='my frames': expected a letter followed by", name="my frames")
    folder = prepared_folder(tmp_path / "frames", three_splits(4))
    table = folder / "labels.csv"
    for text, match in (
        ("label\na\n", "no column 'path'"),
        ("path\nimages/0.png\n", "no image has a label; expected a column label"),
        ("path,label\nimages/0.png,\n", "no image has a label"),
        ("path,label\nimages/9.png,a\n", r"images/9\.png: no such file"),
        ('path,label\nimages/0.png,"a\nb"\n', r"label 'a\\nb' has several lines"),
        ("path,label,split\nimages/0.png,a,train\nimages/1.png,a,\n", r"1 of 2 images have no split, .* images/1\.png"),
        ("path,label,split\nimages/0.png,a,trian\n", "unknown split 'trian'"),
    ):
        table.write_text(text)
        unprepared(folder, data_dir, match)


def test_a_prepared_set_is_kept_until_the_version_increases(tmp_path, data_dir):
    folder = prepared_folder(tmp_path / "frames", three_splits(10))
    PreparedFolder(folder, name="frames", data_dir=data_dir).download_and_prepare()
    (folder / "labels.csv").write_text("path,label\nimages/0.png,other\n")
    PreparedFolder(folder, name="frames", data_dir=data_dir).download_and_prepare()
    assert len(open_spec("tfds:frames").items) == 10
    PreparedFolder(folder, name="frames", version="1.1.0", data_dir=data_dir).download_and_prepare()
    assert [item.label for item in open_spec("tfds:frames").items] == ["other"]
    assert len(open_spec("tfds:frames:1.0.0").items) == 10
