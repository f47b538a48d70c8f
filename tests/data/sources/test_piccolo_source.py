"""`--data=piccolo:`: preparation into the cache folder at first use, and training."""

import numpy as np
import pytest

from jaxcaps.data.sources.piccolo import cache_folder, preparation
from jaxcaps.errors import UserError
from tests.command import run
from tests.data.sources.sample import Sample, open_spec
from tests.data_prep.piccolo_release import write_release

SAMPLE = Sample(lambda folder, pictures: f"piccolo:{write_release(folder)}", exact=False, slow=True)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("piccolo"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def in_cache(monkeypatch, cache):
    monkeypatch.setenv("JAXCAPS_CACHE", str(cache))


def test_the_items_are_the_prepared_frames(release, cache):
    source = open_spec(f"piccolo:{release}")
    assert len(source.items) == 17
    assert source.items[0][1:] == ("adenoma", "lesion001", "train")
    assert source.read(0).shape == (224, 224, 3)
    (folder,) = cache.iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    np.testing.assert_array_equal(open_spec(f"piccolo:{release}").read(0), source.read(0))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == before


def test_larger_pictures_have_a_separate_folder(release):
    small, larger = preparation(release, 64), preparation(release, 300)
    assert (small.steps.size, larger.steps.size) == (224, 300)
    assert small.out != larger.out
    assert preparation(release, 16) == small


def test_another_folder_is_refused_by_the_flag(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"--data=piccolo:.*/empty: cannot prepare it in .*: .*no frame found"):
        open_spec(f"piccolo:{tmp_path}/empty")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    assert cache_folder().name != "jaxcaps"
    monkeypatch.delenv("JAXCAPS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "jaxcaps"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "jaxcaps"


@pytest.mark.slow
def test_a_release_is_trained_on(capsys, release, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--preset=tiny", f"--data=piccolo:{release}", "--epochs=1", "--batch-size=8", "--effective-batch=8"]
    outcome = run(capsys, "--stage=finetune", *flags, "--out=run")
    assert outcome.status == 0, outcome
    assert "Group lesion004 lies in more than one split" in outcome.output
    assert (tmp_path / "run" / "metrics.json").is_file()
