"""Every user error gives one message that names it and exit status 2, without a traceback or overwritten files."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from jaxcaps.plan.config import yaml_text
from jaxcaps.plan.flags import parse_config
from jaxcaps.plan.presets import preset
from tests.command import run

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), np.uint8)


def write_pictures(folder: Path, count: int = 30, **overrides: str) -> Path:
    """Writes a CSV data set of `count` pictures in three classes with splits; `overrides` replace rows by number."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), PICTURES[number])
        split = ("train", "train", "train", "validation", "test")[number // 3 % 5]
        rows.append(overrides.get(f"row{number}", f"{number}.png,{'abc'[number % 3]},g{number},{split}"))
    (folder / "labels.csv").write_text("path,label,group,split\n" + "\n".join(rows) + "\n")
    return folder / "labels.csv"


def refused(outcome, *words: str) -> None:
    assert outcome.status == 2, outcome
    assert "Traceback" not in outcome.errors
    for word in words:
        assert word in outcome.errors, outcome.errors


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    """What training checks before it writes anything needs no parameters, which take seconds to draw."""
    monkeypatch.setattr("jaxcaps.training.loop.make_modules", lambda *_: (None, dict))


FLAGS = {
    "mistyped flag": (["--epoch=3"], ["--epoch", "--epochs"]),
    "transposed letters": (["--taks=inpaint"], ["--taks", "did you mean '--task'"]),
    "mistyped stem": (["--stem=resdual"], ["resdual", "residual"]),
    "colours of grey pictures": (["--task=colourise", "--channels=1"], ["--channels=1", "--task=colourise"]),
    "mistyped preset": (["--preset=smal64"], ["smal64", "small64"]),
    "mistyped stage": (["--stage=finetun"], ["finetun", "finetune"]),
    "mistyped task": (["--task=inpant"], ["inpant", "inpaint"]),
    "pre-training without capsules": (["--architecture=convnet"], ["--architecture=convnet", "--stage=ssl"]),
    "reconstruction without capsules": (
        ["--stage=finetune", "--architecture=convnet", "--reconstruction-weight=1"],
        ["--architecture=convnet", "--reconstruction-weight"],
    ),
    "a fold without folds": (["--fold=1"], ["--fold=1", "--folds"]),
    "a fold that is none": (["--folds=3", "--fold=3"], ["--folds=3", "--fold=3"]),
    "no labels": (["--label-fraction=0"], ["--label-fraction=0"]),
    "mistyped colour loss": (["--colour-loss=l2"], ["l2", "l1", "bins"]),
    "no share of the uniform distribution": (["--uniform-share=0"], ["--uniform-share=0"]),
    "a temperature of nothing": (["--decoding-temperature=0"], ["--decoding-temperature=0"]),
    "a negative weight": (["--perceptual-strength=-1"], ["--perceptual-strength=-1"]),
    "mistyped kind of data": (["--data=cvs:x"], ["cvs", "csv"]),
    "not a number": (["--lr=fast"], ["fast"]),
    "negative rate": (["--lr=-1"], ["--lr=-1"]),
    "a crop larger than the picture": (["--crop-scale", "0.5", "1.5"], ["--crop-scale 0.5 1.5"]),
    "too strong a hue": (["--hue=3"], ["--hue=3"]),
    "endless": (["--epochs=inf", "--preset=tiny"], ["--epochs=inf"]),
    "no effective batch": (["--effective-batch=0"], ["--effective-batch=0"]),
    "a seed beyond 32 bits": (["--seed=9999999999999"], ["--seed=9999999999999"]),
    "no epochs": (["--epochs=0", "--preset=tiny"], ["--epochs=0"]),
    "batch that does not divide": (["--batch-size=24", "--preset=tiny"], ["--batch-size=24", "--effective-batch"]),
    "unknown layer group": (["--lr-mult=primry:3", "--preset=tiny"], ["primry", "primary"]),
    "too many convolutions": (["--extra-convs=9", "--preset=tiny"], ["--extra-convs=9", "at least 3 and at most 7"]),
    "mistyped metric": (["--stage=finetune", "--best-metric=balanced_acuracy", "--preset=tiny"], ["balanced_accuracy"]),
    "nothing to learn": (
        ["--contrast-weight=0", "--inpaint-weight=0", "--preset=tiny"],
        ["--contrast-weight=0", "--inpaint-weight=0"],
    ),
    "learned weights of one term": (
        ["--loss-weighting=uncertainty", "--inpaint-weight=0", "--preset=tiny"],
        ["--loss-weighting=uncertainty", "give both a weight"],
    ),
    "learned weights of terms that are trained separately": (
        ["--loss-weighting=uncertainty", "--ssl-stages=contrast-then-inpaint", "--preset=tiny"],
        ["--ssl-stages=contrast-then-inpaint", "--ssl-stages=joint"],
    ),
    "capsules to predict, and nothing else": (
        ["--contrast-weight=0", "--inpaint-weight=0", "--hidden-capsules=0.5", "--capsule-weight=1", "--preset=tiny"],
        ["--capsule-weight alone", "all capsules would collapse"],
    ),
    "nothing hidden to in-paint": (
        ["--masked-views=none", "--preset=tiny"],
        ["--masked-views=none", "--inpaint-weight=10", "--inpaint-weight=0"],
    ),
    "too few capsules to hide": (
        ["--hidden-capsules=0.01", "--preset=tiny"],
        ["--hidden-capsules=0.01", "positions rounds to 0"],
    ),
    "patience for nothing": (
        ["--stage=finetune", "--patience=3", "--best-metric=none", "--preset=tiny"],
        ["--patience=3", "--best-metric"],
    ),
    "missing path": (["--data=csv:nowhere.csv"], ["nowhere.csv"]),
    "missing configuration": (["--config=nowhere.yaml"], ["nowhere.yaml"]),
    "missing restore folder": (["--stage=finetune", "--restore=nowhere"], ["--restore=nowhere"]),
    "missing folder to go on from": (["--stage=ssl", "--restore=nowhere"], ["--restore=nowhere"]),
    "hidden capsules to predict, and none hidden": (
        ["--capsule-weight=1"],
        ["--capsule-weight=1", "--hidden-capsules"],
    ),
    "capsules hidden from nobody": (
        ["--hidden-capsules=0.5", "--inpaint-weight=0", "--contrast-on=primary", "--preset=tiny"],
        ["--hidden-capsules=0.5", "--capsule-weight", "--contrast-on=latent"],
    ),
    "latent capsules from nowhere": (["--stage=finetune", "--transfer-latent"], ["--transfer-latent", "--restore"]),
    "some of the flags of several hosts": (["--coordinator=localhost:1"], ["--num-processes"]),
}


@pytest.mark.parametrize("case", FLAGS)
def test_a_wrong_flag_is_named_and_nothing_is_written(case, capsys, in_folder):
    arguments, words = FLAGS[case]
    refused(run(capsys, *arguments), *words)
    assert list(in_folder.iterdir()) == []


def test_a_mistyped_name_in_a_configuration_file_is_named(capsys, in_folder):
    (in_folder / "my.yaml").write_text("training:\n  epoch: 3\n")
    refused(run(capsys, "--config=my.yaml"), "my.yaml", "'epoch'", "did you mean 'training.epochs'")


@pytest.mark.parametrize("text", ["data: csv:x.csv\n", "data:\n"])
def test_text_where_a_section_of_the_configuration_should_be_is_named(capsys, in_folder, text):
    (in_folder / "my.yaml").write_text(text)
    refused(run(capsys, "--config=my.yaml"), "my.yaml", "data")


def test_a_known_name_in_the_wrong_section_is_named_with_its_section(capsys, in_folder):
    (in_folder / "my.yaml").write_text("epochs: 3\n")
    refused(run(capsys, "--config=my.yaml"), "did you mean 'training.epochs'")


def test_an_output_folder_below_a_file_is_refused(capsys, in_folder):
    (in_folder / "file").write_text("x")
    refused(run(capsys, "--preset=tiny", "--out=file/run"), "--out=file/run", "another --out")


def test_a_configuration_file_that_is_not_yaml_is_named(capsys, in_folder):
    (in_folder / "my.yaml").write_text("a: [1\n")
    refused(run(capsys, "--config=my.yaml"), "my.yaml is not YAML")


def test_a_micro_batch_larger_than_the_set_is_named(capsys, in_folder, no_network):
    labels = write_pictures(in_folder / "data")
    outcome = run(capsys, f"--data=csv:{labels}", "--preset=tiny", "--batch-size=64", "--effective-batch=64")
    refused(outcome, "64", "18")
    assert not (in_folder / "runs").exists()


def test_a_group_in_two_splits_is_named(capsys, in_folder):
    labels = write_pictures(in_folder / "data", row9="9.png,a,g0,validation")
    refused(run(capsys, f"--data=csv:{labels}", "--preset=tiny"), "g0", "train", "validation")


def test_a_label_missing_from_training_is_named(capsys, in_folder):
    labels = write_pictures(in_folder / "data", row9="9.png,rare,g9,validation")
    refused(run(capsys, f"--data=csv:{labels}", "--preset=tiny", "--stage=finetune"), "rare", "train")


def test_an_empty_class_folder_is_named(capsys, in_folder):
    for name, count in (("polyp", 3), ("normal", 0)):
        (in_folder / "data" / name).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(in_folder / "data" / name / f"{number}.png"), PICTURES[number])
    refused(run(capsys, "--data=folder:data", "--preset=tiny"), "normal")


def test_too_many_unreadable_pictures_fail_the_run_and_are_listed(capsys, in_folder):
    labels = write_pictures(in_folder / "data")
    (in_folder / "data" / "0.png").write_bytes(b"no picture")
    (in_folder / "data" / "3.png").write_bytes(b"")
    refused(run(capsys, f"--data=csv:{labels}", "--preset=tiny"), "0.png", "3.png", "--max-bad-images")
    assert not (in_folder / "runs").exists()


def test_a_share_of_the_labels_that_shows_none_of_validation_is_refused_before_training(capsys, in_folder):
    labels = write_pictures(in_folder / "data")
    outcome = run(capsys, "--stage=finetune", "--preset=tiny", f"--data=csv:{labels}", "--label-fraction=0.4")
    refused(outcome, "--label-fraction=0.4", "no label in the validation split")
    assert not (in_folder / "runs").exists()


FEW = ("--data=synthetic", "--synthetic-count=60")


def test_latent_capsules_of_an_encoders_file_are_refused(capsys, in_folder, no_network):
    outcome = run(capsys, "--stage=finetune", "--restore=pretrained:busi-demo", *FEW, "--transfer-latent")
    refused(outcome, "--transfer-latent", "pretrained:busi-demo", "the folder of its run")
    assert not (in_folder / "runs").exists()


def test_a_study_in_a_file_or_in_another_folder_is_refused_before_its_data_is_read(capsys, in_folder):
    (in_folder / "taken").touch()
    refused(run(capsys, "--data=csv:nowhere.csv", "--out=taken", command="study"), "--out=taken", "give another --out")
    (in_folder / "full").mkdir()
    (in_folder / "full" / "thesis.txt").touch()
    refused(run(capsys, "--data=csv:nowhere.csv", "--out=full", command="study"), "--out=full", "does not hold a study")


def test_an_unexpanded_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_config(["--out=~/runs/x"]).out == f"{tmp_path}/runs/x"


def test_a_folder_that_is_not_a_run_is_never_overwritten(capsys, in_folder):
    (in_folder / "mine").mkdir()
    (in_folder / "mine" / "thesis.txt").write_text("precious")
    refused(run(capsys, "--preset=tiny", "--out=mine"), "--out=mine", "mine-2")
    assert [path.name for path in (in_folder / "mine").iterdir()] == ["thesis.txt"]


def test_a_restore_folder_without_a_checkpoint_is_refused(capsys, in_folder, no_network):
    (in_folder / "ssl").mkdir()
    (in_folder / "ssl" / "config.yaml").write_text(yaml_text(preset("tiny", "ssl")))
    refused(run(capsys, "--stage=finetune", "--restore=ssl"), "--restore=ssl", "no checkpoint")
    assert not (in_folder / "runs").exists()


def test_evaluating_a_folder_that_is_not_a_run_is_refused(capsys, in_folder):
    (in_folder / "empty").mkdir()
    refused(run(capsys, "--restore=nowhere", command="evaluate"), "nowhere")
    refused(run(capsys, "--restore=empty", command="evaluate"), "empty", "not a run folder")


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_shell_sees_status_2_and_one_message(command, tmp_path):
    stage = ["--stage=finetune"] if command == "train" else []
    done = subprocess.run(
        [sys.executable, "-m", f"jaxcaps.{command}", "--restore=nowhere", *stage],
        cwd=tmp_path, env=_environment(), capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --restore=nowhere")
    assert len(done.stderr.splitlines()) == 1


def test_help_does_not_wait_for_jax(tmp_path):
    code = (
        "import sys; import jaxcaps.train, jaxcaps.evaluate, jaxcaps.report, jaxcaps.study; sys.argv[1:] = ['--help']\n"
        "try: jaxcaps.train.main()\n"
        "finally: sys.exit(bool({'jax', 'flax', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=_environment(), cwd=tmp_path).returncode == 0


def _environment():
    import os

    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
