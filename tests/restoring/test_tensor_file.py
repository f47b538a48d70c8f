"""A safetensors file gives back what was written; a changed byte is noticed."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from jaxcaps.errors import UserError
from jaxcaps.plan.presets import preset
from jaxcaps.restoring.tensor_file import FORMAT, KEY, read_tensors, write_tensors
from tests.preparations import MATCHED

ARRAYS = {
    "encoder/kernel": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "scale": np.float32(2),
    "familiar/mean": np.ones(2),
}


@pytest.fixture
def file(tmp_path):
    write_tensors(
        tmp_path / "x.safetensors", ARRAYS, preset("tiny", "ssl"), frozenset("ab"), MATCHED, classes=["ä", "b"]
    )
    return tmp_path / "x.safetensors"


def test_a_file_gives_back_what_was_written(file, tmp_path):
    stored = read_tensors(file)
    assert stored.arrays.keys() == ARRAYS.keys()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(stored.arrays[name], value)
        assert stored.arrays[name].shape == value.shape
        assert stored.arrays[name].dtype == value.dtype
    assert stored.parameters.keys() == {"encoder/kernel", "scale"}
    assert (stored.learnt_from, stored.prepared, stored.more) == ({"a", "b"}, MATCHED, {"classes": ["ä", "b"]})
    assert stored.config == preset("tiny", "ssl")
    write_tensors(tmp_path / "y", ARRAYS, preset("tiny", "ssl"), stored.learnt_from, stored.prepared, **stored.more)
    assert (tmp_path / "y").read_bytes() == file.read_bytes()


def test_every_changed_byte_is_noticed(file):
    content = file.read_bytes()
    # The header is long text, so a part of it has to do.
    places = {*range(40), *range(40, len(content), 97), *range(len(content) - 100, len(content), 3)}
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        with pytest.raises(UserError, match=r"x\.safetensors"):
            read_tensors(file)
    file.write_bytes(content[:-1] + b"\x7f")
    with pytest.raises(UserError, match=r"x\.safetensors is damaged: its contents do not fit its checksum"):
        read_tensors(file)


@pytest.mark.parametrize(("kind", "name", "size"), [("BF16", "bfloat16", 2), ("F8_E5M2", "float8_e5m2", 1)])
def test_numbers_that_numpy_does_not_know_are_named(kind, name, size, tmp_path):
    file = tmp_path / "x.safetensors"
    header = json.dumps({"weight": {"dtype": kind, "shape": [4 // size], "data_offsets": [0, 4]}}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    # Without jax, which tells NumPy of bfloat16.
    call = "import sys, pathlib\nfrom jaxcaps.restoring.tensor_file import read_safetensors\n"
    call += "assert 'jax' not in sys.modules\nread_safetensors(pathlib.Path(sys.argv[1]))"
    process = subprocess.run([sys.executable, "-c", call, str(file)], capture_output=True, text=True)
    last = process.stderr.splitlines()[-1]
    assert f"UserError: {file} has numbers of a type that NumPy does not know" in last
    assert name in last


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"format": 7, "version": "9.0"},
            f"has format 7, written by jaxcaps 9.0, and this version reads format {FORMAT}",
        ),
        ({"sha256": "0"}, "do not fit its checksum"),
        ({"learnt_from": None}, "do not fit its checksum"),
    ],
)
def test_another_format_or_another_header_is_refused(file, changes, words):
    with safe_open(file, framework="numpy") as opened:
        header = json.loads(opened.metadata()[KEY])
    save_file(read_tensors(file).arrays, file, metadata={KEY: json.dumps(header | changes)})
    with pytest.raises(UserError, match=words):
        read_tensors(file)
    for text in ("[]", "{}", "{"):
        save_file({"x": np.zeros(1)}, file, metadata={KEY: text})
        with pytest.raises(UserError, match="its header is damaged"):
            read_tensors(file)
