"""Builders for TensorFlow Datasets: for any prepared folder, and for PICCOLO. Neither needs TensorFlow.

A prepared folder holds images and `labels.csv`, as `python -m data_prep` writes them. The table has the columns path
and label, and if known group, split, modality and source. Without splits all images are in `train`.

The builders give TFDS image files, never arrays, which it would encode with TensorFlow. The records are array_record,
which has random access without TensorFlow. The `tfds` command cannot be used: it imports TensorFlow.
"""

import os
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_prep.sources.csv import list_table, read_rows
from data_prep.sources.listing import RawFrame
from jaxcaps.data.files import ImageFiles
from jaxcaps.data.items import SPLITS, class_names
from jaxcaps.data.sources.csv import fitted_in
from jaxcaps.data.tfds.finding import FITTED, NAME
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
    """What both builders share; `_folder` says where the prepared folder is."""

    def __init__(self, **settings: Any):
        super().__init__(**({"file_format": "array_record"} | settings))

    def _folder(self, dl_manager: tfds.download.DownloadManager) -> Path:
        raise NotImplementedError

    def _described(self, **about: Any) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(doc="The image file as it was prepared"),
            # Its names come from the table, which is read when the set is prepared.
            "label": tfds.features.ClassLabel(doc="-1 where unknown"),
            "path": tfds.features.Text(doc="The image's path below the prepared folder"),
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
        frames = list_table(table, str(table))
        self.info.features["label"].names = _classes(frames, table)
        # Pictures that were fitted to the training split must not be dealt to folds.
        self.info.metadata[FITTED] = fitted_in(table.parent)
        for frame in frames:
            if not frame.path.is_file():
                raise UserError(f"{table}: {frame.name}: no such file")
        unnamed = [frame.name for frame in frames if frame.split is None]
        if 0 < len(unnamed) < len(frames):
            raise UserError(
                f"{table}: {len(unnamed)} of {len(frames)} images have no split, the first is {unnamed[0]}; give all "
                "images a split, or none"
            )
        # A listing does not say what a frame was made from: that is read here.
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
    """Any prepared folder: `PreparedFolder("DIR", name="mine").download_and_prepare()`, then `--data=tfds:mine`.

    A prepared set stays as it is. If the folder has changed, give a higher version.

    Args:
        folder: holds `labels.csv`.
        name: of the set: a letter, then letters, digits and underscores.
        version: of the set, such as 1.0.0.
        settings: of `tfds.core.DatasetBuilder`, such as `data_dir`, where TFDS keeps its sets.

    Raises:
        UserError: an invalid name; from `download_and_prepare`, no `labels.csv`, a faulty one or one without a label,
            or a missing image.
    """

    def __init__(self, folder: str | os.PathLike[str], *, name: str, version: str = "1.0.0", **settings: Any):
        if NAME.fullmatch(name) is None:
            raise UserError(f"name={name!r}: expected a letter and then letters, digits and underscores")
        self.name, self.VERSION, self._prepared = name, tfds.core.Version(version), Path(folder).expanduser()
        super().__init__(**settings)

    def _info(self) -> tfds.core.DatasetInfo:
        return self._described(
            description="A folder of images with a table of labels, prepared by jaxcaps's data_prep."
        )

    def _folder(self, dl_manager: tfds.download.DownloadManager) -> Path:
        return self._prepared


class Piccolo(_FromTable):
    """PICCOLO, prepared: `Piccolo().download_and_prepare()`, then `--data=tfds:piccolo`.

    Raises:
        UserError: from `download_and_prepare`, as `PreparedFolder`.
    """

    VERSION = tfds.core.Version("0.1.0")
    RELEASE_NOTES: ClassVar = {"0.1.0": "Release 0.1 of the Basque Biobank, prepared by jaxcaps's data_prep."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    PICCOLO is available on request: ask the Basque Biobank for release 0.1 (https://doi.org/10.3390/app10238501 says
    how) and unpack it into a folder RELEASE. Then prepare it into the folder `piccolo` of the manual directory:

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


def _classes(frames: list[RawFrame], table: Path) -> list[str]:
    names = list(class_names(ImageFiles.of(frames).items))
    if not names:
        raise UserError(f"{table}: no image has a label; expected a column label with the class of each image")
    broken = [name for name in names if len(name.splitlines()) > 1]
    if broken:
        # TFDS keeps them in a file, one name per line.
        raise UserError(f"{table}: label {broken[0]!r} has several lines; expected one")
    return names
