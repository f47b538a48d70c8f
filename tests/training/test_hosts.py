"""Two processes with two devices each give the same training as one process with four."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxcaps.training.checkpoint import read_parameters
from tests.compilation import flags

# Only the contrast needs the pictures of both hosts. Using it alone halves the compilation.
FLAGS = ("--stage=ssl", "--preset=tiny", "--synthetic-count=60", "--epochs=1", "--inpaint-weight=0", "--no-report")


def start(devices, out, *more):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "XLA_FLAGS": flags(devices)}
    return subprocess.Popen(
        [sys.executable, "-m", "jaxcaps.train", *FLAGS, f"--out={out}", *more],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_two_hosts_train_as_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hosts = [
        start(2, tmp_path / "two", f"--coordinator=127.0.0.1:{port}", "--num-processes=2", f"--process-id={number}")
        for number in range(2)
    ]
    alone = start(4, tmp_path / "one")
    outputs = [process.communicate(timeout=900)[0] for process in (*hosts, alone)]
    for process, output in zip((*hosts, alone), outputs, strict=True):
        assert process.returncode == 0, output
    assert "4 device(s)" in outputs[0]
    one, two = (read_parameters(tmp_path / name)[0] for name in ("one", "two"))
    for path in one:
        np.testing.assert_allclose(two[path], one[path], rtol=1e-4, atol=1e-5, err_msg=path)
