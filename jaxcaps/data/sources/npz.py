"""`--data=npz:FILE`: MedMNIST's format (Yang et al., Scientific Data 2023).

Arrays `train_images`, `train_labels`, `val_images`, ... `test_labels`: images uint8 [n, h, w] grey or [n, h, w, 3]
colour; labels are integers [n, 1] or [n], which name the classes. Labels, validation and test may be missing.
"""

import threading
import zipfile
from pathlib import Path

import numpy as np

from data_prep.pipeline.applying import FittedSteps
from data_prep.spec import DataSpec
from jaxcaps.data.decoding import BadImage
from jaxcaps.data.items import SPLIT_NAMES, Item
from jaxcaps.data.source import Settings, SourceKind
from jaxcaps.errors import UserError

KEYS = ("train", "val", "test")


class MedMNIST:
    """The images of an .npz file. A split is decompressed when its first image is read."""

    prepared: FittedSteps | None = None
    notes: tuple[str, ...] = ()

    def __init__(self, spec: DataSpec, settings: Settings):
        """
        Raises:
            UserError: the file does not exist or is not an .npz file, or its arrays differ from MedMNIST's in name,
                shape or type.
        """
        self._file = file = Path(spec.place).expanduser()
        self._where = f"{settings.flag}={spec}"
        if not file.is_file():
            raise UserError(f"{self._where}: {'it is a folder, not a file' if file.is_dir() else 'no such file'}")
        headers = self._headers()
        present = [key for key in KEYS if f"{key}_images" in headers]
        if "train" not in present:
            raise UserError(
                f"{self._where}: no array 'train_images'; found {', '.join(sorted(headers)) or 'none'}. Expected "
                "train_images, train_labels, val_images, val_labels, test_images, test_labels"
            )
        items: list[Item] = []
        self._places: list[tuple[str, int]] = []
        for key in present:
            count = self._check_images(key, *headers[f"{key}_images"])
            labels = self._labels(key, count) if f"{key}_labels" in headers else [None] * count
            items += [Item(f"{key}/{row}", label, None, SPLIT_NAMES[key]) for row, label in enumerate(labels)]
            self._places += [(key, row) for row in range(count)]
        self.items = tuple(items)
        self._images: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def read(self, index: int) -> np.ndarray:
        """uint8 RGB [height, width, 3]. Raises BadImage."""
        key, row = self._places[index]
        with self._lock:
            if key not in self._images:
                self._images[key] = self._array(f"{key}_images")
        image = self._images[key][row]
        if image.size == 0:
            raise BadImage("it has no pixels")
        return np.broadcast_to(image.reshape(*image.shape[:2], -1), (*image.shape[:2], 3)).copy()

    def _headers(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and type of each array, without reading the arrays."""
        headers = {}
        try:
            with zipfile.ZipFile(self._file) as archive:
                for name in archive.namelist():
                    if not name.endswith(".npy"):
                        continue
                    with archive.open(name) as member:
                        version = np.lib.format.read_magic(member)
                        read = (
                            np.lib.format.read_array_header_1_0
                            if version == (1, 0)
                            else np.lib.format.read_array_header_2_0
                        )
                        shape, _, dtype = read(member)
                        headers[name.removesuffix(".npy")] = (shape, dtype)
        except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
            raise UserError(f"{self._where}: not a valid .npz file of NumPy ({error}); download it again") from error
        return headers

    def _check_images(self, key: str, shape: tuple[int, ...], dtype: np.dtype) -> int:
        grey, colour = len(shape) == 3, len(shape) == 4 and shape[3] in (1, 3)
        if not (grey or colour) or dtype != np.uint8:
            raise UserError(
                f"{self._where}: {key}_images is {dtype} {list(shape)}; expected uint8 [n, height, width] (grey) or "
                "[n, height, width, 3] (colour)"
            )
        return shape[0]

    def _labels(self, key: str, count: int) -> list[str]:
        labels = self._array(f"{key}_labels")
        if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "iu":
            raise UserError(
                f"{self._where}: {key}_labels is {labels.dtype} {list(labels.shape)}; expected one integer for each of "
                f"the {count} images, [{count}, 1]"
            )
        return [str(label) for label in labels.reshape(-1).tolist()]

    def _array(self, name: str) -> np.ndarray:
        try:
            # Pickled objects could run code.
            with np.load(self._file, allow_pickle=False) as arrays:
                return arrays[name]
        except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
            raise UserError(
                f"{self._where}: array {name!r} cannot be read ({error}); download the file again"
            ) from error


SOURCE = SourceKind(about="MedMNIST's format: train_images, train_labels, val_images, ...", open=MedMNIST, place="FILE")
