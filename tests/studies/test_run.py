"""Final studies, the ledger, and whose a folder is."""

import csv
import dataclasses
import shutil

import pytest

from jaxcaps.errors import UserError
from jaxcaps.studies.design import Choice
from jaxcaps.studies.execution import Machine, folder_of
from jaxcaps.studies.outcomes import Failure, write_failure
from jaxcaps.studies.results import gather
from jaxcaps.studies.run import final_study, report, run_one, write_array
from jaxcaps.studies.study_file import claim, read_study
from jaxcaps.training.ledger import record_reading
from tests.studies.build import finish, study_of


def test_a_final_study_runs_what_was_chosen_with_seeds_that_were_not_seen(tmp_path):
    study = study_of("--folds=2", "--grid=lr=0.1,0.2")
    claim(study, tmp_path / "selection")
    with pytest.raises(UserError, match="8 of its cells have not finished, such as random/seed-0/fold-0"):
        final_study(tmp_path / "selection", (7, 8))
    finish(study, tmp_path / "selection", lambda arm, recipe, fold: 0.8 if recipe == "lr=0.2" else 0.6)
    with pytest.raises(UserError, match="chosen with seed 1"):
        final_study(tmp_path / "selection", (1, 8))
    final = final_study(tmp_path / "selection", (7, 8))
    assert (final.split, final.seeds, final.selection) == ("test", (7, 8), str(tmp_path / "selection"))
    for cell in final.cells():
        assert [recipe.name for recipe in final.recipes_of(cell, "1")] == ["lr=0.2"]
    claim(final, tmp_path / "final")
    assert read_study(tmp_path / "final") == final
    finish(final, tmp_path / "final", lambda arm, recipe, fold: {"random": 0.6, "inpaint": 0.7}[arm])
    assert "test parts of 2 folds, pooled (120 images" in report(final, tmp_path / "final")
    with pytest.raises(UserError, match="that is itself a final study"):
        final_study(tmp_path / "final", (9,))


def test_a_final_study_leaves_out_what_does_not_suit_the_data(tmp_path):
    study = study_of(inits="random,colourise,inpaint")
    claim(study, tmp_path)
    finish(dataclasses.replace(study, inits=("random", "inpaint")), tmp_path, lambda *_: 0.5)
    failed = [folder_of(tmp_path, cell) for cell in study.cells() if cell.arm == "colourise"]
    for folder, applicable in zip(failed, (False, True), strict=True):
        folder.mkdir(parents=True)
        write_failure(folder, Failure(applicable, "grey"))
    with pytest.raises(UserError, match="2 of its cells have not finished, such as colourise/seed-0"):
        final_study(tmp_path, (7,))
    write_failure(failed[1], Failure(False, "grey"))
    assert [arm.name for arm in final_study(tmp_path, (7,)).arms] == ["random", "inpaint"]


def test_a_final_study_compares_recipes_of_other_lengths_but_no_other_data(tmp_path):
    chosen = tuple(Choice(arm, "1", None, f"epochs={count}") for arm, count in (("random", 1), ("inpaint", 2)))
    study = dataclasses.replace(study_of("--grid=epochs=1,2"), chosen=chosen, split="test")
    finish(study, tmp_path / "a", lambda *_: 0.5, inpaint={"updates": 14})
    assert len(gather(study, tmp_path / "a")) == 4
    finish(study, tmp_path / "b", lambda *_: 0.5, inpaint={"fingerprint": "another"})
    with pytest.raises(UserError, match="cannot be compared: fingerprint another"):
        gather(study, tmp_path / "b")


def test_a_folder_of_another_study_is_refused(tmp_path):
    claim(study_of(), tmp_path / "a")
    claim(study_of(), tmp_path / "a")
    with pytest.raises(UserError, match=r"holds another study.*\n.*\n  preset: 'tiny' -> 'demo'$"):
        claim(study_of("--preset=demo"), tmp_path / "a")
    with pytest.raises(
        UserError, match=r"\n  finetune.data.image_size: 16 -> 24\n  pretrain.data.image_size: 16 -> 24$"
    ):
        claim(study_of("--image-size=24"), tmp_path / "a")
    # How a run is computed is not part of the study.
    assert not claim(study_of("--cache-mb=5"), tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "holiday.txt").write_text("sun", encoding="utf-8")
    with pytest.raises(UserError, match="is not empty and does not hold a study"):
        claim(study_of(), tmp_path / "b")
    with pytest.raises(UserError, match=r"does not hold a study: study\.yaml is missing"):
        read_study(tmp_path / "b")
    with pytest.raises(UserError, match=r"--cell=4: .* has cells 0 to 3"):
        run_one(tmp_path / "a", 4, keep_checkpoints=False)


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
    study = dataclasses.replace(study_of(), split="test", selection="somewhere")
    ledger = tmp_path / "ledger.csv"
    write_array(study, tmp_path / "final", Machine(ledger=ledger))
    write_array(study, tmp_path / "final", Machine(ledger=ledger))
    with ledger.open(newline="") as file:
        assert [row["what"] for row in csv.DictReader(file)] == ["final study of somewhere"]
    # Begun anew, it reads the pictures again.
    shutil.rmtree(tmp_path / "final")
    write_array(study, tmp_path / "final", Machine(ledger=ledger))
    assert len(ledger.read_text(encoding="utf-8").splitlines()) == 1 + 2
    wrong = study_of("--finetune=--epochs=0")
    with pytest.raises(UserError, match="--epochs=0"):
        write_array(wrong, tmp_path / "wrong", Machine())
    assert not (tmp_path / "wrong").exists()
