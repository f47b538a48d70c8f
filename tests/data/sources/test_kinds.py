"""The table of sources and the grammar of `--data`."""

import pytest

from data_prep.spec import DataSpec
from jaxcaps.data.sources import absolute, anonymous, parse_data, short_name
from jaxcaps.errors import UserError
from tests.data.sources.sample import refused


def test_an_unknown_kind_is_refused_with_a_suggestion(tmp_path):
    known = "expected one of csv:FILE, "
    refused("cvs:labels", known, "did you mean --data=csv:labels?")
    refused("CSV:labels.csv", "did you mean --data=csv:labels.csv?")
    refused("syntetic", "did you mean --data=synthetic?")
    refused("tdfs:frames", "did you mean --data=tfds:frames?")
    refused("csv:", "FILE must follow csv:")
    refused("tfds:", "NAME must follow tfds:")
    refused("labels.csv", "did you mean --data=csv:labels.csv?")
    refused(str(tmp_path), f"did you mean --data=folder:{tmp_path}?")


@pytest.mark.parametrize("text", ["tfds:frames@", "tfds:@x", "synthetic:5"])
def test_an_incomplete_place_is_refused(text):
    with pytest.raises(UserError, match=f"--data={text}: expected one of"):
        parse_data(text)


def test_a_specification_is_read_and_written():
    assert parse_data("tfds:malaria/plain:1.0.0@~/sets") == DataSpec("tfds", "malaria/plain:1.0.0", "~/sets")
    assert str(parse_data("tfds:malaria@~/sets")) == "tfds:malaria@~/sets"
    assert parse_data("csv:/a:b@c.csv") == DataSpec("csv", "/a:b@c.csv")


@pytest.mark.parametrize(
    ("text", "known_as", "short"),
    [
        ("csv:/data/chest/labels.csv", "csv:labels.csv", "chest"),
        ("folder:/data/chest.v2", "folder:chest.v2", "chest.v2"),
        ("npz:/data/chest.npz", "npz:chest.npz", "chest"),
        ("tfds:malaria@/somewhere", "tfds:malaria", "malaria"),
        ("tfds:malaria/plain:1.0.0", "tfds:malaria/plain:1.0.0", "plain-1.0.0"),
        ("synthetic", "synthetic", "synthetic"),
    ],
)
def test_data_names_contain_no_folders(text, known_as, short):
    assert anonymous(text) == known_as
    assert short_name(text) == short


def test_paths_are_made_absolute_and_names_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert absolute("csv:labels.csv") == f"csv:{tmp_path}/labels.csv"
    assert absolute("folder:~/x") == "folder:/home/somebody/x"
    assert absolute("tfds:frames@sets") == f"tfds:frames@{tmp_path}/sets"
    assert absolute("tfds:frames") == "tfds:frames"
    assert absolute("synthetic") == "synthetic"
