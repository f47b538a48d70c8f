"""`--data=folder:DIR`: class folders, split folders that contain class folders, or images without folders."""

from pathlib import Path

from data_prep.pipeline.applying import FittedSteps, read_fitted_steps
from data_prep.pipeline.places import IMAGES
from data_prep.sources.folder import list_folder
from data_prep.spec import DataSpec
from jaxcaps.data.files import ImageFiles
from jaxcaps.data.source import Settings, SourceKind


def open_folder(spec: DataSpec, settings: Settings) -> ImageFiles:
    """Opens the images below a folder, ordered by path.

    Raises:
        UserError: the folder does not exist or has no image, a class folder is empty, or there are images beside split
            folders.
    """
    folder = Path(spec.place).expanduser()
    return ImageFiles.of(list_folder(folder, f"{settings.flag}={spec}"), prepared_in(folder))


def prepared_in(folder: Path) -> FittedSteps | None:
    """The steps with which `data_prep` made the pictures of its output folder, or of the folder `images` in it."""
    return read_fitted_steps(folder) or (read_fitted_steps(folder.parent) if folder.name == IMAGES else None)


SOURCE = SourceKind(
    about="images in class folders, optionally below train, validation and test", open=open_folder, place="DIR"
)
