import re

import cv2
import numpy as np
import pytest

from jaxcaps.data.items import Item
from jaxcaps.data.sources import BadImage, open_source
from jaxcaps.errors import UserError


def open_spec(spec, count=60, seed=0, size=16):
    return open_source(spec, synthetic_count=count, synthetic_seed=seed, image_size=size)


def paint(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((2, 3, 3), value, np.uint8))


def refused(spec, *words):
    with pytest.raises(UserError) as error:
        open_spec(spec)
    for word in (spec, *words):
        assert word in str(error.value)


def test_an_unknown_kind_is_refused_with_a_suggestion(tmp_path):
    known = "expected synthetic, folder:DIR, csv:FILE, npz:FILE, piccolo:DIR or tfds:NAME"
    refused("cvs:labels", known, "did you mean --data=csv:labels?")
    refused("CSV:labels.csv", "did you mean --data=csv:labels.csv?")
    refused("syntetic", "did you mean --data=synthetic?")
    refused("csv:", "a path must follow csv:")
    refused("labels.csv", "did you mean --data=csv:labels.csv?")
    refused(str(tmp_path), f"did you mean --data=folder:{tmp_path}?")


@pytest.mark.parametrize("kind", ["folder", "csv", "npz", "piccolo"])
def test_a_missing_path_is_named(kind, tmp_path):
    refused(f"{kind}:{tmp_path}/nowhere", "no such f")


def test_the_wrong_kind_of_path_is_told(tmp_path):
    (tmp_path / "table").touch()
    refused(f"folder:{tmp_path}/table", "csv:FILE")
    refused(f"csv:{tmp_path}", "folder:DIR")
    refused(f"npz:{tmp_path}", "is a folder")


# --- folder


def test_the_first_level_of_a_folder_names_the_classes(tmp_path):
    for name in ("b/2.png", "a/deep/er/1.PNG", "a/0.png", "loose.png", "a/.hidden.png", "a/notes.txt", ".git/x.png"):
        paint(tmp_path / "image.png", 9)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "image.png").rename(tmp_path / name)
    assert open_spec(f"folder:{tmp_path}").items == (
        Item("a/0.png", "a", None, None),
        Item("a/deep/er/1.PNG", "a", None, None),
        Item("b/2.png", "b", None, None),
        Item("loose.png", None, None, None),
    )


def test_folders_called_after_splits_are_the_splits(tmp_path):
    for name in ("Train/x/0.png", "val/x/1.png", "test/y/2.png", "test/3.png"):
        paint(tmp_path / name)
    assert open_spec(f"folder:{tmp_path}").items == (
        Item("Train/x/0.png", "x", None, "train"),
        Item("test/3.png", None, None, "test"),
        Item("test/y/2.png", "y", None, "test"),
        Item("val/x/1.png", "x", None, "validation"),
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("Train/a", "Train/b", "dev/a", "Test/a"), "Test, Train are named like splits, but dev is not"),
        (("chest/train/a", "chest/test/a"), "the split folders lie in chest; use --data=folder:"),
    ],
)
def test_split_folders_are_not_taken_for_classes(tmp_path, names, message):
    for name in names:
        paint(tmp_path / name / "1.png")
    refused(f"folder:{tmp_path}", message)


def test_a_class_may_be_called_test(tmp_path):
    for name in ("test", "control"):
        paint(tmp_path / name / "1.png")
    assert {item.label for item in open_spec(f"folder:{tmp_path}").items} == {"test", "control"}


@pytest.mark.parametrize(("column", "meant"), [("Split", "split"), ("labels", "label"), ("groups", "group")])
def test_a_column_that_is_nearly_one_of_ours_is_named(tmp_path, column, meant):
    (tmp_path / "labels.csv").write_text(f"path,{column}\na.png,x\n")
    refused(f"csv:{tmp_path}/labels.csv", f"unknown column '{column}'; did you mean '{meant}'")


def test_a_picture_comes_from_its_own_file(tmp_path):
    for value in (3, 1, 2):
        paint(tmp_path / "a" / f"{value}.png", value)
    source = open_spec(f"folder:{tmp_path}")
    assert [source.read(index)[0, 0, 0] for index in range(3)] == [1, 2, 3]
    assert source.read(0).shape == (2, 3, 3)


def test_an_empty_class_folder_is_named(tmp_path):
    paint(tmp_path / "benign" / "0.png")
    (tmp_path / "normal").mkdir()
    refused(f"folder:{tmp_path}", "class folder 'normal' has no image")


def test_a_folder_without_images_tells_what_it_holds(tmp_path):
    (tmp_path / "a").mkdir()
    refused(f"folder:{tmp_path}", "no image found, no file at all")
    (tmp_path / "a" / "x.dcm").touch()
    refused(f"folder:{tmp_path}", "only files named .dcm", ".png")


def test_images_beside_split_folders_are_refused(tmp_path):
    paint(tmp_path / "train" / "x" / "0.png")
    paint(tmp_path / "1.png")
    refused(f"folder:{tmp_path}", "1.png lies beside the split folders (train)")


# --- csv


def table(tmp_path, text, encoding="utf-8"):
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    return f"csv:{tmp_path}/labels.csv"


def test_a_table_may_order_its_columns_freely_and_have_others(tmp_path):
    spec = table(
        tmp_path,
        "\ufeffsplit, age,label ,path,group\r\n"
        'training,70,adenoma,"a, b.png",p1\r\n'
        "Val,,,c.png,\r\n"
        "testing,1,polyp,sub/d.png,p2\r\n",
    )
    assert open_spec(spec).items == (
        Item("a, b.png", "adenoma", "p1", "train"),
        Item("c.png", None, None, "validation"),
        Item("sub/d.png", "polyp", "p2", "test"),
    )


def test_paths_are_relative_to_the_table(tmp_path, monkeypatch):
    paint(tmp_path / "images" / "0.png", 7)
    spec = table(tmp_path, f"path\nimages/0.png\n{tmp_path}/images/1.png\n")
    monkeypatch.chdir("/")
    source = open_spec(spec)
    assert source.read(0)[0, 0, 0] == 7
    # An absolute path is named as if it were relative.
    assert source.items[1] == Item("images/1.png", None, None, None)
    with pytest.raises(BadImage, match="no such file"):
        source.read(1)


def test_a_folder_in_place_of_an_image_is_a_bad_image(tmp_path):
    source = open_spec(table(tmp_path, "path\n.\n"))
    with pytest.raises(BadImage, match="Is a directory"):
        source.read(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no image"),
        ("path,label\n", "lists no image"),
        ("file,label\nx.png,a\n", "no column 'path' in the first line; found 'file', 'label'"),
        ("path;label\nx.png;a\n", "no column 'path' in the first line; found 'path;label'"),
        ("path,label,label\nx.png,a,b\n", "column 'label' occurs twice"),
        ("path,label\n,a\n", "line 2: the path is empty"),
        ("path,label\nx.png,a\n./x.png,b\n", "line 3: ./x.png is already listed in line 2"),
        ("path,label\nx, y.png,a\n", "line 2: more fields than the 2 columns in line 1"),
        ("path,split\nx.png,trian\n", "line 2: unknown split 'trian'"),
    ],
)
def test_a_faulty_table_is_refused_by_line(tmp_path, text, message):
    refused(table(tmp_path, text), message)


def test_a_table_that_is_no_text_is_refused(tmp_path):
    refused(table(tmp_path, "path\nk\u00e4se.png\n", "latin-1"), "not UTF-8 text")


# --- npz


def medmnist(tmp_path, **arrays):
    np.savez_compressed(tmp_path / "set.npz", **arrays)
    return f"npz:{tmp_path}/set.npz"


def test_medmnist_grey_and_colour_become_rgb(tmp_path):
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 256, (3, 4, 5), np.uint8), rng.integers(0, 256, (2, 4, 5, 3), np.uint8)
    spec = medmnist(
        tmp_path,
        train_images=grey,
        train_labels=np.array([[0], [10], [2]], np.uint8),
        val_images=colour,
        val_labels=np.array([1, 0]),
        test_images=grey[..., None],
    )
    source = open_spec(spec)
    assert source.items[:4] == (
        Item("train/0", "0", None, "train"),
        Item("train/1", "10", None, "train"),
        Item("train/2", "2", None, "train"),
        Item("val/0", "1", None, "validation"),
    )
    assert source.items[5] == Item("test/0", None, None, "test")
    np.testing.assert_array_equal(source.read(1), np.stack([grey[1]] * 3, axis=-1))
    np.testing.assert_array_equal(source.read(4), colour[1])
    np.testing.assert_array_equal(source.read(7), np.stack([grey[2]] * 3, axis=-1))


def test_a_split_of_an_npz_is_read_only_when_used(tmp_path, monkeypatch):
    images = np.zeros((2, 4, 4), np.uint8)
    spec = medmnist(tmp_path, train_images=images, test_images=images)
    loaded = []
    load = np.load

    class Spy:
        def __init__(self, *args, **kwargs):
            self.arrays = load(*args, **kwargs)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.arrays.close()

        def __getitem__(self, name):
            loaded.append(name)
            return self.arrays[name]

    monkeypatch.setattr(np, "load", Spy)
    source = open_spec(spec)
    source.read(0)
    source.read(1)
    assert loaded == ["train_images"]


IMAGES = np.zeros((2, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES, "y": np.zeros(2)}, "no array 'train_images'; found x, y"),
        ({"train_images": IMAGES.astype(float)}, "train_images is float64 [2, 4, 4]; expected uint8"),
        ({"train_images": np.zeros((2, 4, 4, 4), np.uint8)}, "train_images is uint8 [2, 4, 4, 4]; expected"),
        ({"train_images": IMAGES, "train_labels": np.zeros((2, 14), int)}, "train_labels is int64 [2, 14]; expected"),
        ({"train_images": IMAGES, "train_labels": np.zeros(3, int)}, "one integer for each of the 2 images"),
        ({"train_images": IMAGES, "train_labels": np.zeros(2)}, "train_labels is float64 [2]; expected"),
        ({"train_images": IMAGES, "train_labels": np.array(["a", None])}, "allow_pickle=False"),
    ],
)
def test_an_npz_of_another_format_is_refused(tmp_path, arrays, message):
    refused(medmnist(tmp_path, **arrays), message)


def test_a_damaged_npz_is_refused(tmp_path):
    (tmp_path / "set.npz").write_bytes(b"no zip archive")
    refused(f"npz:{tmp_path}/set.npz", "no .npz file of NumPy, or a damaged one")


# --- synthetic


def test_the_built_in_set_is_the_same_for_the_same_seed():
    first, second, other = open_spec("synthetic"), open_spec("synthetic"), open_spec("synthetic", seed=1)
    assert len(first.items) == 60
    assert first.items == second.items
    assert not {item.name for item in first.items} & {item.name for item in other.items}
    assert first.read(5).shape == (16, 16, 3)
    np.testing.assert_array_equal(first.read(5), second.read(5))
    assert len({item.label for item in first.items}) == 3
    assert all(item.group and item.split is None for item in first.items)


def test_too_small_a_built_in_set_is_refused():
    with pytest.raises(UserError, match=re.escape("--synthetic-count")):
        open_spec("synthetic", count=0)


def test_medmnist_of_real_chest_images_opens(shared_data):
    source = open_spec(f"npz:{shared_data}/pneumoniamnist/pneumoniamnist.npz")
    assert len(source.items) == 5856
    assert source.read(0).shape == (28, 28, 3)
