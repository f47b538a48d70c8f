"""The listing of a release, on a miniature that has every oddity; each answer read off its table by hand."""

import shutil
import zipfile

import pytest

from data_prep.errors import UserError
from data_prep.sources.piccolo import list_piccolo
from tests.data_prep.piccolo_release import TABLE, write_release


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("piccolo") / "my copy")


@pytest.fixture
def copy(release, tmp_path):
    """A release that a test may change."""
    return shutil.copytree(release, tmp_path / "copy")


def listed(folder):
    return list_piccolo(folder, f"--source=piccolo:{folder}")


def by_short(found):
    return {frame.short: frame for frame in found.frames}


def note(found, *words):
    """The one note that has all the words."""
    notes = [text for text in found.notes if all(word in text for word in words)]
    assert len(notes) == 1, found.notes
    return notes[0]


def test_every_frame_is_listed_once_under_its_folders_split(release):
    frames = by_short(listed(release))
    assert len(frames) == len(listed(release).frames) == 20
    assert all(short.split("/")[0] == frame.split for short, frame in frames.items())
    assert all(frame.path.is_file() and frame.path == release / frame.name for frame in frames.values())


def test_a_label_is_the_lesions_by_the_first_three_digits(release):
    frames = by_short(listed(release))
    labels = {short.split("/")[1][:3]: frame.label for short, frame in frames.items()}
    assert labels == {
        "001": "adenoma",
        "002": "hyperplasia",
        "003": "adenoma",
        "004": "adenocarcinoma",
        "005": "adenoma",
        "006": None,
        "007": None,
        "008": "hyperplasia",
        "010": "adenocarcinoma",
        "011": None,
        "012": "hyperplasia",
        "013": "adenocarcinoma",
        "014": "adenoma",
    }


def test_a_group_is_a_component_of_lesions_and_videos(release):
    frames = by_short(listed(release))
    groups = {short.split("/")[1][:3]: frame.group for short, frame in frames.items()}
    # 002 and 003 share VP2. VP1 is a prefix of VP10: 001 and 010 have nothing in common.
    assert groups["002"] == groups["003"] == "lesion002"
    assert groups["001"] == "lesion001"
    assert groups["010"] == "lesion010"
    assert len(set(groups.values())) == len(groups) - 1


def test_a_chain_of_videos_joins_lesions_that_share_none(copy):
    # The name of a frame links 001 to VP9, where 008 was seen.
    folder = next(copy.glob("piccolo*/piccolo*/train/polyps"))
    shutil.copy(folder / "001_VP1_frame0001.png", folder / "001_VP9_frame0999.png")
    frames = by_short(listed(copy))
    assert frames["train/001_VP1_frame0001"].group == frames["test/008_VP9_frame0016"].group == "lesion001"


def test_a_void_mask_is_found_beside_its_frame(release):
    frames = by_short(listed(release))
    assert frames["train/001_VP1_frame0001"].void.name == "001_VP1_frame0001_Void.tif"
    assert frames["train/002_VP2_frame0003"].void is None


def test_of_copies_the_whole_one_counts(release):
    found = listed(release)
    path = by_short(found)["train/001_VP1_frame0001"].path
    assert "again" not in path.parts
    assert ("again/train/polyps/001_VP1_frame0001.png", f"another copy of {path.relative_to(release)}") in found.skipped


def test_stray_files_are_skipped_with_a_reason_and_those_of_systems_passed_over(release):
    skipped = {name.split("/")[-1]: reason for name, reason in listed(release).skipped}
    assert set(skipped) == {"001_VP1_frame0001.png", "Thumbs.db", "preview.png"}
    assert "not named like a frame" in skipped["preview.png"]


def test_all_that_is_missing_or_contradicts_is_noted(release):
    found = listed(release)
    note(found, "20 frames (train 10, validation 5, test 5)")
    note(found, "not valid UTF-8", TABLE, "Windows-1252")
    note(found, "lesion 006 has no diagnosis")
    note(found, "label conflict: lesion 007 is adenoma and hyperplasia")
    note(found, "frames without a void mask", ": 1 (train/002_VP2_frame0003)")
    note(found, "frames without a polyp mask", ": 1 (train/003_VP2_frame0005")
    note(found, "void or polyp masks without their frame: 1 (test/008_VP9_frame0017")
    note(found, "lesions of frames that are not in the metadata", "011")
    note(found, "lesions of the metadata without a frame: 1 (009)")
    note(found, "whose folder is not the split", "014_VP14_frame0021 in test, metadata train")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_any_folder_above_the_release_will_do(release, depth):
    folder = release.joinpath(*["piccolo dataset-release0.1"] * depth)
    assert set(by_short(listed(folder))) == set(by_short(listed(release)))


def test_a_release_without_nesting_and_with_other_cases_is_the_same(release, tmp_path):
    inner = next(release.glob("piccolo*/piccolo*"))
    shutil.copytree(inner, tmp_path / "flat")
    (tmp_path / "flat" / "train").rename(tmp_path / "flat" / "Train")
    (tmp_path / "flat" / "Train" / "void").rename(tmp_path / "flat" / "Train" / "VOID")
    frames = by_short(listed(tmp_path / "flat"))
    assert set(frames) == set(by_short(listed(release)))
    assert frames["train/001_VP1_frame0001"].void is not None


def test_a_zip_and_back_changes_nothing(release, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in release.rglob("*"):
            archive.write(path, path.relative_to(release))
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    again = listed(tmp_path / "unpacked")
    assert [frame._replace(path=None, void=None) for frame in again.frames] == [
        frame._replace(path=None, void=None) for frame in listed(release).frames
    ]


def test_clean_utf_8_is_read_as_such(copy):
    table = next(copy.rglob(TABLE))
    table.write_text(table.read_bytes().decode("cp1252"), encoding="utf-8-sig")
    found = listed(copy)
    assert not any("UTF-8" in text for text in found.notes)
    assert by_short(found)["test/010_VP10_frame0018"].label == "adenocarcinoma"


def test_of_two_tables_the_longer_counts(copy):
    table = next(copy.rglob(TABLE))
    (copy / "again" / TABLE).write_bytes(b"\r\n".join(table.read_bytes().split(b"\r\n")[:5]))
    found = listed(copy)
    note(found, "copies of the metadata differ")
    assert by_short(found)["test/010_VP10_frame0018"].label == "adenocarcinoma"


def test_an_unknown_diagnosis_is_no_label_and_noted(copy):
    table = next(copy.rglob(TABLE))
    table.write_bytes(table.read_bytes().replace(b"001;VP1;Adenoma", b"001;VP1;Lymphoma"))
    found = listed(copy)
    note(found, "lesion 001", "'Lymphoma'")
    assert by_short(found)["train/001_VP1_frame0001"].label is None


def test_a_name_in_two_splits_is_noted(copy):
    inner = next(copy.glob("piccolo*/piccolo*"))
    shutil.copy(inner / "train/polyps/001_VP1_frame0001.png", inner / "test/polyps/001_VP1_frame0001.png")
    note(listed(copy), "names of frames in more than one split", "001_VP1_frame0001")


def test_what_is_no_release_is_refused(release, copy, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for folder, words in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "file", "it is a file")):
        with pytest.raises(UserError, match=words):
            listed(folder)
    with pytest.raises(UserError, match="no frame found; expected train/polyps/001_VP1"):
        listed(tmp_path / "empty")
    table = next(copy.rglob(TABLE))
    table.write_text("a;b\n1;2\n")
    with pytest.raises(UserError, match="no column begins with 'CODE - LESION'; found a, b"):
        listed(copy)
    table.write_text("CODE - LESION;LITERAL DIAGNOSIS\n;\n")
    with pytest.raises(UserError, match="no row has the code of a lesion"):
        listed(copy)
    table.unlink()
    with pytest.raises(UserError, match=r"no 'clinical metadata_release0\.1\.csv' in it"):
        listed(copy)
