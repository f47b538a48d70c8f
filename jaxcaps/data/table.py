"""`--data=csv:FILE`: a table of images with the columns path[,label][,group][,split] (see `data_prep.table`)."""

from pathlib import Path

from data_prep.table import list_table
from jaxcaps.data.files import ImageFiles


def open_csv(file: Path) -> ImageFiles:
    """The images that a table lists, in its order.

    Raises:
        UserError: no such file, no text, no `path` column, a row without a path or with too many fields, a path
            listed twice, an unknown name of a split. Line and value are named.
    """
    return ImageFiles.of(list_table(file, f"--data=csv:{file}"))
