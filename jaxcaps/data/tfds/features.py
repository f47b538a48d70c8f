"""Finds the features of a TFDS data set for the picture, class, group and name, and reads their values."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxcaps.errors import UserError

Meaning = Callable[[Any], str | None]


class Roles(NamedTuple):
    """Names of the features to read.

    Attributes:
        image: name of the encoded picture.
        meanings: for each of "label", "group" and "path" that the data set has: the feature's name, and a function from
            its values to text, or to None if unknown.
    """

    image: str
    meanings: dict[str, tuple[str, Meaning]]


def roles(features: Any, supervised_keys: Any, where: str) -> Roles:
    """
    Args:
        features: features of the data set, a `tfds.features.FeaturesDict`.
        supervised_keys: (input, target) if the builder names them, else None.
        where: name of the data set, for errors.

    Raises:
        UserError: there is not exactly one picture, it is a video or has pixels of other than 8 or 16 bits, or a label
            or group is not a single class, number or text.
    """
    import tensorflow_datasets as tfds

    named = supervised_keys if isinstance(supervised_keys, tuple) and len(supervised_keys) == 2 else (None, None)
    # TFDS does not preserve the order of features.
    known = dict(sorted(features.items())) if isinstance(features, tfds.features.FeaturesDict) else {}
    image = _image(known, named[0], f"{where}: its features are {_listed(known)}")
    labels = [name for name, feature in known.items() if isinstance(feature, tfds.features.ClassLabel)]
    if isinstance(named[1], str) and named[0] == image:
        label: str | None = named[1]
    elif "label" in known:
        label = "label"
    else:
        labels = [name for name in labels if name != "group"]
        label = labels[0] if len(labels) == 1 else None
        if len(labels) > 1:
            raise UserError(
                f"{where}: {' and '.join(labels)} are classes, but none is named label; name one of them label"
            )
    meanings = {}
    for role, name in (("label", label), ("group", "group"), ("path", "path")):
        if name is not None and name in known:
            meanings[role] = (name, _meaning(known[name], f"{where}: {name} is {_described(known[name])}"))
    return Roles(image, meanings)


def _image(known: dict[str, Any], named: Any, where: str) -> str:
    import tensorflow_datasets as tfds

    def is_picture(feature: Any) -> bool:
        # A label map is also an Image.
        return isinstance(feature, tfds.features.Image) and not isinstance(feature, tfds.features.LabeledImage)

    pictures = [name for name, feature in known.items() if is_picture(feature)]
    if named in pictures:
        pictures = [named]
    elif "image" in pictures:
        pictures = ["image"]
    if not pictures:
        raise UserError(f"{where}; no tfds.features.Image is among them")
    if len(pictures) > 1:
        raise UserError(
            f"{where}; {' and '.join(pictures)} are pictures, but none is named image; name one of them image"
        )
    feature = known[pictures[0]]
    if np.dtype(feature.np_dtype) not in (np.uint8, np.uint16):
        raise UserError(
            f"{where}; the pixels of {pictures[0]} are {np.dtype(feature.np_dtype)}, expected uint8 or uint16"
        )
    if len(feature.shape) != 3:
        raise UserError(f"{where}; {pictures[0]} has several frames, expected one picture: (height, width, channels)")
    return pictures[0]


def _meaning(feature: Any, where: str) -> Meaning:
    """Returns the function from the values of a ClassLabel, integer or Text feature to text."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.ClassLabel):
        return _class_name(feature, where)
    if isinstance(feature, tfds.features.Text) and feature.shape == ():
        return lambda value: value.decode("utf-8", "replace").strip() or None
    if isinstance(feature, tfds.features.Tensor) and feature.shape == () and np.dtype(feature.np_dtype).kind in "iu":
        return str
    raise UserError(f"{where}; expected one ClassLabel, integer or Text for each picture")


def _class_name(feature: Any, where: str) -> Meaning:
    count = feature.num_classes or 0
    names = feature.names if count else []
    # TFDS accepts a file with any number of class names.
    if len(set(names)) != len(names) or len(names) != count:
        raise UserError(f"{where} with names {names}; the set is damaged: delete it and prepare it again")

    def name(value: int) -> str | None:
        if value == -1:  # unknown
            return None
        # Without a number of classes, numbers are the names.
        return names[value] if 0 <= value < count else str(value)

    return name


def _described(feature: Any) -> str:
    return " ".join(repr(feature).split())


def _listed(known: dict[str, Any]) -> str:
    return ", ".join(f"{name} {type(feature).__name__}" for name, feature in known.items()) or "no dictionary"
