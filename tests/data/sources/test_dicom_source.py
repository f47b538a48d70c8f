import os
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import JPEGLSLossless, SecondaryCaptureImageStorage, generate_uid

from jaxcaps.data.dataset import load_dataset
from jaxcaps.data.decoding import BadImage
from tests.data.sources.sample import Sample, noise, open_spec, refused

NAME, ID = "Mustermann^Erika", "KA-4711/x"
PLAIN = (9, 7)
DAMAGED = b"\0" * 128 + b"DICM" + b"\0" * 20


def write_dicom(path, pixels, kind="MONOCHROME2", *, bits=None, **elements):
    """Writes a DICOM file with pixels [h, w], [h, w, 3] or [frames, h, w]."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    header.PatientName, header.PatientID, header.StudyInstanceUID = NAME, ID, generate_uid()
    header.set_pixel_data(pixels, "MONOCHROME2" if kind == "PALETTE COLOR" else kind, bits or pixels.dtype.itemsize * 8)
    header.PhotometricInterpretation = kind
    for name, value in elements.items():
        setattr(header, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)
    return path


def with_palette(colours):
    """The elements of a palette, uint8 [256, 3]."""
    names = ("Red", "Green", "Blue")
    tables = {f"{name}PaletteColorLookupTableData": colours[:, place].tobytes() for place, name in enumerate(names)}
    return tables | {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 8] for name in names}


def write(folder, pictures):
    for number, picture in enumerate(pictures):
        path = folder.joinpath(*(part for part in (picture.split, picture.label) if part), f"{number}.dcm")
        patient = {"PatientID": picture.group or f"alone {number}"}
        if picture.pixels is None:
            write_dicom(path, noise(0, (64, 64)), **patient)
            path.write_bytes(path.read_bytes()[:-1000])
        elif picture.palette:
            indices, colours = picture.indexed()
            write_dicom(path, indices, "PALETTE COLOR", **with_palette(colours), **patient)
        else:
            write_dicom(path, picture.pixels, "RGB" if picture.pixels.ndim == 3 else "MONOCHROME2", **patient)
    return f"dicom:{folder}"


SAMPLE = Sample(write, frozenset({"grey", "16-bit", "palette", "damaged", "unlabelled", "groups", "splits"}))


def grey_of(tmp_path, pixels, kind="MONOCHROME2", **elements):
    """The grey values as read."""
    write_dicom(tmp_path / "x.dcm", pixels, kind, **elements)
    picture = open_spec(f"dicom:{tmp_path}").read(0)
    assert (picture == picture[..., :1]).all()
    return picture[..., 0]


# --- pixels


def test_grey_values_go_through_rescaling_and_the_first_window(tmp_path):
    """CT: stored values minus 1024 are Hounsfield units. The window of centre 40 and width 81 shows 0 to 80 (PS3.3
    C.11.2.1.2.1)."""
    stored = np.array([[0, 1024, 1044, 1064, 1104, 4095]], np.uint16)
    window = dict(RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=[40, 600], WindowWidth=[81, 1200])
    expected = np.rint(255 * np.array([0, (0 - 39.5) / 80 + 0.5, (20 - 39.5) / 80 + 0.5, 0.50625, 1, 1]))
    np.testing.assert_array_equal(grey_of(tmp_path, stored, bits=12, **window)[0], expected)
    inverted = grey_of(tmp_path, stored, "MONOCHROME1", bits=12, **window)[0]
    np.testing.assert_array_equal(inverted, 255 - expected)
    signed = dict(WindowCenter=0, WindowWidth=200, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_array_equal(
        grey_of(tmp_path, np.array([[-300, -100, 0, 100, 300]], np.int16), **signed)[0], [0, 0, 128, 255, 255]
    )


def test_a_table_of_values_goes_before_a_window(tmp_path):
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4, 10, 10], [0, 1023, 341, 682]
    table["LUTData"].VR = "US"
    found = grey_of(
        tmp_path, np.array([[9, 10, 11, 12, 13, 14]], np.uint16), VOILUTSequence=[table], WindowCenter=1, WindowWidth=1
    )
    np.testing.assert_array_equal(found[0], [0, 0, 255, 85, 170, 170])


def test_without_a_window_grey_values_are_stretched_and_a_note_says_so(tmp_path):
    stored = np.arange(1000, dtype=np.uint16).reshape(20, 50) + 5000
    low, high = np.percentile(stored, [0.5, 99.5])
    expected = np.rint(np.clip((stored - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(grey_of(tmp_path, stored), expected)
    assert open_spec(f"dicom:{tmp_path}").notes == (
        "DICOM: 1 of 1 pictures have no window; their grey values are stretched between the 0.5 and 99.5 percentiles.",
    )
    assert not grey_of(tmp_path, np.full((4, 4), 7, np.uint16)).any()
    # 8-bit values need no window.
    stored = noise(0, (5, 4))
    np.testing.assert_array_equal(grey_of(tmp_path, stored, RescaleSlope=1, RescaleIntercept=0), stored)
    np.testing.assert_array_equal(grey_of(tmp_path, stored), stored)
    assert open_spec(f"dicom:{tmp_path}").notes == ()


def test_colours_are_rgb(tmp_path):
    pixels = noise(1)
    write_dicom(tmp_path / "a.dcm", pixels, "RGB")
    ybr = pydicom.pixels.convert_color_space(pixels, "RGB", "YBR_FULL")
    write_dicom(tmp_path / "b.dcm", ybr, "YBR_FULL")
    source = open_spec(f"dicom:{tmp_path}")
    np.testing.assert_array_equal(source.read(0), pixels)
    # YBR is rounded.
    assert np.abs(source.read(1).astype(int) - pixels).max() <= 2


def test_each_frame_is_a_picture_with_its_own_window(tmp_path):
    pixels = noise(2, (3, 6, 5), np.uint16)
    windows = []
    for centre in (1000, 30000, 60000):
        window, frame = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = centre, 2000
        frame.FrameVOILUTSequence = [window]
        windows.append(frame)
    write_dicom(tmp_path / "film.dcm", pixels, NumberOfFrames=3, PerFrameFunctionalGroupsSequence=windows)
    source = open_spec(f"dicom:{tmp_path}")
    assert [item.name for item in source.items] == ["film.dcm#1", "film.dcm#2", "film.dcm#3"]
    assert len({item.group for item in source.items}) == 1
    assert source.notes == ()
    for place, centre in enumerate((1000, 30000, 60000)):
        expected = np.rint(255 * np.clip((pixels[place] - (centre - 0.5)) / 1999 + 0.5, 0, 1))
        np.testing.assert_array_equal(source.read(place)[..., 0], expected)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("MR_small_RLE.dcm", (64, 64)),
        ("MR_small_bigendian.dcm", (64, 64)),
        ("JPEG2000.dcm", (1024, 256)),
        ("SC_rgb_jpeg_dcmtk.dcm", (100, 100)),
        ("SC_rgb_rle_16bit.dcm", (100, 100)),
        ("SC_ybr_full_422_uncompressed.dcm", (100, 100)),
    ],
)
def test_files_as_devices_write_them(tmp_path, name, shape):
    (tmp_path / name).symlink_to(get_testdata_file(name, download=False))
    picture = open_spec(f"dicom:{tmp_path}").read(0)
    assert picture.shape == (*shape, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10
    plain = {"MR_small_RLE.dcm": "MR_small.dcm", "MR_small_bigendian.dcm": "MR_small.dcm"}.get(name)
    if plain:
        (tmp_path / "plain.dcm").symlink_to(get_testdata_file(plain, download=False))
        np.testing.assert_array_equal(open_spec(f"dicom:{tmp_path}").read(1), picture)


# --- files


def test_files_are_found_by_content_and_classes_by_folder(tmp_path):
    write_dicom(tmp_path / "Train" / "benign" / "deep" / "IM0001", noise(0, PLAIN))
    write_dicom(tmp_path / "test" / "malignant" / "b.png", noise(1, PLAIN))
    write_dicom(tmp_path / "test" / "malignant" / ".hidden", noise(1, PLAIN))
    write_dicom(tmp_path / "test" / "c.dcm", noise(1, PLAIN))
    (tmp_path / "test" / "notes.dcm").write_text("not DICOM")
    (tmp_path / "test" / "empty.dcm").touch()
    report = write_dicom(tmp_path / "test" / "report.dcm", noise(1, PLAIN))
    header = pydicom.dcmread(report)
    for name in ("PixelData", "Rows", "Columns"):
        delattr(header, name)
    header.save_as(report)
    source = open_spec(f"dicom:{tmp_path}")
    assert [(item.name, item.label, item.split) for item in source.items] == [
        ("Train/benign/deep/IM0001", "benign", "train"),
        ("test/c.dcm", None, "test"),
        ("test/malignant/b.png", "malignant", "test"),
    ]
    assert source.notes == ("DICOM: skipped 3 files without a DICOM picture.",)


def test_a_table_names_files_classes_and_splits(tmp_path):
    for name in ("a/1.dcm", "a/2.dcm", "b/3.dcm"):
        write_dicom(tmp_path / name, noise(0, (2, 4, 4)) if "2" in name else noise(0, (4, 4)))
    (tmp_path / "labels.csv").write_text("path,label,split\nb/3.dcm,ill,test\na/2.dcm,,val\nlost.dcm,ill,train\n")
    source = open_spec(f"dicom:{tmp_path}")
    assert [(item.name, item.label, item.split) for item in source.items[:3]] == [
        ("b/3.dcm", "ill", "test"),
        ("a/2.dcm#1", None, "validation"),
        ("a/2.dcm#2", None, "validation"),
    ]
    with pytest.raises(BadImage, match="no such file"):
        source.read(3)


def test_split_folders_beside_others_are_refused(tmp_path):
    write_dicom(tmp_path / "train" / "a" / "1.dcm", noise(0, PLAIN))
    write_dicom(tmp_path / "dev" / "a" / "1.dcm", noise(0, PLAIN))
    refused(f"dicom:{tmp_path}", "train are named as splits, but the folders beside them are not")


def test_a_folder_without_dicom_files_is_refused(tmp_path):
    (tmp_path / "x.dcm").write_text("text")
    refused(f"dicom:{tmp_path}", "no DICOM picture found among 1 files")


def test_damaged_and_undecodable_files_are_bad_images(tmp_path):
    short = write_dicom(tmp_path / "1.dcm", noise(0, (40, 40)))
    short.write_bytes(short.read_bytes()[:-900])
    (tmp_path / "2.dcm").write_bytes(DAMAGED)
    write_dicom(tmp_path / "3.dcm", noise(0, (4, 4)))
    header = pydicom.dcmread(tmp_path / "3.dcm")
    header.file_meta.TransferSyntaxUID = JPEGLSLossless
    header.PixelData = pydicom.encaps.encapsulate([b"1234"])
    header["PixelData"].VR = "OB"
    header.save_as(tmp_path / "3.dcm")
    write_dicom(tmp_path / "4.dcm", noise(0, (4, 4)), WindowCenter=5, WindowWidth=0)
    write_dicom(tmp_path / "5.dcm", noise(0, (4, 4)))
    source = open_spec(f"dicom:{tmp_path}")
    assert len(source.items) == 5
    for place, reason in enumerate(
        ("its pixels cannot be decoded", "header is damaged", "compressed as JPEG-LS .*pip install", "Window Width")
    ):
        with pytest.raises(BadImage, match=reason):
            source.read(place)
    assert source.read(4).shape == (4, 4, 3)


def test_without_pydicom_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    refused(f"dicom:{tmp_path}", "pip install 'jaxcaps[dicom]'")


# --- privacy


def texts_of(folder):
    """Everything about the data that a run may show or write."""
    source = open_spec(f"dicom:{folder}")
    dataset = load_dataset(
        data=f"dicom:{folder}", image_size=8, labels="optional", split_seed=0, synthetic_count=1, synthetic_seed=0,
        max_bad_images=0.5, cache_bytes=2**20,
    )  # fmt: skip
    reasons = []
    for place in range(len(source.items)):
        try:
            source.read(place)
        except BadImage as error:
            reasons.append(str(error))
    return source, repr((source, source.items, source.notes, dataset, reasons))


def test_no_output_identifies_the_patient(tmp_path, caplog):
    for number in range(4):
        issued = dict(IssuerOfPatientID="clinic")
        write_dicom(tmp_path / "benign" / f"mustermann_{number}.dcm", noise(number, (40, 40)), **issued)
        write_dicom(tmp_path / "ill" / "Erika M" / f"{number}.dcm", noise(number + 9, (40, 40)))
        write_dicom(tmp_path / "ill" / "ka4711X" / f"KA 4711 x {number}", noise(number + 19, (40, 40)))
        write_dicom(tmp_path / "ill" / f"plain-{number}.dcm", noise(number + 29, (40, 40)), PatientID="8")
    short = tmp_path / "benign" / "mustermann_0.dcm"
    short.write_bytes(short.read_bytes()[:-900])
    damaged = tmp_path / "benign" / "mustermann_1.dcm"
    damaged.write_bytes(DAMAGED + NAME.encode())
    source, text = texts_of(tmp_path)
    for word in ("mustermann", "erika", "4711"):
        assert word not in (text + caplog.text).replace(str(tmp_path), "").casefold()
    assert len({item.name for item in source.items}) == 16
    assert [item.name for item in source.items if "plain" in item.name] == [f"ill/plain-{n}.dcm" for n in range(4)]
    # Pictures of one patient share a group; the same ID with another issuer, or with none, is another group.
    groups = [item.group for item in source.items if item.group is not None]
    assert sorted(groups.count(group) for group in set(groups)) == [3, 4, 8]
    assert open_spec(f"dicom:{tmp_path}").items == source.items


def test_a_class_that_is_named_after_a_patient_is_refused_without_the_name(tmp_path):
    write_dicom(tmp_path / "erika_m" / "1.dcm", noise(0, PLAIN))
    with pytest.raises(Exception, match="a class is named after its only patient") as error:
        open_spec(f"dicom:{tmp_path}")
    assert "erika" not in str(error.value)
    # A class may be a number that is also an ID, and a name may contain the letters of a class.
    other = Path(tmp_path, "other")
    write_dicom(other / "1" / "1.dcm", noise(0, PLAIN), PatientID="11")
    assert open_spec(f"dicom:{other}").items[0].label == "1"


def test_a_name_that_occurs_in_a_class_by_chance_is_no_obstacle(tmp_path):
    write_dicom(tmp_path / "benign" / "1.dcm", noise(0, PLAIN), PatientName="Smith^Ben", PatientID="1")
    write_dicom(tmp_path / "benign" / "2.dcm", noise(1, PLAIN), PatientID="2")
    assert [item.label for item in open_spec(f"dicom:{tmp_path}").items] == ["benign", "benign"]


def test_a_file_without_patient_and_study_keeps_its_class(tmp_path):
    for label in ("benign", "malignant"):
        write_dicom(tmp_path / label / "1.dcm", noise(0, PLAIN), PatientID="", StudyInstanceUID="")
    assert [item.label for item in open_spec(f"dicom:{tmp_path}").items] == ["benign", "malignant"]


def test_a_file_without_patient_belongs_to_its_study(tmp_path):
    for number in range(3):
        write_dicom(tmp_path / f"{number}.dcm", noise(0, PLAIN), PatientID="", StudyInstanceUID=f"1.2.{number > 0:d}")
    first, second, third = (item.group for item in open_spec(f"dicom:{tmp_path}").items)
    assert first != second == third


def test_names_that_are_not_utf_8_are_escaped(tmp_path):
    file = write_dicom(tmp_path / "cafe" / "a.dcm", noise(0, PLAIN))
    file.with_name("b.dcm").write_bytes(DAMAGED)
    for name in ("a", "b"):
        file.with_name(f"{name}.dcm").rename(file.with_name(os.fsdecode(name.encode() + b"\xff.dcm")))
    file.parent.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    source = open_spec(f"dicom:{tmp_path}")
    (item,) = (item for item in source.items if item.group is not None)
    assert (item.name, item.label) == ("caf\\xe9/a\\xff.dcm", "caf\\xe9")
    assert all(item.name.encode() for item in source.items)
