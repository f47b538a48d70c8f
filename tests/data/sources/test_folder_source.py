import pytest

from jaxcaps.data.items import Item
from tests.data.sources.sample import Sample, open_spec, paint, refused


def write(folder, pictures):
    for number, picture in enumerate(pictures):
        parts = [part for part in (picture.split, picture.label) if part]
        file = folder.joinpath(*parts, f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture.encoded())
    return f"folder:{folder}"


SAMPLE = Sample(write, frozenset({"grey", "16-bit", "alpha", "palette", "damaged", "unlabelled", "splits"}))


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


def test_folders_named_after_splits_are_the_splits(tmp_path):
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
def test_split_folders_are_not_classes(tmp_path, names, message):
    for name in names:
        paint(tmp_path / name / "1.png")
    refused(f"folder:{tmp_path}", message)


def test_a_class_may_be_called_test(tmp_path):
    for name in ("test", "control"):
        paint(tmp_path / name / "1.png")
    assert {item.label for item in open_spec(f"folder:{tmp_path}").items} == {"test", "control"}


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


def test_a_folder_without_images_lists_its_content(tmp_path):
    (tmp_path / "a").mkdir()
    refused(f"folder:{tmp_path}", "no image found")
    (tmp_path / "a" / "x.dcm").touch()
    refused(f"folder:{tmp_path}", ".dcm", ".png")


def test_images_beside_split_folders_are_refused(tmp_path):
    paint(tmp_path / "train" / "x" / "0.png")
    paint(tmp_path / "1.png")
    refused(f"folder:{tmp_path}", "1.png lies beside the split folders (train)")
