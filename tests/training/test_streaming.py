"""Streamed data gives the same parameters as data in memory."""

import dataclasses

import numpy as np
import pytest

from jaxcaps.plan.presets import preset
from jaxcaps.training import train
from jaxcaps.training.checkpoint import read_parameters


@pytest.mark.slow
def test_streamed_data_gives_the_same_parameters_as_data_in_memory(tmp_path):
    config = preset("tiny", "finetune")
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, epochs=1))
    results = []
    for name, megabytes in (("kept", 2048), ("streamed", 0)):
        data = dataclasses.replace(config.data, cache_mb=megabytes)
        folder = train(dataclasses.replace(config, data=data, out=str(tmp_path / name))).folder
        results.append(read_parameters(folder)[0])
    for path in results[0]:
        np.testing.assert_array_equal(results[0][path], results[1][path], err_msg=path)
