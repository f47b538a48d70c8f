"""`--data=folder:DIR`: class folders, split folders of class folders, or images alone; `data_prep` lists them."""

from pathlib import Path

from data_prep.sources.folder import list_folder
from data_prep.spec import DataSpec
from jaxcaps.data.files import ImageFiles
from jaxcaps.data.source import Settings, SourceKind


def open_folder(spec: DataSpec, settings: Settings) -> ImageFiles:
    """The images below a folder, ordered by path.

    Raises:
        UserError: no such folder, no image in it, a class folder without images, or images beside split folders.
    """
    return ImageFiles.of(list_folder(Path(spec.place).expanduser(), f"--data={spec}"))


SOURCE = SourceKind(
    about="images in class folders, perhaps below train, validation and test", open=open_folder, place="DIR"
)
