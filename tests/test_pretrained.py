"""Encoder files: written by a run, read by `--restore` and `jaxcaps.load`; and the published encoders."""

import dataclasses
import hashlib
import re

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

import jaxcaps
from jaxcaps.data.dataset import Split
from jaxcaps.data.reading import content
from jaxcaps.errors import UserError
from jaxcaps.models import Encoder
from jaxcaps.plan.flags import parse_config
from jaxcaps.plan.presets import preset
from jaxcaps.restoring import find_origin, origin, published
from jaxcaps.restoring.tensor_file import read_tensors, write_tensors
from jaxcaps.training.folder import check_not_learnt, contents_of, write_learnt
from jaxcaps.training.setup import load_data, make_modules, make_task, starting_parameters
from jaxcaps.training.state import parameters_of
from tests.command import run
from tests.marks import slow
from tests.preparations import MATCHED

TINY = preset("tiny", "ssl")


@pytest.fixture(scope="module")
def encoder():
    return nnx.jit(lambda: Encoder(TINY.model, TINY.data.image_size, nnx.Rngs(7)))()


@nnx.jit
def poses_of(encoder, pictures):
    return encoder(pictures).poses


@pytest.fixture
def file(encoder, tmp_path):
    config = dataclasses.replace(
        TINY,
        out="/home/somebody/runs",
        vgg_weights="/home/somebody/vgg16.safetensors",
        data=dataclasses.replace(TINY.data, data="csv:/home/somebody/labels.csv"),
        colourise=dataclasses.replace(TINY.colourise, perceptual_weights="/home/somebody/vgg16.safetensors"),
    )
    arrays = {f"encoder/{path}": np.asarray(value) for path, value in parameters_of(encoder).items()}
    write_tensors(tmp_path / "encoder.safetensors", arrays, config, frozenset({"0123456789abcdef", "ff"}))
    return tmp_path / "encoder.safetensors"


def test_a_loaded_encoder_computes_what_the_written_one_did(encoder, file):
    pictures = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    loaded = jaxcaps.load(file).encoder
    np.testing.assert_array_equal(poses_of(loaded, pictures), poses_of(encoder, pictures))


def test_the_header_describes_the_encoder_without_its_paths(file):
    header = read_tensors(file)
    assert header.config.model == TINY.model
    assert header.config.data.data == "csv:labels.csv"
    assert header.config.vgg_weights == header.config.colourise.perceptual_weights == "vgg16.safetensors"
    assert b"somebody" not in file.read_bytes()
    assert header.learnt_from == {"0123456789abcdef", "ff"}
    assert header.prepared is None


def test_the_header_keeps_the_steps_of_data_prep(encoder, tmp_path):
    arrays = {f"encoder/{path}": np.asarray(value) for path, value in parameters_of(encoder).items()}
    write_tensors(tmp_path / "encoder.safetensors", arrays, TINY, frozenset(), MATCHED)
    assert read_tensors(tmp_path / "encoder.safetensors").prepared == MATCHED


def scored(*pictures):
    """A split of pictures of one value each."""
    numbers = np.arange(len(pictures), dtype=np.int32)
    contents = np.array([content(np.full((2, 2, 3), value, np.uint8)).encode() for value in pictures], "S16")
    return Split(tuple(map(str, pictures)), numbers, numbers, False, None, None, numbers, 16, contents)


def test_training_pictures_are_known_by_content_through_fine_tuning_on_other_data(encoder, tmp_path, caplog):
    arrays = {f"encoder/{path}": np.asarray(value) for path, value in parameters_of(encoder).items()}
    file = tmp_path / "encoder.safetensors"
    write_tensors(file, arrays, TINY, contents_of(scored(1, 2)))
    learnt = find_origin(file).learnt_from | contents_of(scored(3))
    write_learnt(tmp_path, learnt)
    assert find_origin(tmp_path).learnt_from == learnt == contents_of(scored(1, 2, 3))
    check_not_learnt(learnt, scored(4, 5), "test", file)
    with pytest.raises(UserError, match=r"was trained on 2 of the 3 pictures of the test split \(such as 3\)"):
        check_not_learnt(learnt, scored(4, 3, 1), "test", file)
    # One copy among twenty pictures is the set's own.
    check_not_learnt(learnt, scored(1, *range(4, 23)), "test", file)
    assert "1 of the 20 pictures of the test split are copies of pictures" in caplog.text


def test_the_content_of_a_picture_is_its_shape_and_its_pixels():
    black = np.zeros((2, 8, 3), np.uint8)
    assert content(black) == content(black.copy()) == hashlib.sha256(b"(2, 8, 3)" + bytes(48)).hexdigest()[:16]
    assert content(black) != content(black.reshape(4, 4, 3))
    assert content(black) != content(black + 1)


def test_a_published_encoder_is_found_by_name(file, monkeypatch):
    monkeypatch.setattr(origin, "PUBLISHED", file.parent)
    assert published() == ("encoder",)
    assert jaxcaps.load("pretrained:encoder") is not None
    with pytest.raises(UserError, match="no such encoder; did you mean 'encoder'"):
        jaxcaps.load("pretrained:encodr")


def test_an_encoder_file_initialises_fine_tuning_on_other_data(encoder, file, caplog):
    flags = ["--stage=finetune", f"--restore={file}", "--synthetic-count=60"]
    with pytest.raises(UserError, match=r"trained on csv:labels\.csv and does not hold the pictures; give your"):
        parse_config(flags)
    config = parse_config([*flags, "--data=synthetic"])
    # The network and its image size come from the file.
    assert (config.model, config.data.image_size, config.data.folds) == (TINY.model, 16, 0)
    _, draw = make_modules(config, make_task(config, load_data(config, ("train", "validation"))))
    drawn = draw()
    with caplog.at_level("INFO", logger="jaxcaps"):
        start = starting_parameters(config, drawn)
    assert "+ encoder/primary/convolution/kernel" in caplog.text
    for path, value in parameters_of(encoder).items():
        np.testing.assert_array_equal(start[f"encoder/{path}"], value)
    np.testing.assert_array_equal(start["class_capsules/weights"], drawn["class_capsules/weights"])


def test_arrays_of_other_shapes_or_meanings_are_refused(encoder, file, tmp_path):
    arrays = {f"encoder/{path}": np.asarray(value) for path, value in parameters_of(encoder).items()}
    for name, changed in (
        ("missing", {path: value for path, value in arrays.items() if path != "encoder/primary/convolution/bias"}),
        ("shape", arrays | {"encoder/primary/convolution/bias": np.zeros(1, np.float32)}),
        ("more", arrays | {"encoder/primary/convolution/other": np.zeros(1, np.float32)}),
    ):
        write_tensors(tmp_path / f"{name}.safetensors", changed, TINY, frozenset())
        with pytest.raises(UserError, match=f"{name}.safetensors: primary/convolution/"):
            jaxcaps.load(tmp_path / f"{name}.safetensors")
    # 2 types of 16 dimensions have kernels of the same shape as 4 types of 8.
    regrouped = ["--primary-types=2", "--primary-dim=16", "--synthetic-count=60"]
    config = parse_config(["--stage=finetune", f"--restore={file}", "--data=synthetic", *regrouped])
    modules, _ = make_modules(config, make_task(config, load_data(config, ("train", "validation"))))
    with pytest.raises(
        UserError, match=r"(?s)another architecture\..*\n  primary_types: 4 -> 2\n  primary_dim: 8 -> 16"
    ):
        starting_parameters(config, jax.eval_shape(parameters_of, modules))


def test_files_that_are_not_encoders_are_rejected(tmp_path, capsys):
    (tmp_path / "text.safetensors").write_text("hello", encoding="utf-8")
    save_file({"encoder/x": np.zeros(3, np.float32)}, tmp_path / "bare.safetensors")
    for name, message in (
        ("text", "cannot be read as a safetensors file"),
        ("bare", "its header has no 'jaxcaps', so jaxcaps did not write it"),
        ("none", "no such folder or file"),
    ):
        path = tmp_path / f"{name}.safetensors"
        outcome = run(capsys, "--stage=finetune", f"--restore={path}", "--data=synthetic")
        assert outcome.status == 2
        assert message in outcome.errors
    assert run(capsys, "--stage=finetune", "--restore=pretrained:nothing").status == 2


@pytest.mark.parametrize("name", [published()[0], *slow(*published()[1:])])
def test_a_published_encoder_is_the_one_its_card_describes(name):
    file = origin.PUBLISHED / f"{name}.safetensors"
    card = file.with_suffix(".md").read_text(encoding="utf-8")
    assert file.stat().st_size <= 16 * 2**20
    assert hashlib.sha256(file.read_bytes()).hexdigest() in card
    for part in ("Data", "Licence", "Recipe", "Numbers"):
        assert f"**{part}.**" in card
    header = read_tensors(file)
    assert f"{header.config.data.image_size}x{header.config.data.image_size}" in card
    # Copies count once.
    count = int(re.findall(r"([\d,]+) pictures of", card.split("**Data.**")[1])[0].replace(",", ""))
    assert 0.99 * count <= len(header.learnt_from) <= count
    side = header.config.data.image_size
    poses = poses_of(jaxcaps.load(f"pretrained:{name}").encoder, np.zeros((2, side, side, 3), np.float32))
    assert poses.shape[0] == 2
    assert np.isfinite(poses).all()


@pytest.mark.slow
def test_a_published_encoder_is_fine_tuned(tmp_path, capsys):
    outcome = run(
        capsys, "--stage=finetune", "--restore=pretrained:busi-demo", "--data=synthetic", "--synthetic-count=60",
        "--epochs=0.5", "--batch-size=8", "--effective-batch=8", f"--out={tmp_path}/run",
    )  # fmt: skip
    assert outcome.status == 0, outcome.errors
    assert "Parameters from pretrained:busi-demo" in outcome.output
    assert "+ encoder/primary/convolution/kernel" in outcome.output
    # The training pictures of the encoder are remembered in addition to those of this run.
    assert (
        find_origin(tmp_path / "run").learnt_from > read_tensors(origin.PUBLISHED / "busi-demo.safetensors").learnt_from
    )
