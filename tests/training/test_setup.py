"""What a run starts from."""

import dataclasses

import numpy as np
import pytest

from jaxcaps.config import to_dict
from jaxcaps.plan.flags import parse_config
from jaxcaps.training.checkpoint import Checkpoints
from jaxcaps.training.folder import RunLog
from jaxcaps.training.setup import starting_parameters
from jaxcaps.training.state import TrainState
from tests.training.test_step import config_of, network_of


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """The folder of a pre-training with settings of its own, and its parameters."""
    folder = tmp_path_factory.mktemp("earlier")
    config = config_of("ssl", inpaint={"temperature": 0.3}, data={"split_seed": 5}, optimizer={"lr": 0.5})
    parameters = {path: np.asarray(value) for path, value in network_of(config)[1].items()}
    with RunLog() as log, Checkpoints(folder) as checkpoints:
        log.claim(folder, config)
        checkpoints.save(
            TrainState(np.int32(7), np.int32(7), parameters, np.zeros(1)), None, {"config": to_dict(config)}
        )
    return folder, parameters


def test_a_pre_training_goes_on_with_the_task_and_all_parameters_but_not_with_the_recipe(earlier):
    folder, parameters = earlier
    config = parse_config(["--stage=ssl", f"--restore={folder}"])
    assert (config.task, config.inpaint.temperature, config.data.split_seed) == ("inpaint", 0.3, 5)
    assert config.optimizer.lr != 0.5
    fresh = {path: np.zeros_like(value) for path, value in parameters.items()}
    found = starting_parameters(config, fresh)
    assert found.keys() == parameters.keys()
    for path, value in parameters.items():
        np.testing.assert_array_equal(found[path], value, err_msg=path)


def test_another_task_takes_the_encoder_alone(earlier):
    folder, parameters = earlier
    config = parse_config(["--stage=ssl", f"--restore={folder}", "--task=vicreg"])
    fresh = {
        path: np.zeros_like(value) for path, value in network_of(dataclasses.replace(config, restore=None))[1].items()
    }
    found = starting_parameters(config, fresh)
    for path, value in found.items():
        np.testing.assert_array_equal(
            value, parameters[path] if path.startswith("encoder/") else fresh[path], err_msg=path
        )
    assert any(path.startswith("expander/") for path in found)
