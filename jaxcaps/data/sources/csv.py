"""`--data=csv:FILE`: a table of images with the columns path[,label][,group][,split] (see `data_prep.sources.csv`)."""

from pathlib import Path

from data_prep.pipeline.applying import read_fitted_steps
from data_prep.sources.csv import list_table
from data_prep.spec import DataSpec
from jaxcaps.data.files import ImageFiles
from jaxcaps.data.source import Settings, SourceKind


def open_csv(spec: DataSpec, settings: Settings) -> ImageFiles:
    """Opens the images listed in a table, in its order.

    Raises:
        UserError: the file does not exist or is not text, there is no column `path`, a row has no path or too many
            fields, a path is listed twice, or a split is unknown. The message names the line and the value. Or another
            version of `data_prep` prepared the pictures.
    """
    file = Path(spec.place).expanduser()
    listing = list_table(file, f"{settings.flag}={spec}")
    return ImageFiles.of(listing.frames, read_fitted_steps(file.parent), listing.notes)


SOURCE = SourceKind(about="a table with the columns path[,label][,group][,split]", open=open_csv, place="FILE")
