"""Reads and transforms the digits of MNIST."""

import gzip
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

SIDE = 28
HELD_OUT = 5_000
# The seed of the held-out digits, the same for all networks and seeds.
HOLD_OUT_SEED = 0
CANVAS = 40


class Digits(NamedTuple):
    """Attributes: images uint8 [n, 28, 28], labels int32 [n]."""

    images: np.ndarray
    labels: np.ndarray


def read_idx(file: Path) -> np.ndarray:
    """Reads an array of bytes in the idx format (LeCun et al. 1998), optionally gzipped.

    Raises:
        SystemExit: the file does not exist or has another format.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SystemExit(f"{file}: cannot be read ({error.strerror}); the idx files of MNIST are expected") from None
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    # The header: two zeros, 8 for unsigned bytes, the number of axes, and their lengths, big-endian.
    if content[:3] != b"\0\0\x08":
        raise SystemExit(f"{file}: not an idx file of unsigned bytes; download MNIST again")
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if values.size != shape.prod():
        raise SystemExit(f"{file}: {values.size} values found, {shape.prod()} expected for shape {shape.tolist()}")
    return values.reshape(shape)


def read_digits(folder: Path, part: str) -> Digits:
    """The digits of "train" or "t10k"."""

    def of(name: str) -> np.ndarray:
        gzipped = folder / f"{part}-{name}.gz"
        return read_idx(gzipped if gzipped.exists() else folder / f"{part}-{name}")

    return Digits(of("images-idx3-ubyte"), of("labels-idx1-ubyte").astype(np.int32))


def hold_out(training: Digits) -> tuple[Digits, Digits]:
    """Splits off the 5,000 training digits on which settings and epochs are chosen."""
    order = np.random.default_rng(HOLD_OUT_SEED).permutation(len(training.labels))
    return Digits(*(each[order[HELD_OUT:]] for each in training)), Digits(
        *(each[order[:HELD_OUT]] for each in training)
    )


def _warped(image: np.ndarray, matrix: np.ndarray, side: int, shift: np.ndarray) -> np.ndarray:
    """Applies a linear map around the centre of a picture, centres it in a square, and shifts it by (columns, rows)."""
    centre = (np.array(image.shape[::-1]) - 1) / 2
    offset = (side - 1) / 2 + shift - matrix @ centre
    return cv2.warpAffine(image, np.column_stack([matrix, offset]), (side, side), flags=cv2.INTER_LINEAR)


def jittered(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Rotates each picture by up to 15 degrees, scales it by up to a tenth, and shifts it by up to 2 pixels."""
    moved = np.empty_like(images)
    for index, image in enumerate(images):
        turn = _rotation(generator.uniform(-15, 15)) * generator.uniform(0.9, 1.1)
        moved[index] = _warped(image, turn, SIDE, generator.uniform(-2, 2, 2))
    return moved


def shifted_by_pixels(images: np.ndarray, generator: np.random.Generator, most: int) -> np.ndarray:
    """Shifts each picture by up to `most` whole pixels along both axes (Sabour et al. 2017: 2)."""
    padded = np.pad(images, ((0, 0), (most, most), (most, most)))
    starts = generator.integers(0, 2 * most + 1, (len(images), 2))
    return np.stack(
        [each[row : row + SIDE, column : column + SIDE] for each, (row, column) in zip(padded, starts, strict=True)]
    )


def on_canvas(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Places each 28x28 picture at a random position on a black 40x40 square (Sabour et al. 2017, section 5.2)."""
    canvas = np.zeros((len(images), CANVAS, CANVAS), np.uint8)
    starts = generator.integers(0, CANVAS - SIDE + 1, (len(images), 2))
    for each, image, (row, column) in zip(canvas, images, starts, strict=True):
        each[row : row + SIDE, column : column + SIDE] = image
    return canvas


def affine(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Places pictures on a 40x40 square under random affine maps with the ranges of affNIST (Tieleman 2013).

    Each picture is rotated by up to 20 degrees, sheared by up to 0.2, scaled by 0.8 to 1.2 along each axis, and shifted
    to a random position with the whole digit on the square. The pictures are not those of affNIST.
    """
    moved = np.empty((len(images), CANVAS, CANVAS), np.uint8)
    for index, image in enumerate(images):
        shear = np.array([[1, generator.uniform(-0.2, 0.2)], [0, 1]])
        matrix = _rotation(generator.uniform(-20, 20)) @ shear @ np.diag(generator.uniform(0.8, 1.2, 2))
        middle = _warped(image, matrix, CANVAS, np.zeros(2))
        rows, columns = (np.flatnonzero(middle.any(axis)) for axis in (1, 0))
        lowest = np.array([-columns[0], -rows[0]])
        highest = np.array([CANVAS - 1 - columns[-1], CANVAS - 1 - rows[-1]])
        moved[index] = _warped(image, matrix, CANVAS, generator.integers(lowest, highest + 1).astype(float))
    return moved


def _rotation(degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])
