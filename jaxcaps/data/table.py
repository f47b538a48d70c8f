"""`--data=csv:FILE`: a table of images with the columns path[,label][,group][,split] (see `data_prep.sources.csv`)."""

from pathlib import Path

import yaml

from data_prep.sources.csv import DATASET, list_table
from jaxcaps.data.files import ImageFiles
from jaxcaps.errors import UserError


def open_csv(file: Path) -> ImageFiles:
    """The images that a table lists, in its order.

    Raises:
        UserError: no such file, no text, no `path` column, a row without a path or with too many fields, a path
            listed twice, an unknown name of a split. Line and value are named.
    """
    return ImageFiles.of(list_table(file, f"--data=csv:{file}"), fitted_in(file.parent))


def fitted_in(folder: Path) -> tuple[str, ...]:
    """What `data_prep` fitted on the training split, by its record beside the table; nothing without one.

    Raises:
        UserError: the record is not what `data_prep` writes.
    """
    record = folder / DATASET
    if not record.is_file():
        return ()
    try:
        fitted = yaml.safe_load(record.read_text(encoding="utf-8"))["fitted"]
        return ("histogram matching",) if fitted["reference_histogram"] else ()
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{record} is not what data_prep writes: {error!r}; prepare the data again") from None
