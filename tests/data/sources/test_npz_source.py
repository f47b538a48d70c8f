import numpy as np
import pytest

from jaxcaps.data.items import Item
from tests.data.sources.sample import Sample, open_spec, refused


def write(folder, pictures):
    arrays = {}
    for split in ("train", "validation", "test"):
        those = [picture for picture in pictures if (picture.split or "train") == split]
        if those:
            key = "val" if split == "validation" else split
            arrays[f"{key}_images"] = np.stack([picture.pixels for picture in those])
            if those[0].label is not None:
                arrays[f"{key}_labels"] = np.array([[int(picture.label)] for picture in those])
    return medmnist(folder, **arrays)


SAMPLE = Sample(write, frozenset({"grey", "unlabelled", "splits"}))


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
    refused(f"npz:{tmp_path}/set.npz", "not a valid .npz file of NumPy")


def test_medmnist_of_real_chest_images_opens(shared_data):
    source = open_spec(f"npz:{shared_data}/pneumoniamnist/pneumoniamnist.npz")
    assert len(source.items) == 5856
    assert source.read(0).shape == (28, 28, 3)
