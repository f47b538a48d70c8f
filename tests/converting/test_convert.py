"""Converted networks give the outputs of the PyTorch networks: computed in NumPy, and recorded from those published."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file
from scipy.special import softmax

from jaxcaps import convert
from jaxcaps.errors import UserError
from jaxcaps.training.state import parameters_of
from tests.command import run
from tests.converting.drawing import EVERY, LABEL, SHAPES, parameters, pictures
from tests.marks import slow

# A network of every kind for pictures of 14x14 with two channels: maps of 12x12, then 5x5.
CHANNELS, SIDE, WIDTH, KERNEL, TYPES, DIM, CLASSES, CLASS_DIM = 2, 14, 6, 3, 4, 8, 3, 5
IN = 25 * TYPES
DECODER = [(7, CLASSES * CLASS_DIM), (9, 7), (CHANNELS * SIDE**2, 9)]


def small(name, decoder=True):
    """Parameters of a small network, named as those of a published one."""
    lengths = {
        "gram-ai": {"digit_capsules.route_weights": (CLASSES, IN, DIM, CLASS_DIM)},
        "jindong-wang": {"digit_capsules.W": (1, IN, CLASSES, CLASS_DIM, DIM)},
        "xifeng-guo": {"digitcaps.weight": (CLASSES, IN, CLASS_DIM, DIM)},
    }[name]
    for full, shape in SHAPES[name].items():
        if "conv1" in full or "conv_layer" in full:
            lengths[full] = (WIDTH, CHANNELS, KERNEL, KERNEL)[: len(shape)]
        elif "decoder" in full:
            layer, kind = full.rsplit(".", 2)[1:]
            sizes = DECODER[int(layer) // 2]
            if decoder:
                lengths[full] = sizes if kind == "weight" else sizes[:1]
        elif "primary" in full:
            numbers = TYPES * DIM if name == "xifeng-guo" else TYPES
            lengths[full] = (numbers, WIDTH, KERNEL, KERNEL)[: len(shape)]
    return parameters(lengths)


def convolved(maps, weight, bias, stride):
    """[channels, rows, columns], as PyTorch's Conv2d."""
    windows = np.lib.stride_tricks.sliding_window_view(maps, weight.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("crsij,ocij->ors", windows, weight) + bias[:, None, None]


def squashed(vectors):
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return norms * vectors / (1 + norms**2)


def expected_poses(name, arrays, picture):
    """The class capsules of one picture, by what the source of each network says."""
    arrays = {key: value.astype(np.float64) for key, value in arrays.items()}
    first = "conv_layer.conv" if name == "jindong-wang" else "conv1"
    features = np.maximum(convolved(picture, arrays[f"{first}.weight"], arrays[f"{first}.bias"], 1), 0)
    if name == "xifeng-guo":
        maps = convolved(features, arrays["primarycaps.conv2d.weight"], arrays["primarycaps.conv2d.bias"], 2)
        poses = squashed(maps.reshape(-1, DIM))
        votes = np.einsum("jide,ie->ijd", arrays["digitcaps.weight"], poses)
    else:
        capsules = [f"primary_capsules.capsules.{index}" for index in range(DIM)]
        maps = [convolved(features, arrays[f"{each}.weight"], arrays[f"{each}.bias"], 2) for each in capsules]
        if name == "gram-ai":
            poses = squashed(np.stack([each.reshape(-1) for each in maps], axis=-1))
            votes = np.einsum("ie,jied->ijd", poses, arrays["digit_capsules.route_weights"])
        else:
            poses = squashed(np.stack(maps).reshape(IN, -1))
            votes = np.einsum("ijde,ie->ijd", arrays["digit_capsules.W"][0], poses)
    logits = np.zeros(votes.shape[:2])
    for _ in range(3):
        couplings = softmax(logits, axis=1 if name == "xifeng-guo" else 0)
        sums = np.einsum("ij,ijd->jd", couplings, votes)
        outputs = squashed(sums[..., None])[..., 0] if name == "jindong-wang" else squashed(sums)
        logits = logits + np.einsum("ijd,jd->ij", votes, outputs)
    return outputs


def expected_picture(name, arrays, poses, label):
    x = np.where(np.arange(CLASSES)[:, None] == label, poses, 0).reshape(-1)
    prefix = "decoder.reconstraction_layers" if name == "jindong-wang" else "decoder"
    for layer in (0, 2, 4):
        x = arrays[f"{prefix}.{layer}.weight"] @ x + arrays[f"{prefix}.{layer}.bias"]
        x = 1 / (1 + np.exp(-x)) if layer == 4 else np.maximum(x, 0)
    return x.reshape(CHANNELS, SIDE, SIDE)


@nnx.jit
def outputs(network, images, labels):
    """Poses of the class capsules, and reconstructions from those of the labels, in PyTorch's order of axes."""
    poses = network(images).poses
    return poses, network.reconstruct(poses, labels).transpose(0, 3, 1, 2)


def ours(network, images, label):
    labels = np.full(len(images), label, np.int32)
    return jax.device_get(outputs(network, images.transpose(0, 2, 3, 1), labels))


@pytest.mark.parametrize("name", ["xifeng-guo", "gram-ai", *slow("jindong-wang")])
def test_a_small_network_of_colour_pictures_equals_its_formulas(name):
    arrays = small(name)
    images = pictures(2, (CHANNELS, SIDE, SIDE))
    poses, made = ours(convert.sabour(arrays), images, 1)
    expected = np.stack([expected_poses(name, arrays, image) for image in images])
    # Neither vanishing nor saturated, and different for each picture.
    assert 0.005 < np.abs(expected).mean() < 0.9
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    np.testing.assert_allclose(poses, expected, atol=1e-5)
    pictures_made = [expected_picture(name, arrays, each, 1) for each in expected]
    np.testing.assert_allclose(made, pictures_made, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_a_network_equals_the_published_one(name):
    """Numbers that the code of each repository computed in PyTorch; see record.py."""
    recorded = json.loads((Path(__file__).parent / "published.json").read_text())[name]
    poses, made = ours(convert.sabour(parameters(SHAPES[name])), pictures(2), LABEL)
    np.testing.assert_allclose(poses, recorded["poses"], atol=1e-5)
    np.testing.assert_allclose(made.reshape(2, -1)[:, ::EVERY], recorded["pixels"], atol=1e-5)


def assert_equal(network, other):
    ours, theirs = parameters_of(network), parameters_of(other)
    assert ours.keys() == theirs.keys()
    for path in ours:
        np.testing.assert_array_equal(ours[path], theirs[path], err_msg=path)


def test_the_command_writes_a_file_that_is_loaded(tmp_path, capsys):
    arrays = small("xifeng-guo")
    save_file(arrays, tmp_path / "weights.safetensors")
    # What parallel training adds to names, and double precision, do not matter.
    np.savez(tmp_path / "weights.npz", **{f"module.{name}": each.astype(float) for name, each in arrays.items()})
    for suffix in ("safetensors", "npz"):
        out = tmp_path / f"of-{suffix}.safetensors"
        weights = tmp_path / f"weights.{suffix}"
        outcome = run(capsys, f"--weights={weights}", f"--out={out}", "--iterations=2", command="convert")
        assert outcome.status == 0, outcome.errors
        assert "https://github.com/XifengGuo/CapsNet-Pytorch, for pictures of 14x14 with 2 channel(s)" in outcome.output
        network = convert.load(out)
        assert network.class_capsules.routing.iterations == 2
        assert_equal(network, convert.sabour(arrays))
    again = run(capsys, f"--weights={weights}", f"--out={out}", command="convert")
    assert again.status == 2
    assert "exists; nothing was changed" in again.errors


def test_a_network_without_a_decoder_is_converted():
    network = convert.sabour(small("gram-ai", decoder=False))
    assert network.decoder is None
    assert network.class_capsules.weights.shape == (IN, CLASSES, CLASS_DIM, DIM)


def without(arrays, *names):
    return {name: value for name, value in arrays.items() if name not in names}


GRAM, GUO = small("gram-ai"), small("xifeng-guo")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (without(GUO, "digitcaps.weight"), "nearest is xifeng-guo .*: it lacks digitcaps.weight$"),
        (
            without(GUO, "digitcaps.weight") | {"digitcaps.weights": GUO["digitcaps.weight"]},
            "lacks digitcaps.weight; it does not know digitcaps.weights; did you mean 'digitcaps.weight'",
        ),
        (
            GRAM | {"digit_capsules.route_logits": np.zeros((CLASSES, 1, IN, 1, 1), np.float32)},
            "nearest is gram-ai .*: it does not know digit_capsules.route_logits",
        ),
        (GUO | {"digitcaps.weight": GUO["digitcaps.weight"][:, :-1]}, "99 primary capsules of dimension 8 .* square"),
        (GUO | {"conv1.bias": np.zeros(5, np.float32)}, r"conv1.bias: shape \[6\] expected \(width\), found \[5\]"),
        (GUO | {"conv1.bias": np.full(WIDTH, np.nan, np.float32)}, "conv1.bias: finite floating-point numbers"),
        (GUO | {"decoder.0.weight": np.zeros((7, 5), np.float32)}, "turns 5 numbers into 392; expected 15"),
        ({}, "parameters by name expected"),
        ({"model": GUO | {"epoch": 3}}, "parameters by name expected"),
    ],
    ids=str,
)
def test_parameters_that_do_not_fit_are_named(arrays, message):
    with pytest.raises(UserError, match=message):
        convert.sabour(arrays)


def test_bfloat16_is_read_as_float32(tmp_path):
    arrays = {name: value.astype(jnp.bfloat16) for name, value in GUO.items()}
    save_file(arrays, tmp_path / "w.safetensors")
    expected = {name: value.astype(np.float32) for name, value in arrays.items()}
    assert_equal(convert.sabour(tmp_path / "w.safetensors"), convert.sabour(expected))


def test_files_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    for name, content in (("w.h5", b""), ("w.npz", b"no zip"), ("w.safetensors", b"no header"), ("w.pt", b"")):
        (tmp_path / name).write_bytes(content)
    # Importing a module that is None fails.
    monkeypatch.setitem(sys.modules, "torch", None)
    for name, message in (
        ("gone.npz", "no such file"),
        ("w.h5", r"give a \.safetensors, a \.npz, or a file of torch\.save"),
        ("w.npz", "cannot be read as arrays of NumPy"),
        ("w.safetensors", "cannot be read as a safetensors file"),
        ("w.pt", "needs PyTorch: pip install torch. Or save it where PyTorch is"),
    ):
        with pytest.raises(UserError, match=message):
            convert.sabour(tmp_path / name)
    np.savez(tmp_path / "nothing.npz")
    with pytest.raises(UserError, match=r"--weights=.*/nothing\.npz: parameters by name expected"):
        convert.sabour(tmp_path / "nothing.npz")
    save_file(GUO, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"was not written by jaxcaps\.convert"):
        convert.load(tmp_path / "w.safetensors")


@pytest.mark.slow
def test_a_file_of_pytorch_is_read_and_runs_no_code(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {f"module.{name}": torch.from_numpy(value) for name, value in GUO.items()}
    torch.save({"epoch": 3, "state_dict": tensors}, tmp_path / "checkpoint.pth")
    assert_equal(convert.sabour(tmp_path / "checkpoint.pth"), convert.sabour(GUO))
    assert_equal(convert.sabour(tensors), convert.sabour(GUO))

    class Touch:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"conv1.weight": Touch()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"cannot be read as weights alone .*save model\.state_dict\(\)"):
        convert.sabour(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()
