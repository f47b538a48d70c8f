"""Tests of every kind of data with the same valid and invalid inputs. A new source defines its own `SAMPLE`."""

import importlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data_prep.pipeline.applying import FittedSteps
from jaxcaps.data.decoding import BadImage
from jaxcaps.data.sources import SOURCES
from jaxcaps.errors import UserError
from tests.data.sources.sample import Picture, noise, open_spec, refused

SAMPLES = {kind: importlib.import_module(f"tests.data.sources.test_{kind}_source").SAMPLE for kind in SOURCES}
# Places that do not exist, by the place that a kind expects.
NOWHERE = {"DIR": "{}:{}/nowhere", "FILE": "{}:{}/nowhere", "NAME": "{}:nowhere@{}"}


def kinds(*able, place=(), exact=True):
    """The kinds that can store all of this and have such a place."""
    return [
        pytest.param(kind, marks=pytest.mark.slow) if sample.slow and not place else kind
        for kind, sample in SAMPLES.items()
        if sample.stores >= set(able)
        and SOURCES[kind].place in (place or ("", *NOWHERE))
        and (sample.exact or not exact)
    ]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JAXCAPS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def written(tmp_path):
    """(kind, pictures) -> what `--data` says of them, and the source, opened."""

    def write(kind, pictures):
        folder = tmp_path / "data"
        folder.mkdir()
        spec = SAMPLES[kind].write(folder, pictures)
        source = open_spec(spec)
        return spec, source

    return write


def sixteen():
    """Pictures of two classes in all three splits, in groups of two."""
    splits = ("train", "train", "validation", "test")
    return [Picture(noise(n), str(n % 2), f"patient {n // 2}", splits[n // 4]) for n in range(16)]


def matched(source, pictures, rgb):
    """The item of each picture, found by its pixels, which are unique."""
    read = [source.read(place) for place in range(len(source.items))]
    assert len(read) == len(pictures)
    places = []
    for picture in pictures:
        (place,) = (place for place, found in enumerate(read) if np.array_equal(found, rgb(picture)))
        places.append(place)
    assert len(set(places)) == len(pictures)
    return [source.items[place] for place in places]


@pytest.mark.parametrize("kind", kinds(exact=False))
def test_items_are_stable_and_pictures_are_read_by_many_threads(kind, written):
    spec, source = written(kind, sixteen())
    assert len({item.name for item in source.items}) == len(source.items) > 0
    assert all(isinstance(text, str | None) for item in source.items for text in item)
    assert isinstance(source.prepared, FittedSteps | None)
    assert isinstance(source.notes, tuple)
    again = open_spec(spec)
    assert again.items == source.items
    places = [*range(min(16, len(source.items)))] * 4
    with ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(again.read, places))
    for place, picture in zip(places, pictures, strict=True):
        assert picture.dtype == np.uint8
        assert picture.ndim == 3
        assert picture.shape[2] == 3
        np.testing.assert_array_equal(picture, pictures[places.index(place)])
    np.testing.assert_array_equal(source.read(0), pictures[0])


@pytest.mark.parametrize("kind", kinds())
def test_pictures_keep_their_pixels_and_labels(kind, written):
    pictures = sixteen()
    items = matched(written(kind, pictures)[1], pictures, lambda picture: picture.pixels)
    assert [item.label for item in items] == [picture.label for picture in pictures]


@pytest.mark.parametrize("kind", kinds("splits"))
def test_pictures_keep_their_splits(kind, written):
    pictures = sixteen()
    items = matched(written(kind, pictures)[1], pictures, lambda picture: picture.pixels)
    assert [item.split for item in items] == [picture.split for picture in pictures]


@pytest.mark.parametrize("kind", kinds("groups"))
def test_pictures_keep_their_groups(kind, written):
    pictures = sixteen()
    items = matched(written(kind, pictures)[1], pictures, lambda picture: picture.pixels)
    groups = [item.group for item in items]
    assert groups[0::2] == groups[1::2]
    assert len(set(groups)) == 8


@pytest.mark.parametrize("kind", kinds("unlabelled"))
def test_pictures_need_no_label(kind, written):
    source = written(kind, [Picture(noise(n)) for n in range(3)])[1]
    assert [item.label for item in source.items] == [None] * 3


def grey(number):
    pixels = noise(number, (9, 7))
    return Picture(pixels, "0"), np.stack([pixels] * 3, axis=-1)


def sixteen_bits(number):
    pixels = noise(number, dtype=np.uint16)
    return Picture(pixels, "0"), np.rint(pixels / 257).astype(np.uint8)


def alpha(number):
    pixels = noise(number, (9, 7, 4))
    return Picture(pixels, "0"), np.rint(pixels[..., :3] * (pixels[..., 3:] / 255)).astype(np.uint8)


def palette(number):
    pixels = noise(number)
    return Picture(pixels, "0", palette=True), pixels


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        *((kind, grey) for kind in kinds("grey")),
        *((kind, sixteen_bits) for kind in kinds("16-bit")),
        *((kind, alpha) for kind in kinds("alpha")),
        *((kind, palette) for kind in kinds("palette")),
    ],
)
def test_all_pixel_formats_become_rgb(kind, stored, written):
    pictures = [stored(number) for number in range(3)]
    matched(written(kind, [picture for picture, _ in pictures])[1], pictures, lambda picture: picture[1])


@pytest.mark.parametrize("kind", kinds("damaged"))
def test_a_damaged_picture_is_a_bad_image_among_good_ones(kind, written):
    source = written(kind, [Picture(None if n == 1 else noise(n), "0") for n in range(4)])[1]
    assert len(source.items) == 4
    bad = []
    for place in range(4):
        try:
            source.read(place)
        except BadImage as error:
            bad.append(str(error))
    assert len(bad) == 1
    assert bad[0]


@pytest.mark.parametrize("kind", kinds(place=tuple(NOWHERE), exact=False))
def test_a_place_that_is_missing_is_named(kind, tmp_path):
    refused(NOWHERE[SOURCES[kind].place].format(kind, tmp_path))


@pytest.mark.parametrize("kind", kinds(place=("DIR", "FILE"), exact=False))
def test_a_file_is_not_a_folder(kind, tmp_path):
    (tmp_path / "file").touch()
    refused(f"{kind}:{tmp_path}/file" if SOURCES[kind].place == "DIR" else f"{kind}:{tmp_path}", "folder")


@pytest.mark.parametrize("kind", kinds(place=tuple(NOWHERE), exact=False))
def test_an_empty_place_is_refused(kind, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    form = {
        "DIR": f"{kind}:{tmp_path}/folder",
        "FILE": f"{kind}:{tmp_path}/file",
        "NAME": f"{kind}:x@{tmp_path}/folder",
    }
    refused(form[SOURCES[kind].place])


@pytest.mark.parametrize("kind", SOURCES)
def test_a_kind_without_its_place_is_refused(kind):
    text = f"{kind}:" if SOURCES[kind].place else f"{kind}:place"
    with pytest.raises(UserError, match=f"--data={text}: expected one of"):
        open_spec(text)
