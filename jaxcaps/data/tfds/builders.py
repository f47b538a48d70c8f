"""TFDS builders for any prepared folder and for PICCOLO. They do not need TensorFlow.

A prepared folder contains images and `labels.csv`, as written by `python -m data_prep`. The table has the columns path
and label, and optionally group, split, modality and source. Without splits, all images are in `train`.

The builders pass image files to TFDS, because it would encode arrays with TensorFlow. Records are stored as
array_record, which has random access without TensorFlow. The `tfds` command cannot be used, because it imports
TensorFlow.
"""

import os
from collections.abc import Iterator, Sequence
from inspect import cleandoc
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_prep.pipeline.applying import read_fitted_steps
from data_prep.sources.csv import list_table, read_rows
from data_prep.sources.listing import RawFrame
from jaxcaps.data.files import ImageFiles
from jaxcaps.data.items import SPLITS, class_names
from jaxcaps.data.tfds.finding import NAME, PREPARED
from jaxcaps.errors import UserError

TEXTS = ("group", "modality", "source")
CITATION = """
@article{sanchezperalta2020piccolo,
  title   = {{PICCOLO} White-Light and Narrow-Band Imaging Colonoscopic Dataset: A Performance Comparative of Models and
             Datasets},
  author  = {S{\\'a}nchez-Peralta, Luisa F. and Pagador, J. Blas and Pic{\\'o}n, Artzai and Calder{\\'o}n, {\\'A}ngel
             Jos{\\'e} and Polo, Francisco and Andraka, Nagore and Bilbao, Roberto and Glover, Ben and Saratxaga,
             Cristina L. and S{\\'a}nchez-Margallo, Francisco M.},
  journal = {Applied Sciences},
  volume  = {10},
  number  = {23},
  pages   = {8501},
  year    = {2020},
  doi     = {10.3390/app10238501},
}
"""


class _FromTable(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg, misc]
    """Base of both builders; `_folder` returns the prepared folder."""

    def __init__(self, **settings: Any):
        super().__init__(**({"file_format": "array_record"} | settings))

    def _folder(self, dl_manager: tfds.download.DownloadManager) -> Path:
        raise NotImplementedError

    def _described(self, **about: Any) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(doc="The prepared image file"),
            # Class names come from the table, which is read when the data set is prepared.
            "label": tfds.features.ClassLabel(doc="-1 where unknown"),
            "path": tfds.features.Text(doc="Path of the image below the prepared folder"),
        }
        texts = {name: tfds.features.Text(doc="Empty where unknown") for name in TEXTS}
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features | texts),
            supervised_keys=("image", "label"),
            metadata=tfds.core.MetadataDict(),
            **about,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        table = self._folder(dl_manager) / "labels.csv"
        frames = list_table(table, str(table)).frames
        self.info.features["label"].names = _classes(frames, table)
        prepared = read_fitted_steps(table.parent)
        self.info.metadata[PREPARED] = None if prepared is None else prepared.to_dict()
        for frame in frames:
            if not frame.path.is_file():
                raise UserError(f"{table}: {frame.name}: no such file; prepare the data again")
        unnamed = [frame.name for frame in frames if frame.split is None]
        if 0 < len(unnamed) < len(frames):
            raise UserError(
                f"{table}: {len(unnamed)} of {len(frames)} images have no split, such as {unnamed[0]}; give all "
                "images a split, or none"
            )
        # A listing does not contain the source of a frame, so read it here.
        rows = read_rows(table, str(table), ("path",), ("source",))
        listed = [(frame, row.get("source", "")) for frame, (_, row) in zip(frames, rows, strict=True)]
        if unnamed:
            return {"train": self._generate_examples(listed)}
        parts = {split: [each for each in listed if each[0].split == split] for split in SPLITS}
        return {split: self._generate_examples(part) for split, part in parts.items() if part}

    def _generate_examples(self, listed: list[tuple[RawFrame, str]]) -> Iterator[tuple[str, dict[str, Any]]]:
        for frame, source in listed:
            example = {
                "image": os.fspath(frame.path),
                "label": -1 if frame.label is None else frame.label,
                "path": frame.name,
                "group": frame.group or "",
                "modality": frame.modality or "",
                "source": source,
            }
            yield frame.name, example


class PreparedFolder(_FromTable, skip_registration=True):  # type: ignore[call-arg]
    """Builder for a prepared folder. Use it as `PreparedFolder("DIR", name="mine").download_and_prepare()` and then
    `--data=tfds:mine`.

    An existing data set is not updated. If the folder has changed, give a higher version.

    Args:
        folder: folder that contains `labels.csv`.
        name: name of the data set: a letter, then letters, digits and underscores.
        version: version of the data set, such as 1.0.0.
        settings: arguments of `tfds.core.DatasetBuilder`, such as `data_dir`, where TFDS stores data sets.

    Raises:
        UserError: the name is invalid. `download_and_prepare` raises it if `labels.csv` is missing, invalid or without
            labels, or if an image is missing.
    """

    def __init__(self, folder: str | os.PathLike[str], *, name: str, version: str = "1.0.0", **settings: Any):
        if NAME.fullmatch(name) is None:
            raise UserError(f"name={name!r}: expected a letter followed by letters, digits and underscores")
        self.name, self.VERSION, self._prepared = name, tfds.core.Version(version), Path(folder).expanduser()
        super().__init__(**settings)

    def _info(self) -> tfds.core.DatasetInfo:
        return self._described(
            description="A folder of images with a table of labels, prepared by jaxcaps's data_prep."
        )

    def _folder(self, dl_manager: tfds.download.DownloadManager) -> Path:
        return self._prepared


class Piccolo(_FromTable):
    """Builder for prepared PICCOLO: `Piccolo().download_and_prepare()`, then `--data=tfds:piccolo`.

    Raises:
        UserError: `download_and_prepare` raises it as for `PreparedFolder`.
    """

    VERSION = tfds.core.Version("0.1.0")
    RELEASE_NOTES: ClassVar = {"0.1.0": "Release 0.1 of the Basque Biobank, prepared by jaxcaps's data_prep."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    PICCOLO is available on request: ask the Basque Biobank for release 0.1 (see https://doi.org/10.3390/app10238501)
    and unpack it into a folder RELEASE. Then prepare it into the folder `piccolo` of the manual directory:

    python -m data_prep --source=piccolo:RELEASE --out=MANUAL_DIR/piccolo

    MANUAL_DIR is downloads/manual in TFDS's data folder (TFDS_DATA_DIR, or else ~/tensorflow_datasets), or the
    manual_dir of tfds.download.DownloadConfig.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self._described(
            description="Colonoscopy frames of 76 polyps in white light and narrow band, with the pathologist's "
            "diagnosis of each lesion, prepared by jaxcaps's data_prep. The frames of a group must stay in one split.",
            homepage="https://doi.org/10.3390/app10238501",
            citation=CITATION,
        )

    def _folder(self, dl_manager: tfds.download.DownloadManager) -> Path:
        folder = Path(dl_manager.manual_dir) / "piccolo"
        if not (folder / "labels.csv").is_file():
            raise UserError(f"{folder} has no labels.csv.\n{cleandoc(self.MANUAL_DOWNLOAD_INSTRUCTIONS)}")
        return folder


def _classes(frames: Sequence[RawFrame], table: Path) -> list[str]:
    names = list(class_names(ImageFiles.of(frames).items))
    if not names:
        raise UserError(f"{table}: no image has a label; expected a column label with the class of each image")
    broken = [name for name in names if len(name.splitlines()) > 1]
    if broken:
        # TFDS stores class names in a file, one per line.
        raise UserError(f"{table}: label {broken[0]!r} has several lines; rename it to one line")
    return names
