"""The sources of a configuration's values, and the identity of runs."""

import dataclasses
import re

import pytest

from data_prep.flags import flag_names
from jaxcaps.config import from_dict, merged, read_yaml, to_dict
from jaxcaps.errors import UserError
from jaxcaps.plan.config import Config, architecture_hash, identity, recorded_config, start_of, yaml_text
from jaxcaps.plan.flags import KNOWN_AS, configure, parse_config
from jaxcaps.plan.help import COMMON
from jaxcaps.plan.presets import PRESETS, preset


@pytest.mark.parametrize("stage", ["ssl", "finetune"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_yaml(name, stage, tmp_path):
    config = preset(name, stage)
    (tmp_path / "config.yaml").write_text(yaml_text(config))
    assert from_dict(Config, read_yaml(tmp_path / "config.yaml"), "config.yaml") == config
    assert (config.preset, config.stage) == (name, stage)


def test_flags_override_the_file_which_overrides_the_preset(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("preset: tiny\ntraining:\n  epochs: 7\n  batch_size: 8\noptimizer:\n  lr: 1e-3\n")
    config = parse_config([f"--config={file}", "--epochs=9"])
    assert config.preset == "tiny"
    assert config.data.image_size == 16
    assert (config.training.epochs, config.training.batch_size) == (9, 8)
    # YAML 1.1 reads 1e-3 as text.
    assert config.optimizer.lr == 0.001


def test_a_flags_value_may_follow_after_a_space():
    assert parse_config(["--preset", "tiny", "--stage", "finetune"]).stage == "finetune"


@pytest.fixture
def earlier(tmp_path):
    """The folder of an earlier run on the user's data, with another network."""
    folder = tmp_path / "ssl"
    folder.mkdir()
    config = preset("tiny", "ssl")
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, data="csv:/data/labels.csv", split_seed=5),
        model=dataclasses.replace(config.model, primary_types=8),
        training=dataclasses.replace(config.training, epochs=99),
    )
    (folder / "config.yaml").write_text(yaml_text(config))
    return folder


def test_restore_gives_data_architecture_and_preset_but_not_the_length(earlier):
    config = parse_config(["--stage=finetune", f"--restore={earlier}"])
    assert config.data.data == "csv:/data/labels.csv"
    assert config.data.split_seed == 5
    assert config.model.primary_types == 8
    assert config.preset == "tiny"
    assert config.training == preset("tiny", "finetune").training


def test_flags_win_over_restore_and_a_named_preset_replaces_the_network_but_not_the_data(earlier):
    config = parse_config(["--stage=finetune", f"--restore={earlier}", "--split-seed=6"])
    assert config.data.split_seed == 6
    assert config.data.data == "csv:/data/labels.csv"
    config = parse_config(["--stage=finetune", f"--restore={earlier}", "--preset=small64"])
    assert config.model == preset("small64", "finetune").model
    assert config.data.image_size == 64
    assert config.data.data == "csv:/data/labels.csv"


def test_the_path_of_the_data_is_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_config(["--data=csv:set/labels.csv"]).data.data == f"csv:{tmp_path}/set/labels.csv"
    assert parse_config(["--data=synthetic"]).data.data == "synthetic"
    assert parse_config(["--data=tfds:mnist:3.0.1"]).data.data == "tfds:mnist:3.0.1"
    assert parse_config(["--data=tfds:mnist@sets"]).data.data == f"tfds:mnist@{tmp_path}/sets"


def test_the_machine_is_not_part_of_a_runs_identity():
    config = preset("tiny", "ssl")
    elsewhere = dataclasses.replace(config, out="x", machine=dataclasses.replace(config.machine, process_id=1))
    assert identity(config) == identity(elsewhere)
    assert identity(config) != identity(dataclasses.replace(config, seed=1))


def test_a_wrong_type_in_a_file_is_named():
    with pytest.raises(UserError, match=r"my\.yaml.*epochs"):
        from_dict(Config, merged(to_dict(preset("tiny", "ssl")), {"training": {"epochs": [1]}}), "my.yaml")


def test_the_architecture_hash_depends_only_on_the_computation_of_the_classifier():
    config = preset("tiny", "finetune")
    same = [
        dataclasses.replace(config, seed=3),
        dataclasses.replace(config, restore="runs/ssl"),
        dataclasses.replace(config, model=dataclasses.replace(config.model, ssl_capsules=9, decoder_skips=True)),
    ]
    other = [
        dataclasses.replace(config, model=dataclasses.replace(config.model, routing_iterations=1)),
        dataclasses.replace(config, model=dataclasses.replace(config.model, extra_convs=6)),
        dataclasses.replace(config, model=dataclasses.replace(config.model, capsule_dim=8)),
        dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=32)),
        dataclasses.replace(config, classify=dataclasses.replace(config.classify, loss="cross-entropy")),
    ]
    mine = architecture_hash(config, 3)
    assert {architecture_hash(each, 3) for each in same} == {mine}
    assert len({architecture_hash(each, 3) for each in other} | {mine, architecture_hash(config, 4)}) == 7


def test_configure_takes_flags_as_keywords():
    flags = ["--stage=finetune", "--preset=tiny", "--lr=0.01", "--no-flip", "--crop-scale", "0.5", "1"]
    given = configure(stage="finetune", preset="tiny", lr=1e-2, flip=False, crop_scale=(0.5, 1), restore=None)
    assert given == parse_config(flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (dict(epcohs=3), "--epcohs: unknown flag; did you mean '--epochs'"),
        (dict(epochs="many"), "configure: Error parsing --epochs: .*'many'"),
        (dict(lr=-1), "--lr=-1.0: expected at least"),
        (dict(augmentation="standrad"), "--augmentation=standrad: unknown augmentation; did you mean 'standard'"),
    ],
)
def test_configure_names_what_is_wrong(flags, message):
    with pytest.raises(UserError, match=message):
        configure(preset="tiny", **flags)


def test_sections_of_tasks_that_are_not_installed_are_dropped():
    config = preset("tiny", "ssl")
    assert recorded_config(to_dict(config) | {"rotate": {"rotate_hidden": 128}}, "a run") == config
    with pytest.raises(UserError, match="a run: unknown key 'sead'; did you mean 'seed'"):
        recorded_config(to_dict(config) | {"sead": 3}, "a run")


def test_the_name_that_other_tools_use_is_understood():
    with pytest.raises(UserError, match="--learning-rate: unknown flag; did you mean --lr"):
        parse_config(["--learning-rate=1"])


def test_the_other_names_are_no_flags_and_stand_for_flags():
    flags = set(flag_names(Config))
    for other, instead in KNOWN_AS.items():
        assert other not in flags
        assert re.match(r"--([a-z-]+)", instead)[1] in flags


def shown(capsys, flag):
    """The flags that the help lists."""
    with pytest.raises(SystemExit) as stop:
        parse_config(["--preset=tiny", flag])
    assert stop.value.code == 0
    # Help texts that mention flags are indented further.
    return set(re.findall(r"(?m)^\W{1,2}--([a-z][a-z-]*)", capsys.readouterr().out)) - {"config"}


def test_the_help_has_the_common_flags_and_help_all_every_flag(capsys):
    common = {name.replace("_", "-") for name in COMMON} - {"config"}
    assert shown(capsys, "--help") == shown(capsys, "-h") == common
    everything = {name for name in flag_names(Config) if not name.startswith("no-")}
    assert shown(capsys, "--help-all") == everything
    assert len(everything) > 5 * len(common)


def test_a_run_says_what_its_parameters_start_from():
    config = preset("tiny", "finetune")
    assert start_of(config) == "random initialisation"
    imagenet = dataclasses.replace(config, vgg_weights="vgg16.npz")
    assert start_of(imagenet) == "vgg16.npz in the stem and random initialisation elsewhere"
    assert start_of(dataclasses.replace(config, stage="finetune", restore="runs/a")) == "the encoder of runs/a"
    assert start_of(dataclasses.replace(config, stage="ssl", restore="runs/a")) == "runs/a"
