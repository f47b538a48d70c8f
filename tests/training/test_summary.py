"""What a run says at its end."""

import dataclasses
import shlex

from jaxcaps.plan.flags import parse_config
from jaxcaps.plan.presets import preset
from jaxcaps.training.folder import RunLog
from jaxcaps.training.summary import summary


def commands(text):
    return [line.strip() for line in text.splitlines() if line.strip().startswith("python -m")]


def test_a_pre_training_names_its_files_and_the_fine_tuning_after_it(tmp_path):
    folder = tmp_path / "my run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "encoder.safetensors").touch()
    text = summary(folder, preset("tiny", "ssl"))
    assert [line.split()[0] for line in text.splitlines() if line.startswith("  ")][:2] == [
        "encoder.safetensors",
        "checkpoints",
    ]
    (command,) = commands(text)
    assert shlex.split(command)[3:] == ["--stage=finetune", f"--restore={folder}", f"--out={folder}-finetune"]


def test_a_classifier_is_compared_with_the_same_network_from_random_parameters(tmp_path):
    """The command that the summary gives starts the same run without pre-training."""
    config = dataclasses.replace(preset("tiny", "finetune"), restore="pretrained:busi-demo", seed=3, out=str(tmp_path))
    with RunLog() as log:
        log.claim(tmp_path, config)
    command = next(line for line in commands(summary(tmp_path, config)) if "random" in line)
    again = parse_config(shlex.split(command)[3:])
    assert again == dataclasses.replace(config, restore=None, out=f"{tmp_path}-random")
    assert len(commands(summary(tmp_path, dataclasses.replace(config, restore=None)))) == 2
