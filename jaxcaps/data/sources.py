"""Where images come from: the kinds that `--data` takes."""

import difflib
from collections.abc import Callable
from pathlib import Path

from jaxcaps.data.decoding import BadImage
from jaxcaps.data.folder import open_folder
from jaxcaps.data.items import Item, Source
from jaxcaps.data.medmnist import MedMNIST
from jaxcaps.data.piccolo import open_piccolo
from jaxcaps.data.synthetic import Synthetic
from jaxcaps.data.table import open_csv
from jaxcaps.data.tfds.source import PreparedRecords
from jaxcaps.errors import UserError

__all__ = ["BadImage", "Item", "Source", "open_source"]

OPENERS: dict[str, Callable[[Path], Source]] = {"folder": open_folder, "csv": open_csv, "npz": MedMNIST}
KINDS = (*OPENERS, "piccolo", "tfds")


def open_source(spec: str, *, synthetic_count: int, synthetic_seed: int, image_size: int) -> Source:
    """Opens what `--data` names, without decoding an image (but PICCOLO is prepared first, if it is not yet).

    Args:
        spec: "synthetic", "folder:DIR", "csv:FILE", "npz:FILE", "piccolo:DIR" or "tfds:NAME".
        synthetic_count: number of frames of the built-in set.
        synthetic_seed: its seed.
        image_size: the side in pixels at which its frames are drawn; PICCOLO's are prepared at no less.

    Raises:
        UserError: an unknown kind, a path that is missing or holds something else.
    """
    if spec == "synthetic":
        return Synthetic(count=synthetic_count, seed=synthetic_seed, size=image_size)
    kind, _, path = spec.partition(":")
    if kind == "piccolo" and path:
        return open_piccolo(Path(path).expanduser(), image_size)
    if kind in OPENERS and path:
        return OPENERS[kind](Path(path).expanduser())
    if kind == "tfds" and path:
        return PreparedRecords(path)
    raise UserError(
        f"--data={spec}: expected synthetic, folder:DIR, csv:FILE, npz:FILE, piccolo:DIR or tfds:NAME"
        f"{_suggestion(spec, kind, path)}"
    )


def _suggestion(spec: str, kind: str, path: str) -> str:
    """What was probably meant."""
    if path and kind.lower() in KINDS and kind != kind.lower():
        return f"; did you mean --data={kind.lower()}:{path}?"
    file = Path(spec).expanduser()
    if file.is_dir():
        return f"; did you mean --data=folder:{spec}?"
    if file.suffix.lower() in (".csv", ".npz"):
        return f"; did you mean --data={file.suffix.lower()[1:]}:{spec}?"
    if kind in KINDS:
        return f"; a {'name' if kind == 'tfds' else 'path'} must follow {kind}:"
    close = difflib.get_close_matches(kind.lower(), [*KINDS, "synthetic"], n=1)
    if not close:
        return ""
    return f"; did you mean --data={close[0]}{':' + path if path and close[0] != 'synthetic' else ''}?"
