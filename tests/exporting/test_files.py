"""A run as one file, and its parameters as one file: every `--restore` opens both as it opens the run."""

import json
import os

import numpy as np
import pytest
from safetensors import safe_open

import jaxcaps
from jaxcaps.errors import UserError
from jaxcaps.exporting.base import Format
from jaxcaps.exporting.writing import export
from jaxcaps.plan.flags import parse_config
from jaxcaps.reporting.results import read_results
from jaxcaps.restoring import find_origin
from jaxcaps.training.calibration import read_calibration
from jaxcaps.training.checkpoint import read_parameters
from jaxcaps.training.setup import starting_parameters
from jaxcaps.training.state import parameters_of
from tests.command import run
from tests.exporting.build import write_pretraining

# What `--restore` is given for the run: the bundle, the exported folder, and the file in it.
GIVEN = ("run.jaxcaps", "out", "out/model.safetensors")


@pytest.fixture(scope="module")
def place(place):
    """The run, `run`, with scores of a test split, and its exports `run.jaxcaps` and `out`."""
    metrics = json.loads((place / "run" / "metrics.json").read_text())
    metrics["data"] = f"npz:{place}/set.npz"
    (place / "run" / "metrics-test.json").write_text(json.dumps(metrics))
    export(place / "run", "bundle", place / "run.jaxcaps")
    export(place / "run", "safetensors", place / "out")
    return place


@pytest.fixture
def command(place, capsys):
    def command(name, restore, *flags):
        return run(capsys, f"--restore={place / restore}", *flags, command=name)

    return command


def test_a_model_from_a_file_predicts_what_the_run_predicts(place):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    theirs = jaxcaps.load(place / "run")
    expected = theirs.predict_proba(pictures)
    for given in ("run.jaxcaps", "out"):
        mine = jaxcaps.load(place / given)
        np.testing.assert_array_equal(mine.predict_proba(pictures), expected)
        for found, wanted in zip(mine.calibration.familiar, theirs.calibration.familiar, strict=True):
            np.testing.assert_array_equal(found, wanted)
        assert mine.calibration.plain() == theirs.calibration.plain()
        assert mine.origin.learnt_from == {"0123456789abcdef"}
        assert mine.origin.title == "run"
    assert find_origin(place / "out").place == find_origin(place / "out/model.safetensors").place


def test_the_files_name_no_folder_and_are_written_again_from_themselves(place, command, tmp_path):
    for name in ("run.jaxcaps", "out/model.safetensors"):
        assert str(place).encode() not in (place / name).read_bytes()
    assert command("export", "run.jaxcaps", "--to=bundle", f"--out={tmp_path}/x.jaxcaps").status == 0
    assert (tmp_path / "x.jaxcaps").read_bytes() == (place / "run.jaxcaps").read_bytes()
    assert command("export", "out", "--to=safetensors", f"--out={tmp_path}/x").status == 0
    for file in (place / "out").iterdir():
        assert (tmp_path / "x" / file.name).read_bytes() == file.read_bytes()


def test_the_header_says_all_that_another_program_has_to_know(place):
    with safe_open(place / "out" / "model.safetensors", framework="numpy") as file:
        header = json.loads(file.metadata()["jaxcaps"])
        names = set(file.keys())
    assert header["classes"] == ["0", "1"]
    assert len(header["train_counts"]) == 2
    assert header["config"]["data"]["data"] == "npz:set.npz"
    assert header["calibration"]["temperature"] == read_calibration(place / "run").temperature
    assert header["metrics"] == json.loads((place / "run" / "metrics.json").read_text())
    assert header["metrics"]["intervals"]["balanced_accuracy"][0] <= header["metrics"]["balanced_accuracy"]
    assert names == {"familiar/mean", "familiar/whitening", *read_parameters(place / "run")[0]}


def test_a_bundle_has_the_results_of_the_run(place):
    mine, theirs = (read_results(find_origin(place / name).folder) for name in ("run.jaxcaps", "run"))
    assert (mine.name, mine.rows, mine.calibration) == (theirs.name, theirs.rows, theirs.calibration)
    np.testing.assert_array_equal(mine.predicted.probabilities, theirs.predicted.probabilities)
    assert mine.scored["test"]["data"] == "npz:set.npz"


def test_a_file_is_scored_into_another_folder(place, command, tmp_path):
    data, out = f"--data=npz:{place}/set.npz", f"--out={tmp_path}/scores"
    outcome = command("evaluate", "run.jaxcaps", data, out)
    assert outcome.status == 0, outcome.errors
    found = json.loads((tmp_path / "scores" / "metrics-validation-set.json").read_text())
    assert found["confusion_matrix"] == json.loads((place / "run" / "metrics.json").read_text())["confusion_matrix"]
    for given in GIVEN:
        for name, flags, words in (
            ("evaluate", [data], "is a file, which nothing is added to; give --out"),
            ("evaluate", [out], "trained on npz:set.npz and does not hold the pictures; give your data with --data"),
        ):
            outcome = command(name, given, *flags)
            assert outcome.status == 2
            assert words in outcome.errors
    outcome = command("report", "run.jaxcaps", data)
    assert (outcome.status, "give --out" in outcome.errors) == (2, True)
    outcome = command("report", "out", data, out)
    assert (outcome.status, "holds parameters and no results of a run" in outcome.errors) == (2, True)


@pytest.mark.parametrize("given", GIVEN[:2])
def test_fine_tuning_takes_the_encoder_and_remembers_the_pictures(place, given, caplog):
    data = f"--data=npz:{place}/set.npz"
    with pytest.raises(UserError, match="give your data with --data"):
        parse_config(["--stage=finetune", f"--restore={place / given}"])
    config = parse_config(["--stage=finetune", f"--restore={place / given}", data, "--split-seed=3"])
    assert config.model == find_origin(place / "run").config.model
    restored, _ = read_parameters(place / "run")
    new = {path: np.zeros_like(value) for path, value in restored.items()}
    start = starting_parameters(config, new)
    for path, value in start.items():
        np.testing.assert_array_equal(value, restored[path] if path.startswith("encoder/") else new[path])


def test_a_pretraining_travels_with_all_its_parameters(tmp_path, capsys):
    parameters = write_pretraining(tmp_path / "ssl")
    bundle = tmp_path / "ssl.jaxcaps"
    outcome = run(capsys, f"--restore={tmp_path}/ssl", "--to=bundle", f"--out={bundle}", command="export")
    assert outcome.status == 0, outcome.errors
    found, _ = read_parameters(bundle)
    assert found.keys() == parameters.keys()
    for path, value in parameters.items():
        np.testing.assert_array_equal(found[path], value)
    encoder = parameters_of(jaxcaps.load(bundle).encoder)
    for path, value in encoder.items():
        np.testing.assert_array_equal(value, parameters[f"encoder/{path}"])
    assert find_origin(bundle).learnt_from == {"ff"}
    config = parse_config(["--stage=finetune", f"--restore={bundle}", "--transfer-latent", "--ssl-capsules=4"])
    assert config.restore == str(bundle)
    refused = run(capsys, f"--restore={bundle}", "--to=safetensors", f"--out={tmp_path}/x", command="export")
    assert (refused.status, "an encoder has no classes" in refused.errors) == (2, True)


def test_what_cannot_be_written_or_is_not_finished_is_refused(place, command, tmp_path):
    (tmp_path / "file").write_text("")
    os.link(place / "run.jaxcaps", tmp_path / "there.jaxcaps")
    for restore, flags, words in (
        ("run", [f"--out={tmp_path}/x"], "--to=bundle writes one file; give it a name that ends in .jaxcaps"),
        ("run", [f"--out={tmp_path}/there.jaxcaps"], "there.jaxcaps exists; nothing was changed"),
        ("run", [f"--out={tmp_path}/file/x.jaxcaps"], "file is not a writable folder"),
        ("out", [f"--out={tmp_path}/x.jaxcaps"], "holds parameters and no results of a run"),
        ("set.npz", [f"--out={tmp_path}/x.jaxcaps"], "expected the folder of a run, FILE.jaxcaps or FILE.safetensors"),
        ("nothing", [f"--out={tmp_path}/x.jaxcaps"], "no such folder or file"),
    ):
        outcome = command("export", restore, "--to=bundle", *flags)
        assert outcome.status == 2
        assert words in outcome.errors
    for to, out in (("bundle", "x.jaxcaps"), ("safetensors", "x")):
        (place / "run" / "metrics.json").rename(tmp_path / "kept")
        outcome = command("export", "run", f"--to={to}", f"--out={tmp_path / out}")
        (tmp_path / "kept").rename(place / "run" / "metrics.json")
        assert outcome.status == 2
        assert "has not finished" in outcome.errors
    assert {path.name for path in tmp_path.iterdir()} == {"file", "there.jaxcaps"}


def test_scores_that_evaluate_did_not_write_are_named(place, command, tmp_path):
    other = place / "run" / "metrics-mine.json"
    other.write_text("{}")
    outcome = command("export", "run", "--to=bundle", f"--out={tmp_path}/x.jaxcaps")
    other.unlink()
    assert (outcome.status, list(tmp_path.iterdir())) == (2, [])
    assert f"{other} has no 'data', so jaxcaps.evaluate did not write it" in outcome.errors


def test_a_folder_that_has_appeared_meanwhile_is_left_alone(tmp_path, monkeypatch):
    out = tmp_path / "x"

    def write(model, folder):
        out.mkdir()
        (out / "mine.txt").write_text("mine")

    for name in ("description", "card"):
        monkeypatch.setattr(f"jaxcaps.exporting.writing.{name}", lambda *_: "")
    monkeypatch.setattr("jaxcaps.exporting.writing.load_classifier", lambda restore: None)
    monkeypatch.setattr("jaxcaps.exporting.writing.FORMATS.find", lambda *_: Format(write, ""))
    with pytest.raises(UserError, match=f"--out={out}: cannot be put in place"):
        export(tmp_path, "late", out)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["x", "x/mine.txt"]


def test_a_damaged_file_is_named_by_every_command(place, command, tmp_path):
    for name, flip in (("run.jaxcaps", b'"temperature"'), ("out/model.safetensors", b"temperature")):
        content = (place / name).read_bytes()
        damaged = tmp_path / f"damaged.{name.rpartition('.')[2]}"
        damaged.write_bytes(content.replace(flip, flip.upper()))
        for command_name, flags in (
            ("predict", ["--images=x", f"--out={tmp_path}/x.csv"]),
            ("evaluate", [f"--out={tmp_path}/x"]),
            ("report", [f"--out={tmp_path}/x.html"]),
            ("export", [f"--out={tmp_path}/x"]),
            ("train", ["--stage=finetune"]),
        ):
            outcome = command(command_name, damaged, *flags)
            assert outcome.status == 2, outcome.output
            assert f"{damaged} is damaged" in outcome.errors or "no results of a run" in outcome.errors
    assert {path.name for path in tmp_path.iterdir()} == {"damaged.jaxcaps", "damaged.safetensors"}
