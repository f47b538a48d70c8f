"""The command as a whole: what it writes, what it does again, and what it leaves alone."""

import csv
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

import data_prep.__main__ as command
from data_prep.config import Preparation
from data_prep.errors import UserError
from data_prep.images.box import Box
from data_prep.images.histogram import histogram
from data_prep.images.reading import read_picture
from data_prep.pipeline import processes, writing
from data_prep.pipeline.prepare import prepare
from data_prep.pipeline.sequence import look
from data_prep.presets import PRESETS
from data_prep.steps.step import Findings
from tests.data_prep.piccolo_release import BOX, write_release

PLAIN = PRESETS["plain"]


def endoscopy(size):
    return replace(PRESETS["endoscopy"], size=size)


ROOT = Path(__file__).parents[3]


def pictures(folder, count=30, side=24):
    """A folder of two classes, all pictures different."""
    rng = np.random.default_rng(7)
    for number in range(count):
        path = folder / "ab"[number % 2] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (6, 6, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC))
    return folder


def plain(source, out, **more):
    more = {"workers": 1, "steps": PLAIN} | more
    return prepare(Preparation(source=source, out=str(out), preset="plain", **more), lambda _: None)


def table(file):
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def checksums(folder):
    """Of every file, with its time of change."""
    return {
        path.relative_to(folder): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def contents(folder):
    """Of every file but the record, whose pages depend on the order of work."""
    return {path: found[0] for path, found in checksums(folder).items() if path.name != "record.sqlite"}


def whole_picture(path):
    """uint8 RGB, by another library that refuses a file that was cut short."""
    with Image.open(path) as opened:
        return np.asarray(opened)


# --- what is written


@pytest.fixture(scope="module")
def piccolo(tmp_path_factory):
    """A prepared miniature of PICCOLO, its source, and the source's checksums before."""
    folder = tmp_path_factory.mktemp("piccolo")
    source = write_release(folder / "source")
    before = checksums(source)
    said = []
    steps = endoscopy(64)
    done = prepare(Preparation(f"piccolo:{source}", str(folder / "out"), workers=1, steps=steps), said.append)
    return folder / "out", source, before, said, done


def test_the_source_is_never_changed(piccolo):
    _, source, before, _, _ = piccolo
    assert checksums(source) == before


def test_labels_are_as_training_reads_them(piccolo):
    out, source, _, _, done = piccolo
    rows = table(out / "labels.csv")
    assert list(rows[0]) == ["path", "label", "group", "split", "modality", "source"]
    # 20 frames, less one without a diagnosis, one whose lesion has two, and one of a lesion that the table lacks.
    assert len(rows) == done.images == 17
    assert {row["label"] for row in rows} == {"hyperplasia", "adenoma", "adenocarcinoma"}
    assert all((out / row["path"]).is_file() and (source / row["source"]).is_file() for row in rows)
    assert rows[0]["path"] == "images/train/001_VP1_frame0001.png"
    assert all(cv2.imread(str(out / row["path"])).shape == (64, 64, 3) for row in rows)


def test_an_overlap_across_the_official_split_is_kept_told_apart_and_reported(piccolo):
    out, _, _, said, _ = piccolo
    groups = {row["group"] for row in table(out / "labels.csv") if "004_" in row["path"]}
    assert groups == {"lesion004 (train)", "lesion004 (validation)"}
    assert yaml.safe_load((out / "dataset.yaml").read_text())["leaks"] == [
        {"group": "lesion004", "train": 2, "validation": 1}
    ]
    assert "Group lesion004 lies in more than one split (train 2, validation 1)." in said
    assert "lesion004" in (out / "report.html").read_text()


def test_the_modality_is_guessed_by_colour_and_written_with_its_confidence(piccolo):
    out, _, _, _, _ = piccolo
    rows = table(out / "frames.csv")
    # The miniature's frames are drawn in white light and narrow band in turn, in the order of their numbers.
    expected = ["WL" if int(row["path"][-6:-4]) % 2 else "NBI" for row in rows]
    assert [row["modality"] for row in rows] == expected
    assert {row["modality_from"] for row in rows} == {"colour"}
    assert all(0.5 <= float(row["modality_confidence"]) <= 1 for row in rows)
    assert [row["modality"] for row in table(out / "labels.csv")] == expected


def test_the_border_comes_from_the_void_mask_where_it_fits(piccolo):
    out, _, _, _, _ = piccolo
    frames = {row["path"][-9:-4]: row for row in table(out / "frames.csv")}
    for name, row in frames.items():
        expected = "picture" if name in ("e0003", "e0004") else "void"
        assert row["border"] == expected, name
        box = tuple(int(row[side]) for side in ("top", "left", "bottom", "right"))
        np.testing.assert_allclose(box, BOX, atol=0 if expected == "void" else 4)
    assert "void mask 002_VP2_frame0004_Void.tif is 10x10, the picture 140x96" in frames["e0004"]["notes"]


def test_the_reference_is_the_sum_over_all_training_frames_of_narrow_band_alone(piccolo):
    out, source, _, _, _ = piccolo
    wanted = np.zeros((3, 256), np.int64)
    used = 0
    frames = {row["source"]: row for row in table(out / "frames.csv")}
    for row in table(out / "labels.csv"):
        if row["split"] != "train" or row["modality"] != "NBI":
            continue
        image = read_picture(source / row["source"], 10**6).image
        void = None
        if frames[row["source"]]["border"] == "void":
            void = np.ones(image.shape[:2], bool)
            void[BOX[0] : BOX[2], BOX[1] : BOX[3]] = False
        findings, image = look(image, Findings(Box(0, 0, *image.shape[:2]), void=void), endoscopy(64))
        wanted += histogram(image, findings.view)
        used += 1
    assert used >= 3
    written = json.loads((out / "reference_histogram.json").read_text())
    np.testing.assert_array_equal(written["counts"], wanted)
    fitted = yaml.safe_load((out / "dataset.yaml").read_text())["fitted"]["reference_histogram"]
    assert fitted["on"] == f"{used} training frames of NBI"


def test_statistics_are_those_of_the_written_training_pictures(piccolo):
    out, _, _, _, _ = piccolo
    paths = [row["path"] for row in table(out / "labels.csv") if row["split"] == "train"]
    pixels = np.concatenate([whole_picture(out / path).reshape(-1, 3) for path in paths]) / 255
    statistics = yaml.safe_load((out / "dataset.yaml").read_text())["statistics"]
    np.testing.assert_allclose(statistics["mean"], pixels.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(statistics["standard_deviation"], pixels.std(axis=0), atol=1e-6)
    assert statistics["pixels"] == len(pixels)


def test_everything_skipped_has_its_reason(piccolo):
    out, _, _, _, done = piccolo
    reasons = {row["source"].split("/")[-1]: row["reason"] for row in table(out / "skipped.csv")}
    assert done.skipped == len(reasons) == 6
    assert reasons["006_VP7_frame0009.png"] == "it has no label (use --unlabelled=keep to keep it)"
    assert "another copy of" in reasons["001_VP1_frame0001.png"]


def test_the_checksums_are_what_sha256sum_checks(piccolo):
    out, _, _, _, _ = piccolo
    lines = (out / "checksums.sha256").read_text().splitlines()
    assert len(lines) == 17
    for line in lines:
        digest, path = line.split("  ")
        assert hashlib.sha256((out / path).read_bytes()).hexdigest() == digest
    for name, digest in yaml.safe_load((out / "dataset.yaml").read_text())["checksums"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


def test_nothing_but_the_outputs_is_left(piccolo):
    out, _, _, _, _ = piccolo
    assert sorted(path.name for path in out.iterdir()) == [
        *("checksums.sha256", "dataset.yaml", "frames.csv", "images", "labels.csv", "near_duplicates.csv"),
        *("record.sqlite", "reference_histogram.json", "report.html", "skipped.csv"),
    ]


def test_metadata_is_stripped_and_counted(tmp_path):
    source = pictures(tmp_path / "source", 12)
    exif = Image.Exif()
    exif[0x010E] = "JANE DOE"
    Image.fromarray(np.eye(24, dtype=np.uint8) * 200).save(source / "a" / "named.jpg", exif=exif)
    plain(f"folder:{source}", tmp_path / "out")
    assert yaml.safe_load((tmp_path / "out" / "dataset.yaml").read_text())["counts"]["metadata_stripped"] == 1
    written = tmp_path / "out" / "images" / "a" / "named.png"
    assert b"JANE" not in written.read_bytes()
    with Image.open(written) as opened:
        assert opened.info == {}


def test_a_modality_table_goes_before_the_colour_and_a_corrected_frames_csv_is_one(piccolo, tmp_path):
    out, source, *_ = piccolo
    shutil.copytree(out, tmp_path / "out")
    told = tmp_path / "told.csv"
    rows = (out / "frames.csv").read_text().splitlines(keepends=True)
    told.write_text(rows[0] + rows[1].replace(",WL,", ",narrow-band,"))
    steps = endoscopy(64)
    config = Preparation(f"piccolo:{source}", f"{tmp_path}/out", workers=1, steps=steps, modality_csv=str(told))
    done = prepare(config, lambda _: None)
    row = table(tmp_path / "out" / "frames.csv")[0]
    assert (row["modality"], row["modality_from"], row["modality_confidence"]) == ("NBI", "told", "")
    assert done.inspected == 1
    # The reference changed by that frame: all white-light frames are matched anew.
    assert done.written > 1


# --- what is done again


def test_a_second_run_does_nothing_and_writes_nothing(tmp_path):
    source = pictures(tmp_path / "source")
    assert plain(f"folder:{source}", tmp_path / "out") == (30, 30, 30, 0)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert plain(f"folder:{source}", tmp_path / "out") == (0, 0, 30, 0)
    before.pop(tmp_path / "out" / "record.sqlite")
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_only_what_is_missing_or_changed_is_done(tmp_path):
    source = pictures(tmp_path / "source")
    out = tmp_path / "out"
    plain(f"folder:{source}", out)
    (out / "images" / "a" / "000.png").unlink()
    (out / "images" / "b" / "001.png").write_bytes(b"tampered with")
    assert plain(f"folder:{source}", out)[:2] == (0, 2)
    cv2.imwrite(str(source / "a" / "002.png"), np.full((24, 24, 3), 9, np.uint8))
    assert plain(f"folder:{source}", out)[:2] == (1, 1)
    cv2.imwrite(str(source / "a" / "new.png"), np.eye(24, dtype=np.uint8) * 99)
    assert plain(f"folder:{source}", out) == (1, 1, 31, 0)
    (source / "a" / "new.png").unlink()
    assert plain(f"folder:{source}", out) == (0, 0, 30, 0)
    assert not (out / "images" / "a" / "new.png").exists()


def test_other_parameters_do_all_anew(tmp_path):
    source = pictures(tmp_path / "source", 12)
    plain(f"folder:{source}", tmp_path / "out")
    done = plain(f"folder:{source}", tmp_path / "out", steps=replace(PLAIN, size=32))
    assert done[:2] == (0, 12)
    assert cv2.imread(str(tmp_path / "out" / "images" / "a" / "000.png")).shape == (32, 32, 3)


@pytest.mark.slow
def test_two_workers_write_what_one_does(piccolo, tmp_path):
    out, source, *_ = piccolo
    prepare(Preparation(f"piccolo:{source}", str(tmp_path / "out"), workers=2, steps=endoscopy(64)), lambda _: None)
    assert contents(tmp_path / "out") == contents(out)


@pytest.mark.slow
def test_a_kill_leaves_whole_files_and_the_next_run_finishes(tmp_path):
    source = pictures(tmp_path / "source", 100, side=64)
    out = tmp_path / "out"
    arguments = ["--preset=plain", f"--source=folder:{source}", f"--out={out}", "--workers=2"]
    run = subprocess.Popen(
        [sys.executable, "-m", "data_prep", *arguments],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while run.poll() is None and len(list((out / "images").rglob("*.png"))) < 10:
        time.sleep(0.002)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL, "the run ended before it was killed"
    assert not (out / "labels.csv").exists()
    # The workers end with their parent: they may still finish the picture in hand.
    while True:
        found = contents(out)
        time.sleep(0.5)
        if contents(out) == found:
            break
    left = sorted((out / "images").rglob("*.png"))
    assert 10 <= len(left) < 100
    assert all(whole_picture(path).shape == (224, 224, 3) for path in left)
    done = plain(f"folder:{source}", out)
    assert done.images == 100
    assert not (out / ".partial").exists()
    plain(f"folder:{source}", tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")


@pytest.mark.slow
def test_an_interruption_is_told_and_the_next_run_goes_on(tmp_path):
    # Slow enough that it is never over before: each takes a tenth of a second and more.
    source = pictures(tmp_path / "source", 60, side=512)
    out = tmp_path / "out"
    arguments = ["--preset=endoscopy", "--workers=2", f"--source=folder:{source}", f"--out={out}"]
    # Tests that run in the background of a shell inherit that interruptions are ignored, and would pass that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    run = subprocess.Popen(
        [sys.executable, "-m", "data_prep", *arguments],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    signal.signal(signal.SIGINT, before)
    while run.poll() is None and len(list((out / "images").rglob("*.png"))) < 20:
        time.sleep(0.005)
    # As a terminal does: to the workers too.
    os.killpg(run.pid, signal.SIGINT)
    assert run.communicate()[1] == "interrupted; repeat the command to continue from the finished frames\n"
    assert run.returncode == 130
    finished = len(list((out / "images").rglob("*.png")))
    again = subprocess.run(
        [sys.executable, "-m", "data_prep", *arguments],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 20 <= finished < 60
    found = re.search(r"60 images in .*, (\d+) of them now", again.stdout)
    # What was under way when the interruption came is made again: two chunks a worker at most.
    assert found is not None
    assert 60 - finished <= int(found[1]) <= 60 - finished + 2 * processes.AHEAD * processes.CHUNK


def test_a_full_disk_is_told_and_finished_work_is_kept(tmp_path, monkeypatch):
    source = pictures(tmp_path / "source")
    out = tmp_path / "out"
    whole, count = Path.write_bytes, 0

    def on_a_full_disk(path, content):
        nonlocal count
        if path.is_relative_to(out):
            count += 1
            if count > 10:
                whole(path, content[: len(content) // 2])
                raise OSError(28, "No space left on device")
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", on_a_full_disk)
    with pytest.raises(UserError, match=r"No space left on device.*Finished frames are kept") as caught:
        plain(f"folder:{source}", out)
    assert f"--out={out}" in str(caught.value)
    assert len(list((out / "images").rglob("*.png"))) == 10
    assert list((out / writing.PARTIAL).iterdir()) == []
    assert not (out / "labels.csv").exists()
    monkeypatch.undo()
    assert plain(f"folder:{source}", out) == (0, 20, 30, 0)


def test_a_folder_in_use_is_refused(tmp_path):
    from data_prep.pipeline.record import Record

    source = pictures(tmp_path / "source", 12)
    plain(f"folder:{source}", tmp_path / "out")
    with Record(tmp_path / "out"), pytest.raises(UserError, match="another command is writing this folder"):
        plain(f"folder:{source}", tmp_path / "out")


# --- bad input


def test_each_bad_file_gets_a_line_with_its_reason(tmp_path):
    source = pictures(tmp_path / "source", 24)
    outside = tmp_path / "outside.png"
    cv2.imwrite(str(outside), np.full((8, 8, 3), 77, np.uint8))
    whole = (source / "a" / "000.png").read_bytes()
    for name, content in {
        "cut.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.jpg": b"no picture",
        "copy.png": whole,
        "notes.txt": b"notes",
    }.items():
        (source / "a" / name).write_bytes(content)
    (source / "a" / "link.png").symlink_to(outside)
    (source / "a" / "loop.png").symlink_to("loop.png")
    (source / "a" / "same.png").symlink_to("002.png")
    cv2.imwrite(str(source / "a" / "huge.png"), np.zeros((300, 400, 3), np.uint8))
    Image.fromarray(np.eye(24, dtype=np.uint8) * 99 + np.arange(24, dtype=np.uint8) * 5).save(
        source / "a" / "mislabelled.jpg", "PNG"
    )
    done = plain(f"folder:{source}", tmp_path / "out", max_pixels=100_000)
    reasons = {row["source"]: row["reason"] for row in table(tmp_path / "out" / "skipped.csv")}
    # The links' class folder lists what is a file: a link to itself is none.
    assert reasons.pop("a/loop.png", "its symbolic links lead nowhere") in (
        "its symbolic links lead nowhere",
        "no such file",
        "not a regular file",
    )
    assert reasons == {
        "a/cut.png": "it is not an image, or it is damaged",
        "a/empty.png": "the file is empty",
        "a/text.jpg": "it is not an image, or it is damaged",
        "a/copy.png": "the same file as a/000.png",
        "a/same.png": "the same file as a/002.png",
        "a/notes.txt": "its suffix is not that of an image",
        "a/link.png": f"a symbolic link leads outside the source folder {source}",
        "a/huge.png": "its 400x300 pixels are more than --max-pixels=100000",
    }
    assert done.images == 25
    (row,) = [row for row in table(tmp_path / "out" / "frames.csv") if "mislabelled" in row["source"]]
    assert row["notes"] == "its content is PNG, but its name ends in .jpg: read as PNG"


def test_a_file_that_cannot_be_read_is_skipped_and_tried_again_later(tmp_path, monkeypatch):
    source = pictures(tmp_path / "source", 12)
    whole = Path.read_bytes

    def denied(path):
        if path.name == "002.png":
            raise PermissionError(13, "Permission denied")
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert plain(f"folder:{source}", tmp_path / "out") == (12, 11, 11, 1)
    assert table(tmp_path / "out" / "skipped.csv") == [{"source": "a/002.png", "reason": "Permission denied"}]
    monkeypatch.undo()
    assert plain(f"folder:{source}", tmp_path / "out") == (1, 1, 12, 0)


def test_names_with_spaces_and_accents_survive_and_path_tricks_do_not(tmp_path):
    source = pictures(tmp_path / "source", 12)
    outside = tmp_path / "elsewhere.png"
    cv2.imwrite(str(outside), np.full((8, 8, 3), 77, np.uint8))
    (source / "a" / "000.png").rename(source / "a" / "à la carte, 1.png")
    lines = [f'"{path.relative_to(source)}",{path.parent.name}' for path in sorted(source.rglob("*.png"))]
    lines += ["../elsewhere.png,a", f"{outside},b", "missing.png,a"]
    lines[2] = lines[2].replace('"a/', '"b/../a/')
    (source / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
    with pytest.raises(UserError, match="already listed"):
        plain(f"csv:{source}/labels.csv", tmp_path / "out")
    (source / "labels.csv").write_text("path,label\n" + "\n".join(line for line in lines if str(tmp_path) not in line))
    assert plain(f"csv:{source}/labels.csv", tmp_path / "out").images == 12
    reasons = {row["source"]: row["reason"] for row in table(tmp_path / "out" / "skipped.csv")}
    assert reasons == {
        "../elsewhere.png": f"it lies outside the source folder {source}",
        "missing.png": "no such file",
    }
    paths = {row["path"] for row in table(tmp_path / "out" / "labels.csv")}
    assert "images/a/à la carte, 1.png" in paths
    assert all(".." not in path for path in paths)
    everything = {path for path in tmp_path.rglob("*.png") if not path.is_relative_to(source)}
    assert everything == {outside, *(tmp_path / "out" / path for path in paths)}


def test_a_table_elsewhere_needs_the_root_of_its_images(tmp_path):
    source = pictures(tmp_path / "source", 12)
    (tmp_path / "tables").mkdir()
    file = tmp_path / "tables" / "labels.csv"
    file.write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in sorted(source.rglob("*.png"))))
    with pytest.raises(UserError, match="no frame to prepare; the first of 12 skipped is"):
        plain(f"csv:{file}", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert plain(f"csv:{file}", tmp_path / "out", root=str(source)).images == 12
    assert {path.parts[-3] for path in (tmp_path / "out").rglob("*.png")} == {"source"}


MISTAKES = {
    "no source": ([], ["--source"]),
    "an unknown kind": (
        ["--source=fodler:{source}"],
        ["--source=fodler:", "did you mean --source=folder:{source}?"],
    ),
    "a bare folder": (["--source={source}"], ["did you mean --source=folder:{source}?"]),
    "a bare table": (["--source=x.csv"], ["did you mean --source=csv:x.csv?"]),
    "a missing folder": (["--source=folder:nowhere"], ["nowhere", "no such folder"]),
    "no release": (["--source=piccolo:{source}"], ["no frame found"]),
    "the source as output": (
        ["--source=folder:{source}", "--out={source}"],
        ["--out={source}", "is the source folder"],
    ),
    "output in the source": (["--source=folder:{source}", "--out={source}/x"], ["lies in the source folder"]),
    "an unknown preset": (["--source=folder:{source}", "--preset=plane"], ["--preset=plane", "did you mean 'plain'?"]),
    "no workers": (["--source=folder:{source}", "--workers=0"], ["--workers=0", "at least 1"]),
    "a size of nothing": (["--source=folder:{source}", "--size=0"], ["--size=0"]),
    "a root for a folder": (["--source=folder:{source}", "--root=x"], ["--root=x", "does not apply to folder"]),
    "a missing modality table": (["--source=folder:{source}", "--modality-csv=x.csv"], ["--modality-csv=x.csv"]),
    "a pattern of nothing": (
        ["--source=folder:{source}", "--exclude=*_mask*"],
        ["--exclude=*_mask*", "matches no picture", "a/000.png"],
    ),
    "a mistyped flag": (["--source=folder:{source}", "--clip-limt=2"], ["--clip-limt", "--clip-limit"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_named_and_nothing_written(case, tmp_path, monkeypatch, capsys):
    source = pictures(tmp_path / "source", 4)
    before = checksums(tmp_path)
    arguments, words = MISTAKES[case]
    arguments = [argument.format(source=source) for argument in arguments]
    if not any(argument.startswith("--out") for argument in arguments):
        arguments.append(f"--out={tmp_path}/out")
    monkeypatch.setattr(sys, "argv", ["data_prep", *arguments])
    monkeypatch.chdir(tmp_path)
    try:
        status = command.main()
    except SystemExit as stop:
        status = stop.code
    errors = capsys.readouterr().err
    assert status == 2
    for word in words:
        assert word.format(source=source) in errors
    assert checksums(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_did_and_help_waits_for_nothing(tmp_path, monkeypatch, capsys):
    source = pictures(tmp_path / "source", 12)
    flags = [f"--source=folder:{source}", f"--out={tmp_path}/out", "--preset=plain", "--size=32", "--no-resize"]
    monkeypatch.setattr(sys, "argv", ["data_prep", *flags, "--workers=1"])
    assert command.main() == 0
    assert f"12 images in {tmp_path}/out, all of them now" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "out" / "images" / "a" / "000.png")).shape == (24, 24, 3)
    code = (
        "import sys; import data_prep.__main__ as m; m.parse(['--source=a', '--out=b']);"
        "sys.exit(bool({'jax', 'matplotlib', 'scipy', 'PIL'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path).returncode == 0


def test_a_preset_is_where_flags_start_from():
    config = command.parse(["--source=folder:x", "--out=y", "--preset=plain", "--clahe", "--clip-limit=3"])
    assert config.steps == replace(PLAIN, clahe=True, clip_limit=3.0)


@pytest.mark.parametrize(
    ("source", "preset"), [("folder:x", "plain"), ("csv:x.csv", "plain"), ("piccolo:x", "endoscopy")]
)
def test_only_endoscopes_get_the_steps_of_an_endoscope_by_default(source, preset):
    config = command.parse([f"--source={source}", "--out=y"])
    assert (config.preset, config.steps) == (preset, PRESETS[preset])
    assert command.parse(["--source", source, "--out=y", "--preset=plain"]).steps == PLAIN


def test_files_are_left_out_by_pattern_and_all_others_go_into_one_split(tmp_path):
    source = pictures(tmp_path / "source", 6)
    (source / "a" / "000.png").rename(source / "a" / "000_mask.png")
    flags = ["--exclude", "*_mask*", "b/00[3-5]*", "--split=test", f"--source=folder:{source}", f"--out={tmp_path}/out"]
    said = []
    prepare(replace(command.parse(flags), workers=1), said.append)
    rows = table(tmp_path / "out" / "labels.csv")
    assert [(row["source"], row["split"]) for row in rows] == [
        ("a/002.png", "test"), ("a/004.png", "test"), ("b/001.png", "test"),
    ]  # fmt: skip
    reasons = {row["source"]: row["reason"] for row in table(tmp_path / "out" / "skipped.csv")}
    assert reasons["a/000_mask.png"] == "--exclude=*_mask*"
    assert said == ["Steps (--preset=plain): resize. Overlays (text, guide boxes) stay in the pictures; "
                    "--overlays masks them"]  # fmt: skip


def test_what_needs_a_look_is_said(tmp_path):
    source = pictures(tmp_path / "source", 6)
    for number in range(2):
        mask = np.zeros((24, 24), np.uint8)
        mask[4 + number : 9] = 255
        cv2.imwrite(str(source / "a" / f"{number}.png"), mask)
    said = []
    prepare(Preparation(f"folder:{source}", f"{tmp_path}/out", workers=1, split="train"), said.append)
    assert said[1:] == [
        "Odd files: 2 of 8 frames",
        "  2 x nearly all of its pixels have one of two grey levels: is it a mask? --exclude leaves out files",
    ]
