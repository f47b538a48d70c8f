"""The main workflow end to end at the smallest size: pre-train, fine-tune, evaluate, resume."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

import jaxcaps
from jaxcaps.training.checkpoint import read_parameters
from jaxcaps.training.folder import contents_of, read_config
from jaxcaps.training.setup import load_data
from jaxcaps.training.writers import read_rows
from tests.command import run
from tests.compilation import flags

# The fewest stages compile the soonest.
TINY = ("--preset=tiny", "--extra-convs=3", "--synthetic-count=60", "--epochs=3")


# What makes compilation fast in tests.
OF_TESTS = ("XLA_FLAGS", "JAXCAPS_CPU_KERNELS")

# One process imports only once. What each stage prints is in a file of its own.
STAGES = """
import json, logging, sys
from contextlib import redirect_stderr, redirect_stdout
from jaxcaps.commands import run_command
from jaxcaps.train import main

for path, arguments in json.loads(sys.argv[1]):
    sys.argv = ["train", *arguments]
    with open(path + ".out", "w") as output, open(path + ".errors", "w") as errors:
        with redirect_stdout(output), redirect_stderr(errors):
            run_command(main)
    logging.getLogger("jaxcaps").handlers.clear()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A pre-training run and a fine-tuning run, shared by the tests."""
    folder = tmp_path_factory.mktemp("main_job")
    stages = {
        "ssl": ["--stage=ssl", *TINY],
        "finetune": ["--stage=finetune", f"--restore={folder}/ssl", "--epochs=4"],
    }
    placed = [(f"{folder}/{name}", [*arguments, f"--out={folder}/{name}"]) for name, arguments in stages.items()]
    # One device compiles faster than the eight of the other tests.
    variables = environment() | {"XLA_FLAGS": flags(devices=1)}
    command = [sys.executable, "-c", STAGES, json.dumps(placed)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + "".join(path.read_text() for path in folder.glob("*.errors"))
    return folder


def environment():
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONWARNINGS": "default"}


def start(*arguments):
    """Starts `jaxcaps.train` as users do."""
    variables = {name: value for name, value in environment().items() if name not in OF_TESTS}
    command = [sys.executable, "-m", "jaxcaps.train", *arguments]
    return subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process):
    """Returns the standard output of a process that succeeds."""
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output


def test_pre_training_writes_all_files_of_the_run_folder(runs):
    found = {path.name for path in (runs / "ssl").iterdir()}
    assert {
        "config.yaml", "metrics.csv", "metrics.jsonl", "metrics.json", "log.txt", "checkpoints", "encoder.safetensors",
        "figures", "diagnosis.json", "report.html",
    } <= found  # fmt: skip
    assert {path.name for path in (runs / "ssl" / "figures").iterdir()} == {"curves.png", "reconstructions.png"}


def test_each_run_ends_with_its_report(runs):
    for name, section in (("ssl", "diagnosis"), ("finetune", "confusion")):
        page = (runs / name / "report.html").read_text(encoding="utf-8")
        assert f'<section id="{section}">' in page
        assert '<section id="embedding">' in page
        assert "Report: " in (runs / f"{name}.out").read_text()


@pytest.mark.slow
def test_the_report_is_made_again_from_the_folder_alone(runs, capsys, tmp_path):
    first = (runs / "finetune" / "report.html").read_text(encoding="utf-8")
    outcome = run(capsys, f"--restore={runs}/finetune", f"--out={tmp_path}/again.html", command="report")
    assert outcome.status == 0, outcome.errors
    again = (tmp_path / "again.html").read_text(encoding="utf-8")
    tables = [re.findall(r"<table.*?</table>", page, re.DOTALL) for page in (first, again)]
    assert len(tables[0]) == len(tables[1]) >= 5
    # Counts, metrics and scores of classes come from the same files.
    assert tables[0][:3] == tables[1][:3]


def test_runs_that_cannot_be_compared_are_refused(runs, capsys):
    outcome = run(capsys, f"--restore={runs}/finetune", "--compare", f"{runs}/ssl", command="report")
    assert outcome.status == 2
    assert "compare fine-tuned runs" in outcome.errors


def test_pre_training_logs_what_the_study_needs(runs):
    row = read_rows(runs / "ssl" / "metrics.jsonl")[-1]
    for name in (
        "train/nt_xent", "train/inpainting", "train/coupling_entropy", "train/gradient_norm/stem",
        "train/gradient_norm/primary", "train/gradient_norm/routing", "train/gradient_norm/stem/0",
        "validation/inpainting", "validation/linear_probe/balanced_accuracy",
        "validation/nearest_neighbour/balanced_accuracy",
    ):  # fmt: skip
        assert np.isfinite(row[name]), name
    log = (runs / "ssl.out").read_text()
    assert "30 negatives per anchor" in log
    assert "with another picture's poses" in log
    assert "latent capsules: activity 0." in log
    # Logging reports formatting errors there and continues.
    assert (runs / "ssl.errors").read_text() == ""
    for told in json.loads((runs / "ssl" / "diagnosis.json").read_text())["warnings"]:
        assert f"Warning: {told}" in log


def test_the_csv_equals_the_json_lines(runs):
    rows = read_rows(runs / "ssl" / "metrics.jsonl")
    with (runs / "ssl" / "metrics.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows)
    for line, row in zip(table, rows, strict=True):
        assert {name: float(value) for name, value in line.items() if value} == row


def test_the_exported_encoder_equals_the_checkpoint(runs):
    exported = load_file(runs / "ssl" / "encoder.safetensors")
    parameters, _ = read_parameters(runs / "ssl")
    assert set(exported) == {path for path in parameters if path.startswith("encoder/")}
    for path, value in exported.items():
        np.testing.assert_array_equal(value, parameters[path])


def test_fine_tuning_takes_data_and_architecture_from_the_restored_run_and_accounts_for_parameters(runs):
    output = (runs / "finetune.out").read_text()
    assert "+ encoder/primary/convolution/kernel" in output
    assert "- class_capsules/weights" in output
    assert ". latent_capsules/weights" in output
    assert "from the encoder of" in output
    ssl, finetune = (yaml.safe_load((runs / name / "config.yaml").read_text()) for name in ("ssl", "finetune"))
    assert finetune["model"] == ssl["model"]
    assert finetune["data"] == ssl["data"]


@pytest.mark.slow
def test_fine_tuning_prints_a_hash_of_the_architecture_that_a_random_start_shares(runs, capsys, tmp_path):
    def printed(text):
        return next(line.split()[-1] for line in text.splitlines() if line.startswith("Architecture"))

    random = run(capsys, "--stage=finetune", *TINY, "--epochs=0.2", f"--out={tmp_path}/random")
    other = run(capsys, "--stage=finetune", *TINY, "--epochs=0.2", "--primary-types=8", f"--out={tmp_path}/other")
    assert random.status == other.status == 0
    assert printed((runs / "finetune.out").read_text()) == printed(random.output) != printed(other.output)


def test_fine_tuning_scores_validation_with_intervals_and_the_majority_baseline_and_never_test(runs):
    metrics = json.loads((runs / "finetune" / "metrics.json").read_text())
    text = json.dumps(metrics)
    for name in ("balanced_accuracy", "mcc", "macro_roc_auc", "ece", "cohen_kappa", "specificity"):
        assert name in text
    assert not list((runs / "finetune").glob("*test*"))
    with (runs / "finetune" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 0
    for row in rows:
        probabilities = [float(value) for name, value in row.items() if name.startswith("probability_")]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert "majority" in (runs / "finetune.out").read_text().lower()


def flat(values, prefix=""):
    """Flattens nested mappings and lists to a mapping by path."""
    if isinstance(values, list):
        values = dict(enumerate(values))
    if isinstance(values, dict):
        return {path: value for name, each in values.items() for path, value in flat(each, f"{prefix}/{name}").items()}
    return {prefix: values}


def test_evaluate_scores_the_test_split_beside_the_run(runs, capsys):
    outcome = run(capsys, f"--restore={runs}/finetune", "--split=test", command="evaluate")
    assert outcome.status == 0, outcome.errors
    assert (runs / "finetune" / "metrics-test.json").is_file()
    assert (runs / "finetune" / "predictions-test.csv").is_file()
    # Each reading of a test split is recorded.
    assert len((runs / "ledger.csv").read_text(encoding="utf-8").splitlines()) == 2
    again = run(capsys, f"--restore={runs}/finetune", "--split=validation", command="evaluate")
    assert again.status == 0
    one, two = (
        json.loads((runs / "finetune" / name).read_text()) for name in ("metrics.json", "metrics-validation.json")
    )
    one.pop("selected", None)
    two.pop("data")
    # Trained on one device and scored here on eight: equal up to rounding.
    one, two = flat(one), flat(two)
    assert one.keys() == two.keys()
    for name, value in one.items():
        close = pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value
        assert two[name] == close, name
    for name in ("metrics-test.json", "predictions-test.csv", "table-test.txt"):
        (runs / "finetune" / name).unlink()
    (runs / "finetune" / "figures" / "confusion-test.png").unlink()


def test_other_data_is_scored_whole_and_beside_the_runs_own_scores(runs, capsys, tmp_path):
    """Data of another hospital without a training split. The run's own test scores are not overwritten."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    classes = json.loads((runs / "finetune" / "metrics.json").read_text())["per_class"]
    lines = ["path,label,split"]
    for number in range(6):
        cv2.imwrite(
            str(folder / f"{number}.png"), np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        )
        lines.append(f"{number}.png,{sorted(classes)[number % 3]},test")
    (folder / "labels.csv").write_text("\n".join(lines))
    before = (runs / "ledger.csv").read_text().splitlines() if (runs / "ledger.csv").is_file() else []
    flags = (f"--restore={runs}/finetune", "--split=test", f"--data=csv:{folder}/labels.csv")
    outcome = run(capsys, *flags, command="evaluate")
    assert outcome.status == 0, outcome.errors
    scores = json.loads((runs / "finetune" / "metrics-test-elsewhere.json").read_text())
    assert scores["data"] == f"csv:{folder}/labels.csv"
    assert len((runs / "finetune" / "predictions-test-elsewhere.csv").read_text().splitlines()) == 7
    assert not (runs / "finetune" / "metrics-test.json").exists()
    # An evaluation that fails before any picture is opened is not recorded.
    for refused in (
        run(capsys, f"--restore={runs}/ssl", "--split=test", command="evaluate"),
        run(capsys, *flags[:2], f"--data=csv:{tmp_path}/missing.csv", command="evaluate"),
    ):
        assert refused.status == 2
    assert len((runs / "ledger.csv").read_text().splitlines()) == max(1, len(before)) + 1
    for path in (*(runs / "finetune").glob("*-test-elsewhere*"), *(runs / "finetune" / "figures").glob("*-elsewhere*")):
        path.unlink()


def test_the_pictures_of_a_run_are_predicted_without_labels(runs, capsys, tmp_path):
    outcome = run(
        capsys, f"--restore={runs}/finetune", "--images=synthetic", f"--out={tmp_path}/table.csv", command="predict"
    )
    assert outcome.status == 0, outcome.errors
    with (runs / "finetune" / "predictions.csv").open(newline="") as own, (tmp_path / "table.csv").open() as made:
        known = {row["name"]: row["predicted"] for row in csv.DictReader(own)}
        found = {row["name"]: row["predicted"] for row in csv.DictReader(made)}
    assert len(found) > len(known)
    assert known.items() <= found.items()
    encoder = jaxcaps.load(runs / "ssl", features="pooled")
    assert encoder.transform(np.zeros((20, 30, 3), np.uint8)).ndim == 2


def test_training_pictures_are_not_scored(runs, capsys, tmp_path):
    """Another split of the same data would put pre-training pictures into validation or test."""
    outcome = run(
        capsys, "--stage=finetune", f"--restore={runs}/ssl", "--split-seed=1", "--epochs=1", f"--out={tmp_path}/x"
    )
    assert outcome.status == 2
    assert "pictures of the validation split" in outcome.errors
    assert not (tmp_path / "x").exists()
    learnt = runs / "finetune" / "learnt_from.txt"
    before = learnt.read_text()
    dataset = load_data(read_config(runs / "finetune"), ("validation",))
    learnt.write_text(before + "\n".join(contents_of(dataset.splits["validation"])))
    outcome = run(capsys, f"--restore={runs}/finetune", command="evaluate")
    learnt.write_text(before)
    assert outcome.status == 2
    assert re.search(r"was trained on (\d+) of the \1 pictures of the validation split", outcome.errors)


def test_data_with_other_classes_is_refused(runs, capsys, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(8):
            picture = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "pets" / name / f"{number}.png"), picture)
    outcome = run(capsys, f"--restore={runs}/finetune", f"--data=folder:{tmp_path}/pets", command="evaluate")
    assert outcome.status == 2
    assert "the run has no class 'cat'; known: " in outcome.errors


def test_a_pre_training_run_has_nothing_to_evaluate(runs, capsys):
    outcome = run(capsys, f"--restore={runs}/ssl", command="evaluate")
    assert outcome.status == 2
    assert "an ssl run has no classes" in outcome.errors


def test_a_finished_run_prints_its_table_again_and_touches_nothing(runs, capsys):
    before = {path: path.stat().st_mtime_ns for path in (runs / "ssl").rglob("*")}
    outcome = run(capsys, "--stage=ssl", *TINY, f"--out={runs}/ssl")
    assert outcome.status == 0
    assert "validation/nt_xent" in outcome.output
    assert before == {path: path.stat().st_mtime_ns for path in (runs / "ssl").rglob("*")}


def test_restoring_from_an_unfinished_run_says_so(runs, capsys, tmp_path):
    ours = shutil.ignore_patterns("metrics.json", "*-test*")
    shutil.copytree(runs / "finetune", tmp_path / "unfinished", ignore=ours)
    outcome = run(capsys, f"--restore={tmp_path}/unfinished", command="evaluate")
    assert outcome.status == 0
    assert "unfinished has not finished; using its checkpoint from micro-step" in outcome.output + outcome.errors
    assert "has not finished" not in run(capsys, f"--restore={runs}/finetune", command="evaluate").output


def test_another_configuration_is_refused_and_the_difference_named(runs, capsys):
    outcome = run(capsys, "--stage=ssl", *TINY, "--seed=1", f"--out={runs}/ssl")
    assert outcome.status == 2
    assert "seed: 0 -> 1" in outcome.errors
    assert f"--out={runs}/ssl-2" in outcome.errors


def test_an_encoder_of_another_architecture_is_refused(runs, capsys, tmp_path):
    outcome = run(
        capsys, "--stage=finetune", f"--restore={runs}/ssl", "--preset=tiny", "--primary-types=8", f"--out={tmp_path}/x"
    )
    assert outcome.status == 2
    assert "its encoder has another architecture" in outcome.errors
    assert "encoder/primary/convolution/kernel float32[3, 3, 16, 32]" in outcome.errors
    assert not (tmp_path / "x").exists()


def test_latent_capsules_need_as_many_as_classes(runs, capsys, tmp_path):
    outcome = run(capsys, "--stage=finetune", f"--restore={runs}/ssl", "--transfer-latent", f"--out={tmp_path}/x")
    assert outcome.status == 2
    assert "as many --ssl-capsules as classes" in outcome.errors


@pytest.mark.slow
def test_a_killed_run_resumes_to_bit_identical_parameters_and_rows(tmp_path):
    """SIGKILL, so that no cleanup can run; with the program that users run."""
    flags = (
        "--stage=finetune",
        *TINY,
        "--no-report",
        "--epochs=12",
        "--effective-batch=32",
        "--patience=100",
    )
    finished(start(*flags, f"--out={tmp_path}/whole"))
    # With a checkpoint at each row, one exists soon.
    process = start(*flags, "--checkpoint-minutes=0", f"--out={tmp_path}/killed")
    rows = tmp_path / "killed" / "metrics.jsonl"
    while process.poll() is None and not (rows.exists() and len(read_rows(rows)) >= 4):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "metrics.json").exists(), "it finished before it could be killed"
    output = finished(start(*flags, f"--out={tmp_path}/killed"))
    assert "Resuming" in output
    first, second = (read_parameters(tmp_path / name)[0] for name in ("whole", "killed"))
    assert set(first) == set(second)
    for path in first:
        np.testing.assert_array_equal(first[path], second[path], err_msg=path)
    kept = [
        [
            {k: v for k, v in row.items() if k not in ("images_per_second", "seconds")}
            for row in read_rows(tmp_path / name / "metrics.jsonl")
        ]
        for name in ("whole", "killed")
    ]
    assert kept[0] == kept[1]
