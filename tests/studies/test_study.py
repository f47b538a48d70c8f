"""Studies: every cell once, resumable, compared fairly, the test split opened once."""

import csv
import dataclasses
import json
import math
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import save_file
from sklearn.metrics import balanced_accuracy_score

from jaxcaps.errors import UnsuitableTask, UserError
from jaxcaps.plan.flags import parse_config
from jaxcaps.plan.presets import preset
from jaxcaps.studies import cells, execution
from jaxcaps.studies.cells import FineTuning, Predictions, read_failure
from jaxcaps.studies.execution import folder_of, run_all, run_here
from jaxcaps.studies.plan import Cell, Choice, Plan, Recipe, check, parse_arms, parse_grid
from jaxcaps.studies.pretrainings import pretraining_table
from jaxcaps.studies.results import COMPARED, choose, compare, gather
from jaxcaps.studies.run import Machine, claim, final_plan, read_plan, report, run_one, write_array
from jaxcaps.training.folder import read_config
from jaxcaps.training.ledger import record_reading
from jaxcaps.training.setup import load_data
from tests.command import run
from tests.compilation import flags as xla_flags

IMAGES = 60


def plan_of(inits="random,inpaint", **changes):
    given = {"data": "synthetic", "preset": "tiny", "arms": parse_arms(inits), "seeds": (0, 1)}
    return Plan(**(given | changes))


def machine(ledger=None):
    return Machine(jobs=1, devices=(), keep_checkpoints=False, ledger=ledger)


def finish(plan, out, quality, **changes):
    """Writes what finished cells leave, without training: `quality` (arm, recipe, fold) -> share of right answers."""
    for cell in plan.cells():
        folder = folder_of(out, cell)
        done = []
        for fraction in plan.label_fractions:
            for recipe in plan.recipes_of(cell, fraction):
                rng = np.random.default_rng([cell.seed, cell.fold or 0, sum(map(ord, cell.arm + recipe.name))])
                labels = np.arange(IMAGES) % 3
                right = rng.permutation(IMAGES) < IMAGES * quality(cell.arm, recipe.name, cell.fold)
                best = np.where(right, labels, (labels + 1) % 3)
                names = np.array([f"{cell.fold or 0}-{index:03d}" for index in range(IMAGES)])
                groups = (cell.fold or 0) * IMAGES + np.arange(IMAGES)
                where = f"finetune/{fraction:g}/{recipe.name}"
                (folder / where).mkdir(parents=True)
                # Runs may list the images in any order.
                order = rng.permutation(IMAGES)
                found = Predictions(
                    names[order], labels[order], groups[order], np.eye(3)[best][order], np.array(["a", "b", "c"])
                )
                found.save(folder / where)
                same = (fraction, recipe.name, where, "architecture", f"data-{cell.fold}", 7, 1.0, 2.0, right.mean())
                done.append(dataclasses.replace(FineTuning(*same), **changes.get(cell.arm, {})))
        (folder / cells.OUTCOME).write_text(json.dumps([dataclasses.asdict(one) for one in done]), encoding="utf-8")


def test_arms_are_compared_pair_by_pair_over_all_folds(tmp_path):
    plan = plan_of(folds=3)
    finish(plan, tmp_path, lambda arm, recipe, fold: {"random": 0.5, "inpaint": 0.8}[arm])
    results = gather(plan, tmp_path)
    random, inpaint = compare(plan, results)
    assert random.images == inpaint.images == 3 * IMAGES
    assert random.differences == {}
    np.testing.assert_allclose(random.scores["accuracy"], [0.5, 0.5])
    found = inpaint.differences["accuracy"]
    assert found.value == pytest.approx(0.3)
    assert 0.2 < found.low < 0.3 < found.high < 0.4
    assert inpaint.relative.value == pytest.approx(0.6)


def test_only_seeds_with_all_folds_take_part(tmp_path):
    plan = plan_of(folds=3)
    finish(plan, tmp_path, lambda arm, recipe, fold: 0.5)
    (folder_of(tmp_path, Cell("inpaint", 1, 2)) / cells.OUTCOME).unlink()
    random, inpaint = compare(plan, gather(plan, tmp_path))
    assert (random.seeds, inpaint.seeds) == ((0, 1), (0,))
    assert "inpaint/seed-1/fold-2: not run" in report(plan, tmp_path)


def test_the_table_of_pre_trainings_has_means_of_what_any_of_them_measured():
    rows = [
        {"initialisation": "inpaint", "coupling_entropy": 0.5, "reconstruction/shuffled": 2.0, "saturation": None},
        {"initialisation": "inpaint", "coupling_entropy": 0.7, "reconstruction/shuffled": 3.0, "saturation": None},
        {"initialisation": "contrast", "coupling_entropy": 0.9, "reconstruction": None, "saturation": None},
    ]
    assert pretraining_table(rows).splitlines() == [
        "| pre-training | runs | with another's poses, times | coupling entropy |",
        "|---|---|---|---|",
        "| inpaint | 2 | 2.5 | 0.6 |",
        "| contrast | 1 | - | 0.9 |",
    ]


def test_cells_of_another_version_are_named(tmp_path):
    plan = plan_of("random", seeds=(0,))
    finish(plan, tmp_path, lambda *_: 0.5)
    outcome = folder_of(tmp_path, plan.cells()[0]) / cells.OUTCOME
    (values,) = json.loads(outcome.read_text(encoding="utf-8"))
    values.pop("validation")
    outcome.write_text(json.dumps([values]), encoding="utf-8")
    with pytest.raises(UserError, match=r"outcome\.json is of another version of jaxcaps"):
        gather(plan, tmp_path)


@pytest.mark.parametrize("what", ["architecture", "fingerprint", "updates"])
def test_arms_that_turn_out_to_differ_are_not_compared(tmp_path, what):
    plan = plan_of()
    finish(plan, tmp_path, lambda *_: 0.5, inpaint={what: 99 if what == "updates" else "another"})
    with pytest.raises(UserError, match=f"inpaint/seed-0 and random/seed-0 cannot be compared: {what}"):
        gather(plan, tmp_path)
    baseline = plan_of("random,uniform")
    finish(baseline, tmp_path / "b", lambda *_: 0.5, uniform={what: 99 if what == "updates" else "another"})
    assert len(gather(baseline, tmp_path / "b")) == 4


def test_each_arm_chooses_its_recipe_in_each_fold_from_the_same_grid(tmp_path):
    plan = plan_of(folds=2, recipes=parse_grid("lr=0.1,0.2"))
    better = {("random", 0): "lr=0.1", ("random", 1): "lr=0.2", ("inpaint", 0): "lr=0.2", ("inpaint", 1): "lr=0.2"}
    finish(plan, tmp_path, lambda arm, recipe, fold: 0.8 if better[arm, fold] == recipe else 0.6)
    chosen = choose(plan, gather(plan, tmp_path))
    assert {(one.arm, one.fold): one.recipe for one in chosen} == better
    text = report(plan, tmp_path)
    assert "Recipes are chosen on these very scores" in text
    with (tmp_path / "choices.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["initialisation"], int(row["fold"])): row["recipe"] for row in rows} == better


def write_npz(path, train, validation):
    """Pictures of noise in two classes; what `--data` says."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, images in (("train", train), ("val", validation), ("test", 8)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (images, 32, 32), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(images)[:, None] % 2
    np.savez(path, **arrays)
    return f"npz:{path}"


def test_a_share_that_shows_too_little_of_validation_is_refused(tmp_path):
    data = write_npz(tmp_path / "few.npz", 24, 6)
    with pytest.raises(UserError, match=r"--label-fraction=0\.25 leaves no label in the validation split"):
        check(plan_of(data=data, label_fractions=(0.25, 1.0)))
    # By one class of two a run can be followed, but no recipe chosen.
    uneven = write_npz(tmp_path / "uneven.npz", 24, 5)
    check(plan_of(data=uneven, label_fractions=(0.4, 1.0)))
    with pytest.raises(
        UserError, match=r"--label-fractions: 0\.4 of the labels shows none of 1 in validation, by which"
    ):
        check(plan_of(data=uneven, label_fractions=(0.4, 1.0), recipes=parse_grid("lr=0.1,0.2")))
    check(plan_of(data=data, label_fractions=(0.5, 1.0), recipes=parse_grid("lr=0.1,0.2")))


def test_a_recipe_is_chosen_without_the_labels_that_a_share_hides(tmp_path):
    flags = ("--epochs=1", "--batch-size=8", "--effective-batch=8")
    data = write_npz(tmp_path / "set.npz", 24, 16)
    plan = plan_of("random", data=data, seeds=(0,), label_fractions=(0.5,), finetune=flags)
    (cell,) = plan.cells()
    cells.run_cell(plan, cell, tmp_path, keep_checkpoints=False)
    (done,) = cells.read_outcome(tmp_path)
    validation = load_data(read_config(tmp_path / done.folder), ("validation",)).splits["validation"]
    shown = np.array(validation.names)[validation.labels >= 0]
    found = Predictions.load(tmp_path / done.folder)
    seen = np.isin(found.names, shown)
    assert 0 < seen.sum() < len(seen), "all pictures are scored, some are chosen by"
    predicted = found.probabilities[seen].argmax(axis=1)
    assert done.validation == pytest.approx(balanced_accuracy_score(found.labels[seen], predicted))


def test_a_final_study_runs_what_was_chosen_with_seeds_that_were_not_seen(tmp_path):
    plan = plan_of(folds=2, recipes=parse_grid("lr=0.1,0.2"))
    claim(plan, tmp_path / "selection")
    with pytest.raises(UserError, match="8 of its cells have not finished, such as random/seed-0/fold-0"):
        final_plan(tmp_path / "selection", (7, 8))
    finish(plan, tmp_path / "selection", lambda arm, recipe, fold: 0.8 if recipe == "lr=0.2" else 0.6)
    with pytest.raises(UserError, match="1 took part in the choice of recipes"):
        final_plan(tmp_path / "selection", (1, 8))
    final = final_plan(tmp_path / "selection", (7, 8))
    assert (final.split, final.seeds, final.selection) == ("test", (7, 8), str(tmp_path / "selection"))
    for cell in final.cells():
        assert [recipe.name for recipe in final.recipes_of(cell, 1.0)] == ["lr=0.2"]
    claim(final, tmp_path / "final")
    assert read_plan(tmp_path / "final") == final
    finish(final, tmp_path / "final", lambda arm, recipe, fold: {"random": 0.6, "inpaint": 0.7}[arm])
    assert "test parts of 2 folds, pooled (120 images" in report(final, tmp_path / "final")
    with pytest.raises(UserError, match="that is a final study itself"):
        final_plan(tmp_path / "final", (9,))


def test_a_final_study_leaves_out_what_does_not_suit_the_data(tmp_path):
    plan = plan_of("random,colourise,inpaint")
    claim(plan, tmp_path)
    finish(dataclasses.replace(plan, arms=parse_arms("random,inpaint")), tmp_path, lambda *_: 0.5)
    failed = [folder_of(tmp_path, cell) for cell in plan.cells() if cell.arm == "colourise"]
    for folder, applicable in zip(failed, (False, True), strict=True):
        folder.mkdir(parents=True)
        (folder / cells.FAILED).write_text(json.dumps({"applicable": applicable, "reason": "grey"}), encoding="utf-8")
    with pytest.raises(UserError, match="2 of its cells have not finished, such as colourise/seed-0"):
        final_plan(tmp_path, (7,))
    (failed[1] / cells.FAILED).write_text(json.dumps({"applicable": False, "reason": "grey"}), encoding="utf-8")
    assert [arm.name for arm in final_plan(tmp_path, (7,)).arms] == ["random", "inpaint"]


def test_a_study_of_before_a_flag_existed_goes_on(tmp_path):
    claim(plan_of(), tmp_path)
    text = (tmp_path / "study.yaml").read_text(encoding="utf-8")
    assert "perceptual_weights: ''\n" in text
    (tmp_path / "study.yaml").write_text(text.replace("perceptual_weights: ''\n", ""), encoding="utf-8")
    assert not claim(plan_of(), tmp_path)


def test_a_final_study_compares_recipes_of_other_lengths_but_no_other_data(tmp_path):
    recipes = parse_grid("epochs=1,2")
    chosen = tuple(Choice(arm, 1.0, None, f"epochs={count}") for arm, count in (("random", 1), ("inpaint", 2)))
    plan = plan_of(recipes=recipes, chosen=chosen, split="test")
    finish(plan, tmp_path / "a", lambda *_: 0.5, inpaint={"updates": 14})
    assert len(gather(plan, tmp_path / "a")) == 4
    finish(plan, tmp_path / "b", lambda *_: 0.5, inpaint={"fingerprint": "another"})
    with pytest.raises(UserError, match="cannot be compared: fingerprint another"):
        gather(plan, tmp_path / "b")


def test_a_baseline_is_given_the_seconds_of_the_first_arm_that_suits_the_data(tmp_path):
    plan = plan_of("random,random-seconds,colourise,inpaint", seeds=(0,), finetune=("--epochs=10",))
    cell = Cell("random-seconds", 0, None)
    finish(plan_of("random,inpaint", seeds=(0,)), tmp_path, lambda *_: 0.5, inpaint={"pretraining_seconds": 30.0})
    failed = folder_of(tmp_path, Cell("colourise", 0, None))
    failed.mkdir(parents=True)
    (failed / cells.FAILED).write_text(json.dumps({"applicable": False, "reason": "grey"}), encoding="utf-8")
    # Half a second for a step, evaluations included: ten seconds for ten epochs, however long the first one took.
    score = {"validation/balanced_accuracy": 0.5}
    rows = [{"step": 4, "seconds": 9.0}, {"step": 8, "seconds": 60.0} | score]
    rows += [{"step": 14, "seconds": 2.0}, {"step": 20, "seconds": 4.0} | score]
    run_folder = folder_of(tmp_path, Cell("inpaint", 0, None)) / "finetune/1/as-given"
    (run_folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    config = parse_config(plan.finetuning(cell, 1.0, Recipe(), None, "x"))
    longer = cells._lengthened(plan, cell, config, folder_of(tmp_path, cell), 1.0, Recipe())
    assert longer.training.epochs == 10 * (1 + 30 / 10)
    (run_folder / "metrics.jsonl").write_text(json.dumps(rows[1]), encoding="utf-8")
    with pytest.raises(UserError, match="a run of one evaluation, or of an earlier version, has no pace"):
        cells._lengthened(plan, cell, config, folder_of(tmp_path, cell), 1.0, Recipe())


def test_a_cell_that_another_process_runs_is_left_alone(tmp_path, monkeypatch):
    plan, cell = plan_of(), Cell("inpaint", 0, None)
    monkeypatch.setattr(execution, "run_cell", lambda *_, **__: pytest.fail("it was run twice"))
    folder_of(tmp_path, cell).mkdir(parents=True)
    with FileLock(folder_of(tmp_path, cell) / "lock"):
        assert not run_here(plan, cell, tmp_path, keep_checkpoints=False)
        assert not execution._succeeded(tmp_path, cell, 1)
    assert read_failure(folder_of(tmp_path, cell)) is None


def test_a_study_that_is_told_to_stop_ends_its_cells(tmp_path, monkeypatch):
    """`timeout`, SLURM and a closed terminal send no Ctrl-C. The cell is a shell that waits."""
    monkeypatch.chdir(tmp_path)
    script = (
        "import subprocess, sys\n"
        "from jaxcaps.studies import execution\n"
        "real = subprocess.Popen\n"
        "waiting = 'trap \"echo ended > ended; exit\" TERM; echo > begun; while :; do sleep 0.05; done'\n"
        "execution.subprocess.Popen = lambda command, **settings: real(['sh', '-c', waiting], **settings)\n"
        "sys.argv = ['study', '--preset=tiny', '--inits=random', '--seeds=0', '--out=out']\n"
        "from jaxcaps import study\n"
        "study._end_by_exception()\n"
        "study.main()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    while process.poll() is None and not (tmp_path / "begun").exists():
        time.sleep(0.1)
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert (tmp_path / "ended").exists()


def test_the_report_has_a_row_a_run_and_figures(tmp_path):
    plan = plan_of("random,inpaint,contrast", label_fractions=(0.5, 1.0))
    finish(plan, tmp_path, lambda arm, recipe, fold: {"random": 0.5, "inpaint": 0.9, "contrast": 0.5}[arm])
    text = report(plan, tmp_path)
    assert text == (tmp_path / "table.md").read_text(encoding="utf-8").rstrip("\n")
    with (tmp_path / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2
    assert {(row["initialisation"], float(row["accuracy"])) for row in rows} == {
        ("random", 0.5),
        ("inpaint", 0.9),
        ("contrast", 0.5),
    }
    with (tmp_path / "differences.csv").open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["metric"] == "accuracy"]
    assert len(found) == 4
    for row in found:
        assert float(row["p_holm"]) >= float(row["p"])
        assert (float(row["p_holm"]) < 0.05) == (row["initialisation"] == "inpaint")
    assert all(math.isfinite(float(row["low"])) for row in found)
    with (tmp_path / "scores.csv").open(newline="") as file:
        levels = {(row["initialisation"], row["metric"]): row for row in csv.DictReader(file)}
    assert len(levels) == 3 * len(COMPARED)
    row = levels["inpaint", "accuracy"]
    assert 0.8 < float(row["low"]) < float(row["mean"]) == 0.9 < float(row["high"]) < 1
    assert f"[{float(row['low']):.3f}, {float(row['high']):.3f}]" in text
    # In scores and in differences.
    assert text.count("| accuracy | balanced accuracy | macro F1 | MCC | macro ROC-AUC |") == 2
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"accuracy.png", "balanced_accuracy.png"}
    assert "perceptual" not in text


def test_the_report_says_which_perceptual_network_ran(tmp_path):
    plan = plan_of("random,colourise,colourise+perceptual-weights=/vgg.safetensors,colourise-bins", seeds=(0,))
    finish(plan, tmp_path, lambda arm, recipe, fold: 0.5)
    told = [line for line in report(plan, tmp_path).splitlines() if "perceptual network: " in line]
    assert [line.partition("network: ")[2] for line in told] == ["a fixed random one", "VGG-16 of /vgg.safetensors"]


def test_a_folder_of_another_study_is_refused(tmp_path):
    claim(plan_of(), tmp_path / "a")
    claim(plan_of(), tmp_path / "a")
    with pytest.raises(UserError, match=r"holds another study.*\n.*\n.*preset: 'tiny' -> 'demo'"):
        claim(plan_of(preset="demo"), tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "holiday.txt").write_text("sun", encoding="utf-8")
    with pytest.raises(UserError, match="exists and holds no study"):
        claim(plan_of(), tmp_path / "b")
    with pytest.raises(UserError, match=r"holds no study: it has no study\.yaml"):
        read_plan(tmp_path / "b")
    with pytest.raises(UserError, match=r"--cell=4: .* has cells 0 to 3"):
        run_one(tmp_path / "a", 4, keep_checkpoints=False)


def test_a_cell_that_fails_is_recorded_and_one_that_does_not_suit_is_no_failure(tmp_path, monkeypatch):
    plan, cell = plan_of(), Cell("inpaint", 0, None)
    for error, applicable in ((UserError("the disk is full"), True), (UnsuitableTask("grey"), False)):

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(execution, "run_cell", fail)
        assert run_here(plan, cell, tmp_path, keep_checkpoints=False) is not applicable
        assert read_failure(folder_of(tmp_path, cell)) == (applicable, str(error))


def test_failures_do_not_stop_the_other_cells(tmp_path, monkeypatch):
    """The cells' processes are replaced by shells, of which one in two fails."""
    plan = plan_of()
    real = subprocess.Popen

    def shell(command, **settings):
        number = int(command[-1].removeprefix("--cell="))
        folder = folder_of(tmp_path, plan.cells()[number])
        script = "echo it broke; exit 3" if number % 2 else f"echo '[]' > '{folder / cells.OUTCOME}'"
        return real(["sh", "-c", script], **settings)

    monkeypatch.setattr(subprocess, "Popen", shell)
    monkeypatch.setattr(execution, "POLL", 0.01)
    done, failed = run_all(plan, tmp_path, jobs=2, devices=(), keep_checkpoints=False)
    assert done == plan.cells()[::2]
    assert sorted(cell.name for cell in failed) == sorted(cell.name for cell in plan.cells()[1::2])
    assert read_failure(folder_of(tmp_path, failed[0])) == (True, "its process ended with status 3: it broke")
    # What is done is not done again.
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a finished cell was started"))
    with pytest.raises(pytest.fail.Exception):
        run_all(plan, tmp_path, jobs=2, devices=(), keep_checkpoints=False)


def test_a_runs_seconds_are_its_own_and_those_of_all_its_attempts(tmp_path, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(cells.time, "monotonic", lambda: next(clock))
    configs = [
        dataclasses.replace(preset("tiny", "finetune"), out=str(tmp_path / name)) for name in ("lr=0.1", "lr=0.2")
    ]

    def train(config, stop=False):
        if stop:
            raise KeyboardInterrupt
        (tmp_path / config.out).mkdir(exist_ok=True)
        (tmp_path / config.out / "metrics.json").write_text("{}", encoding="utf-8")

    monkeypatch.setattr(cells, "train", lambda config: train(config, stop=True))
    with pytest.raises(KeyboardInterrupt):
        cells._timed(configs[0])
    monkeypatch.setattr(cells, "train", train)
    assert [cells._timed(config) for config in configs] == [20, 10]
    # Found finished, a run takes what it took.
    assert [cells._timed(config) for config in configs] == [20, 10]


def test_a_slurm_array_has_every_cell_and_keeps_those_that_wait_apart(tmp_path):
    plan = plan_of("random,random-seconds,inpaint")
    text = write_array(plan, tmp_path, machine()).read_text(encoding="utf-8")
    assert "#SBATCH --array=0,1,3,4\n" in text
    assert f'python -m jaxcaps.study --out={tmp_path} --cell="$SLURM_ARRAY_TASK_ID"' in text
    assert "#SBATCH --array=2,5\n" in (tmp_path / "array-last.sh").read_text(encoding="utf-8")
    keeping = dataclasses.replace(machine(), keep_checkpoints=True)
    assert '"$SLURM_ARRAY_TASK_ID" --keep-checkpoints\n' in write_array(plan, tmp_path, keeping).read_text(
        encoding="utf-8"
    )


def test_the_ledger_only_grows_and_has_each_reading_once(tmp_path):
    ledger = tmp_path / "deep" / "ledger.csv"
    reading = {"data": "csv:x", "what": "final", "arms": "a,b", "seeds": "1,2", "folder": tmp_path}
    record_reading(ledger, **reading, once=True)
    record_reading(ledger, **reading, once=True)
    record_reading(ledger, **(reading | {"seeds": "3"}), once=True)
    with ledger.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seeds"] for row in rows] == ["1,2", "3"]
    assert rows[0]["arms"] == "a,b"
    # An evaluation that is repeated may be of another run in the same folder.
    record_reading(ledger, **reading)
    assert len(ledger.read_text(encoding="utf-8").splitlines()) == 1 + 3


def test_a_final_study_on_a_cluster_is_recorded_before_its_cells_can_run(tmp_path):
    plan = dataclasses.replace(plan_of(), split="test", selection="somewhere")
    ledger = tmp_path / "ledger.csv"
    write_array(plan, tmp_path / "final", machine(ledger))
    write_array(plan, tmp_path / "final", machine(ledger))
    with ledger.open(newline="") as file:
        assert [row["what"] for row in csv.DictReader(file)] == ["final study of somewhere"]
    # Begun anew, it reads the pictures again.
    shutil.rmtree(tmp_path / "final")
    write_array(plan, tmp_path / "final", machine(ledger))
    assert len(ledger.read_text(encoding="utf-8").splitlines()) == 1 + 2
    wrong = plan_of(finetune=("--lr=oops",))
    with pytest.raises((UserError, SystemExit)):
        write_array(wrong, tmp_path / "wrong", machine())
    assert not (tmp_path / "wrong").exists()


def test_a_study_from_the_command_line(tmp_path, capsys, monkeypatch):
    """Pre-training, both kinds of classifier, scores, and nothing done twice."""
    # For the cells' processes: one device compiles faster than eight.
    monkeypatch.setenv("XLA_FLAGS", xla_flags(devices=1))
    flags = ("--preset=tiny", "--inits=random,inpaint,extra-trees", "--seeds=3", "--ssl-epochs=1", "--epochs=1")
    out = tmp_path / "study"
    outcome = run(capsys, *flags, f"--out={out}", command="study")
    assert outcome.status == 0, outcome.output + outcome.errors
    assert "| inpaint |" in outcome.output
    plan = read_plan(out)
    results = {one.cell.arm: one for one in gather(plan, out)}
    assert results["inpaint"].run.pretraining_seconds > 0 == results["random"].run.pretraining_seconds
    assert results["inpaint"].run.architecture == results["random"].run.architecture != ""
    assert len(results["extra-trees"].predictions.labels) == 15
    assert not list(out.glob("**/checkpoints"))
    assert (out / "cells/inpaint/seed-3/ssl/encoder.safetensors").is_file()
    with (out / "pretraining.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    diagnosis = json.loads((out / "cells/inpaint/seed-3/ssl/diagnosis.json").read_text())
    assert (row["initialisation"], row["seed"]) == ("inpaint", "3")
    assert float(row["reconstruction/shuffled"]) == diagnosis["reconstruction"]["shuffled"]
    assert float(row["gradient_over_weight/primary"]) == diagnosis["gradient_over_weight"]["primary"]
    assert (out / "figures" / "convergence.png").is_file()
    assert "| pre-training | runs | linear probe |" in (out / "table.md").read_text()
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/**/*.json")}
    again = run(capsys, *flags, f"--out={out}", command="study")
    assert "3 cells, 3 of them finished" in again.output
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("cells/**/*.json")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--plan=papre"], "--plan=papre: unknown plan; did you mean 'paper'"),
        (["--inits=inpaind"], "did you mean 'inpaint'"),
        (["--folds=1"], "--folds=1: give 2 to 100"),
        (["--label-fractions=0,1"], "each should be above 0"),
        (["--folds=90"], "--folds=90: class"),
        (["--final=nowhere", "--seeds=7", "--preset=demo"], "nowhere holds no study"),
        (["--final=nowhere", "--seeds=7"], "--preset and --final=nowhere: a final study is the one that it names"),
        (["--final=nowhere"], "--final needs fresh --seeds"),
        (["--jobs=0"], "--jobs=0: give at least 1"),
        (["--finetune=--lrr=3"], "lrr"),
        (["--label-fractions=0.01"], "leaves no label of class"),
        (["--inits=random,extra-trees@lr=3"], "extra-trees is no network"),
        (["--finetune=--transfer-latent"], "random hands latent capsules on"),
        (["--inits=transfer-latent+ssl-capsules=8"], "with --ssl-capsules=3, as many as there are classes"),
        (["--inits=colourise+perceptual-weights=small.safetensors"], "features.0.weight"),
    ],
)
def test_bad_studies_are_refused_before_anything_runs(flags, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file({"features.0.weight": np.zeros((2, 3, 3, 3), np.float32)}, "small.safetensors")
    outcome = run(capsys, "--preset=tiny", *flags, command="study")
    assert outcome.status == 2
    assert message in outcome.errors
    assert not (tmp_path / "runs").exists()
