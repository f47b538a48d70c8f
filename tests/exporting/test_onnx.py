"""`--to=onnx`: what ONNX Runtime computes equals the model, the card's script runs, and what differs is refused."""

import json
import os
import re
import subprocess
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcaps
from jaxcaps.exporting.onnx import INPUT, difference
from tests.command import run


def brightness(pictures):
    shares = jnp.mean(pictures.astype(jnp.float32), axis=(1, 2)) / 255
    return {"probabilities": shares, "unfamiliarity": jnp.sum(shares, axis=1)}


class Session:
    """An ONNX Runtime session that computes brightness, and adds `error` to the second share of each picture."""

    def __init__(self, error):
        self.error = error

    def run(self, names, inputs):
        found = jax.device_get(jax.jit(brightness)(inputs[INPUT]))
        found["probabilities"] = found["probabilities"] + np.array([[0, self.error, 0]], np.float32)
        return [found[name] for name in names]


def test_a_program_that_differs_is_noticed():
    assert difference(brightness, Session(2e-5), (4, 4, 3)) is None
    for error in (0.1, float("nan")):
        found = difference(brightness, Session(error), (4, 4, 3))
        assert found == f"the probabilities of the converted network are {error:.2g} away from its own"


def test_what_is_not_installed_is_named(place, tmp_path, capsys, monkeypatch):
    for module, stands in (("jax2onnx", sys), ("onnx", sys), ("onnxruntime", None)):
        monkeypatch.setitem(sys.modules, module, stands)
    outcome = run(capsys, f"--restore={place}/run", "--to=onnx", f"--out={tmp_path}/x", command="export")
    assert (outcome.status, list(tmp_path.iterdir())) == (2, [])
    assert "--to=onnx needs onnxruntime; install it with pip install 'jaxcaps[onnx]'" in outcome.errors


# Importing jax2onnx takes half a minute. It uses names that JAX is about to remove.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx_runtime_computes_what_the_model_computes(place, capsys):
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install '.[onnx]'")
    pytest.importorskip("jax2onnx", reason="pip install '.[onnx]'")
    out = place / "onnx"
    outcome = run(capsys, f"--restore={place}/run", "--to=onnx", f"--out={out}", command="export")
    assert outcome.status == 0, outcome.errors
    assert {file.name for file in out.iterdir()} == {"README.md", "SHA256SUMS", "model.json", "model.onnx"}
    model, session = jaxcaps.load(place / "run"), onnxruntime.InferenceSession(out / "model.onnx")
    metadata = session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(value) for name, value in metadata.items()} == json.loads((out / "model.json").read_text())
    for count in (1, 5):
        pictures = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), np.uint8)
        names = [output.name for output in session.get_outputs()]
        answer = dict(zip(names, session.run(names, {INPUT: pictures}), strict=True))
        np.testing.assert_allclose(answer["probabilities"], model.predict_proba(pictures), rtol=1e-5)
        np.testing.assert_allclose(answer["unfamiliarity"], model.unfamiliarity(pictures), rtol=1e-5)
    (script,) = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    picture = np.random.default_rng(0).integers(0, 256, (20, 70, 3), np.uint8)
    cv2.imwrite(str(place / "picture.png"), picture)
    command = "import sys\nsys.modules['jax'] = None\n" + script.replace('"model.onnx"', '"onnx/model.onnx"')
    process = subprocess.run(
        [sys.executable, "-c", command], cwd=place, env=os.environ, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert float(process.stdout.split()[1]) == pytest.approx(*model.unfamiliarity(picture[None, ..., ::-1]), rel=1e-5)
