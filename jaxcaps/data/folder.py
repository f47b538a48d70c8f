"""`--data=folder:DIR`: class folders, split folders of class folders, or images alone (`data_prep.sources.folder`)."""

from pathlib import Path

from data_prep.sources.folder import list_folder
from jaxcaps.data.files import ImageFiles


def open_folder(folder: Path) -> ImageFiles:
    """The images below a folder, ordered by path.

    Raises:
        UserError: no such folder, no image in it, a class folder without images, images beside split folders.
    """
    return ImageFiles.of(list_folder(folder, f"--data=folder:{folder}"))
