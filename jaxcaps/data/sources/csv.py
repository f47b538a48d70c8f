"""`--data=csv:FILE`: a table of images with the columns path[,label][,group][,split] (see `data_prep.sources.csv`)."""

from pathlib import Path

import yaml

from data_prep.sources.csv import DATASET, list_table
from data_prep.spec import DataSpec
from jaxcaps.data.files import ImageFiles
from jaxcaps.data.source import Settings, SourceKind
from jaxcaps.errors import UserError


def open_csv(spec: DataSpec, settings: Settings) -> ImageFiles:
    """Opens the images listed in a table, in its order.

    Raises:
        UserError: the file does not exist or is not text, there is no column `path`, a row has no path or too many
            fields, a path is listed twice, or a split is unknown. The message names the line and the value.
    """
    file = Path(spec.place).expanduser()
    return ImageFiles.of(list_table(file, f"--data={spec}"), fitted_in(file.parent))


def fitted_in(folder: Path) -> tuple[str, ...]:
    """The steps that `data_prep` fitted on the training split, from its record beside the table; none without a record.

    Raises:
        UserError: the record was not written by `data_prep`.
    """
    record = folder / DATASET
    if not record.is_file():
        return ()
    try:
        fitted = yaml.safe_load(record.read_text(encoding="utf-8"))["fitted"]
        return ("histogram matching",) if fitted["reference_histogram"] else ()
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{record} was not written by data_prep: {error!r}; prepare the data again") from None


SOURCE = SourceKind(about="a table with the columns path[,label][,group][,split]", open=open_csv, place="FILE")
