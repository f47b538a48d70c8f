"""`--data=tfds:NAME[@DIR]`: a data set that TensorFlow Datasets (TFDS) prepared as array_record, without TensorFlow.

- The picture is the builder's supervised input, else the feature `image`, else the only Image. Its encoded file is
  decoded by `jaxcaps.data.decoding`, as for other sources, not by TFDS.
- The class is the supervised target, else the feature `label`, else the only ClassLabel; -1 is unknown. A feature
  `group` names groups. A feature `path` names the pictures if it is unique; else their names are SPLIT/NUMBER.
- The splits train, validation (or val, valid) and test are read. Others are skipped with a note in the log. A data set
  with a single split counts as undivided, because TFDS calls an only split train.
"""

from typing import Any

import numpy as np

from data_prep.pipeline.applying import FittedSteps
from data_prep.spec import DataSpec
from jaxcaps.data.decoding import BadImage, decode
from jaxcaps.data.items import SPLIT_NAMES, Item
from jaxcaps.data.source import Settings, SourceKind
from jaxcaps.data.tfds.features import roles
from jaxcaps.data.tfds.finding import PREPARED, PreparedSet, find, how_to_prepare
from jaxcaps.errors import UserError

# The number of records held in memory while the labels are read.
RECORDS = 256


class PreparedRecords:
    """The images of a prepared data set. Opening it reads every record once for the labels."""

    def __init__(self, spec: DataSpec, settings: Settings):
        """
        Raises:
            UserError: the data set does not exist, is damaged, has another file format, or has no single pictures.
        """
        import tensorflow_datasets as tfds

        where = f"{settings.flag}={spec}"
        prepared = find(spec)
        builder = _described(prepared, where)
        info = builder.info
        steps = info.metadata.get(PREPARED)
        self.prepared = None if steps is None else FittedSteps.from_dict(steps)
        chosen = roles(info.features, info.supervised_keys, where)
        self._image = chosen.image
        self._pictures = tfds.features.FeaturesDict({chosen.image: info.features[chosen.image]})
        self._decoders = {chosen.image: tfds.decode.SkipDecoding()}
        texts = tfds.features.FeaturesDict({name: info.features[name] for name, _ in chosen.meanings.values()})

        splits, self.notes = _splits([name for name, part in info.splits.items() if part.num_examples], where)
        items: list[Item] = []
        self._places: list[tuple[Any, int]] = []
        for name, split in splits.items():
            try:
                records = builder.as_data_source(
                    name, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES, file_format="array_record"
                )
                rows = _texts(records, texts) if chosen.meanings else [{}] * len(records)
            # array_record raises RuntimeError for every error; protobuf and TFDS raise several types.
            except Exception as error:
                raise UserError(
                    f"{where}: the records of split {name!r} in {prepared.folder} cannot be read ({error}); delete "
                    "that folder and prepare the set again"
                ) from error
            for number, row in enumerate(rows):
                told = {role: meaning(row[key]) for role, (key, meaning) in chosen.meanings.items()}
                items.append(Item(told.get("path") or f"{name}/{number}", told.get("label"), told.get("group"), split))
                self._places.append((records, number))
        if len({item.name for item in items}) < len(items):
            numbers = [f"{records.split}/{number}" for records, number in self._places]
            items = [item._replace(name=name) for item, name in zip(items, numbers, strict=True)]
        self.items = tuple(items)

    def read(self, index: int) -> np.ndarray:
        """uint8 RGB [height, width, 3]. Raises BadImage."""
        records, number = self._places[index]
        try:
            record = records[number]
        except RuntimeError as error:
            raise BadImage(f"its record cannot be read ({error})") from error
        example = self._pictures.deserialize_example_np(record, decoders=self._decoders)
        return decode(example[self._image])


def _described(prepared: PreparedSet, where: str) -> Any:
    """The TFDS builder that reads a prepared data set."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(prepared.folder)
        formats = {kind.value for kind in builder.info.available_file_formats()}
        # Read the features now, so that damage is found here.
        _ = builder.info.metadata
    except ImportError as error:
        raise UserError(
            f"{where}: its features cannot be read here ({error}); some features, such as Video, need TensorFlow. "
            "Only sets of single pictures are supported"
        ) from error
    # For a damaged file, TFDS's parsers raise json_format.ParseError, ValueError, KeyError, OSError and others.
    except Exception as error:
        raise UserError(
            f"{where}: its description in {prepared.folder} is damaged ({error}); delete that folder and prepare the "
            "set again"
        ) from error
    if "array_record" not in formats:
        raise UserError(
            f"{where}: {prepared.folder} is prepared as {' and '.join(sorted(formats))}, which has no random access "
            "without TensorFlow; expected array_record. Move that folder away and prepare the set again: "
            f"{how_to_prepare(prepared.full_name, prepared.data_folder)}"
        )
    return builder


def _splits(names: list[str], where: str) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """The splits to read, the split of ours for each (None for an undivided data set), and notes."""
    if len(names) == 1:
        return {names[0]: None}, ()
    known: dict[str, str | None] = {name: SPLIT_NAMES[name] for name in names if name in SPLIT_NAMES}
    if "train" not in known.values():
        raise UserError(f"{where}: its splits are {', '.join(names) or 'none'}; expected train, validation and test")
    others = [name for name in names if name not in known]
    return known, (f"{where}: the splits {' and '.join(others)} are skipped.",) if others else ()


def _texts(records: Any, features: Any) -> list[dict[str, Any]]:
    """The named features of all records."""
    rows = []
    for start in range(0, len(records), RECORDS):
        for record in records.__getitems__(range(start, min(start + RECORDS, len(records)))):
            rows.append(features.deserialize_example_np(record))
    return rows


SOURCE = SourceKind(
    about="a data set prepared by TensorFlow Datasets, below DIR if @DIR is given; see docs/how-to/tfds.md",
    open=PreparedRecords,
    place="NAME",
)
