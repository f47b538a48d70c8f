"""A frame: a scene under the light of the endoscope, through its optics, onto its sensor."""

from typing import NamedTuple

import cv2
import numpy as np

from data_prep.synthetic.contents import contents
from data_prep.synthetic.fields import coordinates
from data_prep.synthetic.lesion import make_lesion
from data_prep.synthetic.scene import Pose, Scene, bowel, with_polyp

FINEST_DRAWING = 96
"""The smallest side in pixels that a scene is drawn at. A smaller frame is averaged down from it."""


class Frame(NamedTuple):
    """An image, uint8 RGB [size, size, 3], and the fields of its `Description`."""

    image: np.ndarray
    label: str
    group: str
    modality: str


class Tint(NamedTuple):
    """The colours of tissue under one light: RGB as on a monitor, chosen by eye beside real frames."""

    tissue: tuple[float, float, float]
    """Reflectance without blood."""
    absorbance: tuple[float, float, float]
    """Of blood (Beer-Lambert). Haemoglobin absorbs narrow-band light most, which a monitor shows as brown."""
    slough: tuple[float, float, float]


TINTS = {
    "white-light": Tint((0.98, 0.80, 0.68), (0.25, 1.05, 1.20), (0.92, 0.83, 0.57)),
    "narrow-band": Tint((0.62, 0.80, 0.76), (0.35, 0.85, 1.00), (0.80, 0.70, 0.58)),
}


def draw(index: int, *, count: int, seed: int, size: int) -> Frame:
    """Draws one frame of a set, independently of earlier drawings.

    The frames of a lesion share its shape and surface. Each has its own viewpoint, background and light.

    Args:
        index: of the frame, 0 to `count` - 1. Its description is `describe(count, seed)[index]`.
        count: how many frames the set has, at least 9.
        seed: at least 0. The same arguments give the same bytes on one machine. Between processors sines differ in the
            last bit, and single grey levels may differ too.
        size: pixels of a side, at least 8.

    Returns:
        The frame: uint8 RGB [size, size, 3] with its label, lesion and modality.

    Raises:
        IndexError: `index` lies outside the set.
        ValueError: `count`, `seed` or `size` is too small.
    """
    if size < 8:
        raise ValueError(f"size is {size}, expected at least 8 pixels")
    table = contents(count, seed)
    if not 0 <= index < count:
        raise IndexError(f"index is {index}, expected 0 to {count - 1}")
    label, group, modality = table[index]
    lesion = make_lesion(label, np.random.default_rng((seed, 1, int(group.removeprefix("lesion")))))
    rng = np.random.default_rng((seed, 2, index))
    pixels = max(size, FINEST_DRAWING)
    pose = Pose.random(rng)
    scene = with_polyp(bowel(rng, pixels, pose), lesion, pose)
    colour = _photograph(scene, TINTS[modality], rng)
    return Frame(_sensor(colour, size, rng), label, group, modality)


def _photograph(scene: Scene, tint: Tint, rng: np.random.Generator) -> np.ndarray:
    """The light that reaches the sensor: float32 RGB [pixels, pixels, 3]."""
    pixels = len(scene.height)
    x, y = coordinates(pixels)
    lamp_x, lamp_y = rng.normal(0, 0.25, 2).astype(np.float32)
    slope_x = cv2.Sobel(scene.height, cv2.CV_32F, 1, 0, ksize=3, scale=pixels / 16)
    slope_y = cv2.Sobel(scene.height, cv2.CV_32F, 0, 1, ksize=3, scale=pixels / 16)
    to_lamp_x, to_lamp_y, to_lamp_z = lamp_x - x, lamp_y - y, np.float32(0.9)
    facing = to_lamp_z - slope_x * to_lamp_x - slope_y * to_lamp_y
    lambert = facing / np.sqrt((1 + slope_x**2 + slope_y**2) * (to_lamp_x**2 + to_lamp_y**2 + to_lamp_z**2))
    vignette = 1 - rng.uniform(0.1, 0.3) * (x * x + y * y)
    shade = (0.4 + 0.6 * np.maximum(lambert, 0)) * scene.light * vignette * rng.uniform(1.0, 1.45)

    balance = rng.normal(1, 0.04, 3).astype(np.float32)
    colour = np.empty((pixels, pixels, 3), np.float32)
    for channel in range(3):
        tissue = tint.tissue[channel] * np.exp(-tint.absorbance[channel] * scene.blood)
        covered = tissue + (tint.slough[channel] * 0.8 - tissue) * scene.slough
        colour[..., channel] = covered * shade * balance[channel]
    glare = _glare(scene, lambert, rng)[..., None]
    return colour + (np.float32(1.0) - colour) * glare


def _glare(scene: Scene, lambert: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Specular spots [pixels, pixels] in [0, 1]: clusters of small blots where the wet surface mirrors the lamp."""
    pixels = len(lambert)
    canvas = np.zeros((pixels, pixels), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        # The one of a few places that faces the lamp best.
        places = rng.uniform(-0.85, 0.85, (6, 2))
        rows, columns = ((places[:, ::-1].T + 1) * (pixels / 2)).astype(int)
        middle = places[np.argmax(lambert[rows, columns] * scene.light[rows, columns])]
        for _ in range(int(rng.integers(1, 6))):
            centre = (middle + rng.normal(0, 0.09, 2) + 1) * (pixels / 2)
            axes = rng.uniform(0.006, 0.035, 2) * pixels / 2
            box = (tuple(centre.tolist()), tuple((2 * axes).tolist()), float(rng.uniform(0, 180)))
            cv2.ellipse(canvas, box, 255, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(canvas, (3, 3), 0).astype(np.float32) * np.float32(0.95 / 255)


def _sensor(colour: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Blur, sampling, noise and the black octagonal border: uint8 [size, size, 3]."""
    blur, noisiness, gamma = rng.uniform(0.002, 0.008), rng.uniform(0.006, 0.02), rng.uniform(0.75, 0.95)
    window = _window(size, rng)
    blurred = cv2.GaussianBlur(colour, (0, 0), len(colour) * blur)
    sampled = np.maximum(cv2.resize(blurred, (size, size), interpolation=cv2.INTER_AREA), 0)
    # A brighter pixel has more photons and more of their noise; a dark one has the noise of the amplifier. The gamma of
    # the display comes last. The noise is drawn after all else: the size of the picture must not change the scene.
    noise = rng.standard_normal(sampled.shape, dtype=np.float32)
    noisy = sampled + np.float32(noisiness) * noise * np.sqrt(sampled + np.float32(0.05))
    shown = np.clip(noisy, 0, 1) ** np.float32(gamma)
    return np.round(255 * shown * window[..., None]).astype(np.uint8)


def _window(size: int, rng: np.random.Generator) -> np.ndarray:
    """The octagonal field of view of the endoscope: 1 inside, 0 outside, [size, size]."""
    half, corner = rng.uniform(0.92, 0.97), rng.uniform(0.5, 0.62)
    octagon = [(half, corner), (corner, half), (-corner, half), (-half, corner)]
    octagon += [(-a, -b) for a, b in octagon]
    fine = 4 * size
    points = np.round((np.array(octagon) + 1) * (fine / 2)).astype(np.int32)
    mask = cv2.fillConvexPoly(np.zeros((fine, fine), np.uint8), points, 255)
    return cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) * np.float32(1 / 255)
