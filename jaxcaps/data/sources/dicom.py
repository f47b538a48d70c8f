"""`--data=dicom:DIR`: the pictures of all DICOM files below DIR, found by their content. Requires pydicom.

- Grey values are mapped to 0..255 by the file's rescaling and its first window (or VOI LUT). Without a window they are
  stretched between their 0.5 and 99.5 percentiles; unscaled 8-bit values stay unchanged. MONOCHROME1 is inverted.
- Each frame of a multi-frame file is a picture, FILE#1, FILE#2, ...
- `DIR/labels.csv`, with the columns path[,label][,split], lists the files to read and their classes. Without it, the
  folders below DIR name the classes, as for `folder:`.
- The group is a hash of the patient. No group, name, note or error contains the patient's name or ID.
"""

import hashlib
import logging
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.pipeline.applying import FittedSteps
from data_prep.sources.csv import list_table
from data_prep.spec import DataSpec
from jaxcaps.data.decoding import BadImage
from jaxcaps.data.items import SPLIT_NAMES, Item, with_names_in_utf8
from jaxcaps.data.source import Settings, SourceKind
from jaxcaps.errors import UserError

TABLE = "labels.csv"
PERCENTILES = (0.5, 99.5)
# Shorter parts of names, such as initials, are only matched as whole words.
LEAST_LETTERS = 3


class _Place(NamedTuple):
    """The location of a picture, or the reason why it cannot be read."""

    path: Path
    frame: int
    reason: str | None = None


class _File(NamedTuple):
    """The content of a header: `frames` pictures, of which `stretched` have no window. It keeps no patient data."""

    name: str
    group: str | None
    patient: list[str]
    frames: int
    stretched: int


class DicomFiles:
    """The pictures of the DICOM files below a folder. Opening the source reads all headers."""

    prepared: FittedSteps | None = None

    def __init__(self, spec: DataSpec, settings: Settings):
        """
        Raises:
            UserError: pydicom is not installed, the folder does not exist or has no DICOM picture, the table is
                invalid, split folders stand beside other folders, or classes are named after patients.
        """
        where = f"{settings.flag}={spec}"
        try:
            import pydicom
        except ImportError:
            raise UserError(
                f"{where}: DICOM files need pydicom; install it with pip install 'jaxcaps[dicom]'"
            ) from None
        # Warnings of pydicom quote paths and values of the files.
        warnings.filterwarnings("ignore", module=pydicom.__name__)
        logging.getLogger(pydicom.__name__).setLevel(logging.CRITICAL)
        folder = Path(spec.place).expanduser()
        if not folder.is_dir():
            raise UserError(f"{where}: {'it is a file, not a folder' if folder.is_file() else 'no such folder'}")
        table = folder / TABLE
        if table.is_file():
            listed = [(frame.path, frame.label, frame.split) for frame in list_table(table, f"{where}/{TABLE}").frames]
        else:
            listed = list(_found(folder, where))
        items: list[Item] = []
        self._places: list[_Place] = []
        names: Counter[str] = Counter()
        skipped = stretched = 0
        owners: defaultdict[str | None, set[str | None]] = defaultdict(set)
        named_after_patients: set[str] = set()
        for path, label, split in listed:
            relative = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
            try:
                file = _described(path, relative)
            except BadImage as error:
                # The file name may be the patient's name.
                items.append(Item(f"unreadable-{_hash(relative.as_posix())}", label, None, split))
                self._places.append(_Place(path, 0, str(error)))
                continue
            if file is None:
                skipped += 1
                continue
            owners[label].add(file.group)
            if label is not None and _holds(label, file.patient):
                named_after_patients.add(label)
            names[file.name] += 1
            name = f"{file.name}~{names[file.name]}" if names[file.name] > 1 else file.name
            for frame in range(file.frames):
                items.append(Item(f"{name}#{frame + 1}" if file.frames > 1 else name, label, file.group, split))
                self._places.append(_Place(path, frame))
            stretched += file.stretched
        if not items:
            raise UserError(f"{where}: no DICOM picture found among {skipped} files; give a folder of DICOM files")
        # A name may occur in the name of a class by chance, as Ben in benign; then the class has other patients too.
        if any(len(owners[label]) == 1 for label in named_after_patients):
            raise UserError(
                f"{where}: a class is named after its only patient. Sort the files into folders that are named after "
                f"classes, or list them in {TABLE} with the columns path,label"
            )
        # A folder without a readable file may also be named after its patient.
        items = [item if item.label in owners else item._replace(label=None) for item in items]
        self.items = with_names_in_utf8(items)
        self.notes: tuple[str, ...] = ()
        if skipped:
            self.notes += (f"DICOM: skipped {skipped} files without a DICOM picture.",)
        if stretched:
            low, high = PERCENTILES
            self.notes += (
                f"DICOM: {stretched} of {len(items)} pictures have no window; their grey values are stretched between "
                f"the {low:g} and {high:g} percentiles.",
            )

    def read(self, index: int) -> np.ndarray:
        """uint8 RGB [height, width, 3]. Raises BadImage."""
        from pydicom import dcmread
        from pydicom.pixels import pixel_array

        path, frame, reason = self._places[index]
        if reason is not None:
            raise BadImage(reason)
        header = None
        try:
            header = dcmread(path, stop_before_pixels=True)
            return _to_rgb(pixel_array(path, index=frame), _of_frame(header, frame))
        except BadImage:
            raise
        # pydicom and its decoders raise errors of many types.
        except Exception as error:
            raise BadImage(_why(error, header)) from None


def _found(folder: Path, where: str) -> Iterator[tuple[Path, str | None, str | None]]:
    """The path, label and split of all files below a folder, except hidden ones."""
    files = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path for path in files if not any(part.startswith(".") for part in path.parts)]
    tops = {path.parts[0] for path in files if len(path.parts) > 1}
    named = {top for top in tops if top.lower() in SPLIT_NAMES}
    divided = bool(tops) and named == tops
    if named and not divided and any(path.parts[0] in named and len(path.parts) > 2 for path in files):
        raise UserError(
            f"{where}: {', '.join(sorted(named))} are named as splits, but the folders beside them are not; name "
            "all folders train, validation (or val, valid) or test, or none"
        )
    for path in files:
        top, *inner = path.parent.parts or ("",)
        if divided and top:
            yield folder / path, inner[0] if inner else None, SPLIT_NAMES[top.lower()]
        else:
            yield folder / path, top or None, None


def _described(path: Path, relative: Path) -> _File | None:
    """Reads a file's header; None if the file is not DICOM or has no picture.

    Raises:
        BadImage: the file cannot be read.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.uid import MediaStorageDirectoryStorage

    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(LISTED))
        if "Rows" not in header:
            directory = header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage
            if "SOPClassUID" in header or directory:
                return None
            raise ValueError("the header has no SOP class")
        frames = int(header.get("NumberOfFrames") or 1)
        stretched = sum(_is_stretched(_of_frame(header, frame)) for frame in range(frames))
        return _File(_public_name(relative, header), _patient(header), _patient_words(header), frames, stretched)
    except InvalidDicomError:
        return None
    # Damaged headers raise errors of many types.
    except Exception as error:
        raise BadImage(_why(error, None)) from None


# The header fields that listing reads.
LISTED = (
    *("PatientID", "IssuerOfPatientID", "PatientName", "StudyInstanceUID", "SOPInstanceUID", "SOPClassUID"),
    *("Rows", "NumberOfFrames", "PhotometricInterpretation", "BitsStored", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


# --- privacy


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def _patient(header: Any) -> str | None:
    """A hash of the patient's ID and its issuer, or of the study if there is no ID; None if both are missing."""
    patient = str(header.get("PatientID") or "").strip()
    if patient:
        return _hash(f"{patient}\0{str(header.get('IssuerOfPatientID') or '').strip()}")
    study = str(header.get("StudyInstanceUID") or "")
    return _hash(study) if study else None


def _patient_words(header: Any) -> list[str]:
    """The patient's ID and the parts of the name, in lower case and without punctuation."""
    identifier = "".join(_words(str(header.get("PatientID") or "")))
    return [word for word in (identifier, *_words(str(header.get("PatientName") or ""))) if word]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _holds(text: str, patient: list[str]) -> bool:
    """Whether a text contains one of the words, ignoring case and punctuation."""
    words = _words(text)
    joined = "".join(words)
    return any(word in (joined if len(word) >= LEAST_LETTERS else words) for word in patient)


def _public_name(path: Path, header: Any) -> str:
    """The path with hashes in place of folder and file names that contain the patient's name or ID."""
    patient = _patient_words(header)
    folders = [_patient(header) or "patient" if _holds(part, patient) else part for part in path.parent.parts]
    hashed = _hash(str(header.get("SOPInstanceUID") or path.as_posix()))
    return "/".join([*folders, hashed if _holds(path.name, patient) else path.name])


def _why(error: Exception, header: Any) -> str:
    """The reason why a picture cannot be read, without patient data. The header is None if it is unreadable too."""
    from pydicom.pixels import get_decoder

    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if header is None:
        return f"its DICOM header is damaged ({type(error).__name__})"
    syntax = header.file_meta.get("TransferSyntaxUID")
    try:
        if not get_decoder(syntax).is_available:
            return f"it is compressed as {syntax.name}, and no decoder is installed; run pip install 'pylibjpeg[all]'"
    except (NotImplementedError, TypeError, AttributeError):
        return "its transfer syntax is unknown"
    reason = " ".join(str(error).split())
    hidden = _holds(reason, _patient_words(header))
    return f"its pixels cannot be decoded ({type(error).__name__ if hidden else reason})"


# --- pixels


def _of_frame(header: Any, frame: int) -> Any:
    """The header with the frame's own rescaling and window, which enhanced multi-frame files store per frame."""
    from pydicom import Dataset

    shared = list(header.get("SharedFunctionalGroupsSequence") or ())
    groups = shared + list(header.get("PerFrameFunctionalGroupsSequence") or ())[frame : frame + 1]
    if not groups:
        return header
    merged = Dataset(header)
    # Look-up tables need the byte order.
    merged.file_meta = header.file_meta
    for group in groups:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(name, ()):
                merged.update(item)
    return merged


def _has_window(header: Any) -> bool:
    return header.get("WindowCenter") is not None and header.get("WindowWidth") is not None


def _is_stretched(header: Any) -> bool:
    """Whether grey values have to be stretched: there is no window, and they are not unscaled with at most 8 bits."""
    if _has_window(header) or header.get("VOILUTSequence"):
        return False
    scaled = (header.get("RescaleSlope", 1), header.get("RescaleIntercept", 0)) != (1, 0)
    wide = header.get("BitsStored", 16) > 8 or header.get("PixelRepresentation")
    grey = str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
    return grey and bool(wide or scaled or "ModalityLUTSequence" in header)


def _to_rgb(pixels: np.ndarray, header: Any) -> np.ndarray:
    """Converts a frame decoded by pydicom, with YBR already converted, to uint8 RGB [height, width, 3]."""
    from pydicom.pixels import apply_color_lut

    if header.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header)[..., :3]
        return _to_bytes(pixels / np.iinfo(pixels.dtype).max)
    if str(header.PhotometricInterpretation).startswith("MONOCHROME"):
        return np.repeat(_to_bytes(_grey(pixels, header))[..., None], 3, axis=-1)
    if pixels.ndim != 3 or pixels.shape[-1] != 3:
        raise BadImage(
            f"its pixels are {header.PhotometricInterpretation} {list(pixels.shape)}; only grey and RGB are supported"
        )
    return _to_bytes(pixels / (2**header.BitsStored - 1))


def _to_bytes(shares: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _grey(pixels: np.ndarray, header: Any) -> np.ndarray:
    """Displayed grey values, from black 0 to white 1 (DICOM PS3.3, C.11.1 and C.11.2)."""
    from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing

    values = apply_modality_lut(pixels, header)
    if header.get("VOILUTSequence"):
        values = apply_voi(values.astype(np.int64), header)
        low, high = 0.0, 2.0 ** header.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif _has_window(header):
        centre, width = (float(np.ravel(value)[0]) for value in (header.WindowCenter, header.WindowWidth))
        # Values far outside the window are black or white.
        low, high = apply_windowing(np.array([centre - 100 * width, centre + 100 * width]), header)
        values = apply_windowing(values, header)
    elif _is_stretched(header):
        low, high = np.percentile(values, PERCENTILES)
    else:
        low, high = 0.0, 2.0**header.BitsStored - 1
    shares = np.clip((values - low) / (high - low or 1), 0, 1)
    return 1 - shares if header.PhotometricInterpretation == "MONOCHROME1" else shares


SOURCE = SourceKind(
    about="DICOM files in class folders or listed in DIR/labels.csv; requires jaxcaps[dicom]",
    open=DicomFiles,
    place="DIR",
)
