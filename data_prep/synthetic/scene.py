"""The scene: the bowel wall and the polyp on it, as maps of height, blood and deposits."""

from dataclasses import dataclass

import numpy as np

from data_prep.synthetic.fields import branching, coordinates, draw_lines, smooth_noise
from data_prep.synthetic.lesion import Lesion


@dataclass(frozen=True)
class Pose:
    """The position and direction from which a frame shows its lesion."""

    x: float
    y: float
    rotation: float
    scale: float
    foreshortening: float
    """The visible length over the true one, along `tilt`; at most 1."""
    tilt: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Pose":
        """Near the middle: endoscopists roughly centre what they look at."""
        x, y = rng.uniform(-0.3, 0.3, 2)
        return cls(x, y, rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.2), rng.uniform(0.7, 1.0), rng.uniform(0, np.pi))

    def matrix(self) -> np.ndarray:
        """[2, 2], from a vector on the lesion to a vector in the picture, without their sizes."""
        turn, tilt = _rotation(self.rotation), _rotation(self.tilt)
        return self.scale * tilt @ np.diag([1.0, self.foreshortening]) @ tilt.T @ turn


@dataclass(frozen=True)
class Scene:
    """Maps [pixels, pixels]."""

    height: np.ndarray
    """In half pictures, towards the camera."""
    blood: np.ndarray
    """Haemoglobin in the path of the light: about 0.5 in mucosa, 1.5 in a vessel, 3 where it bleeds."""
    slough: np.ndarray
    """Yellowish dead tissue and mucus on the surface: 0 to 1."""
    light: np.ndarray
    """The part of the light that arrives: near 0 deep in the lumen."""
    polyp: np.ndarray
    """The share of the polyp in the pixel: 0 to 1."""


def bowel(rng: np.random.Generator, pixels: int, pose: Pose) -> Scene:
    """The wall around the polyp: lumen, folds, texture, vessels."""
    x, y = coordinates(pixels)
    # The lumen lies beside the polyp, sometimes outside the picture.
    towards, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.75, 1.4)
    lumen_x, lumen_y = pose.x + far * np.cos(towards), pose.y + far * np.sin(towards)
    dx, dy = x - np.float32(lumen_x), y - np.float32(lumen_y)
    noise = smooth_noise(rng, pixels, 5)
    distance = np.sqrt(dx * dx + dy * dy) * (1 + 0.08 * noise)
    angle = np.arctan2(dy, dx)
    lumen_radius = rng.uniform(0.18, 0.42)
    depth = 1 / (1 + np.exp((lumen_radius - distance) * (5 / lumen_radius)))

    # Haustra: rings that get closer towards the lumen, bent to triangles and sometimes interrupted.
    phase = rng.uniform(0, 2 * np.pi, 3).astype(np.float32)
    bend = 0.5 * np.cos(3 * angle + phase[0]) + 0.5 * np.cos(2 * angle + phase[1])
    ring = 2 * np.pi * rng.uniform(1.2, 2.2) * np.log(distance + 0.15) + rng.uniform(0.4, 1.0) * bend
    reach = np.exp(-distance * rng.uniform(0.2, 0.8)) * (0.6 + 0.4 * np.cos(angle * 2 + phase[2]))
    crest = (0.5 + 0.5 * np.cos(ring)) ** 4 * reach
    behind = (0.5 + 0.5 * np.cos(ring + 1.3)) ** 2 * reach

    grain = smooth_noise(rng, pixels, 24)
    trees = []
    for _ in range(int(rng.integers(4, 11))):
        start = tuple(rng.uniform(-1, 1, 2))
        trees.append(branching(rng, start, rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.7), 0.25))
    vessels = draw_lines(pixels, trees, rng.uniform(0.01, 0.022)) * rng.uniform(0.2, 0.8)
    mucus_amount = max(0.0, rng.uniform(-1.2, 0.7))
    return Scene(
        height=0.12 * crest + 0.02 * noise + 0.0025 * grain,
        blood=0.5 + 0.06 * noise + 0.05 * grain + vessels,
        slough=_above(smooth_noise(rng, pixels, 7), 2.0 - mucus_amount, 0.5) * np.float32(mucus_amount),
        light=(0.04 + 0.96 * depth) * (1 - 0.65 * behind),
        polyp=np.zeros_like(x),
    )


def with_polyp(wall: Scene, lesion: Lesion, pose: Pose) -> Scene:
    """The wall with the polyp on it."""
    pixels = len(wall.height)
    x, y = coordinates(pixels)
    to_picture = pose.matrix() @ np.diag([lesion.radius, lesion.radius / lesion.elongation])
    to_lesion = np.linalg.inv(to_picture).astype(np.float32)
    dx, dy = x - np.float32(pose.x), y - np.float32(pose.y)
    u, v = to_lesion[0, 0] * dx + to_lesion[0, 1] * dy, to_lesion[1, 0] * dx + to_lesion[1, 1] * dy

    angle = np.arctan2(v, u)
    edge = np.ones_like(u)
    for order, (cosine, sine) in enumerate(lesion.outline.astype(np.float32), start=2):
        edge += cosine * np.cos(order * angle) + sine * np.sin(order * angle)
    rho = np.sqrt(u * u + v * v) / np.maximum(edge, 0.3)
    polyp = _above(-rho, -1.0, 0.06)
    dome = np.maximum(1 - rho * rho, 0) ** lesion.shoulder

    # The pattern is not stretched with the outline, and it is bent: tissue does not grow in lattices.
    roughness = lesion.irregularity(u, v)
    bent = np.float32(lesion.bend) * roughness
    pattern = lesion.pattern(u + bent, v / np.float32(lesion.elongation) - bent)
    crater, bleeding = np.zeros_like(u), np.zeros_like(u)
    if lesion.crater:
        across = np.hypot(u - np.float32(lesion.crater_middle[0]), v - np.float32(lesion.crater_middle[1]))
        crater = _above(-across, -lesion.crater * (1 + 0.25 * roughness), 0.12)
    if lesion.bleeding:
        bleeding = _above(roughness + 0.5 * pattern, 2.4 - 1.6 * lesion.bleeding, 0.3)
    mucus = _above(-roughness, 2.0 - 1.6 * lesion.mucus, 0.5) * np.float32(0.8 * min(1.0, 2 * lesion.mucus))
    lines = [[points @ to_picture.T + (pose.x, pose.y) for points in tree] for tree in lesion.vessels]
    vessels = draw_lines(pixels, lines, lesion.vessel_width * pose.scale) if lines else np.zeros_like(u)

    surface = lesion.height * (dome - 0.7 * crater * dome) + lesion.pattern_relief * (1 - crater) * pattern * polyp
    blood = 0.5 + lesion.redness + lesion.pattern_blood * pattern * (1 - 0.8 * crater) + 0.06 * roughness
    blood = np.maximum(blood + 0.7 * vessels, 0.05) + 2.2 * bleeding
    slough = np.maximum(crater * (0.75 - 0.2 * pattern) * (1 - bleeding), mucus)
    shadow = 1 - (0.05 + 0.7 * lesion.height) * np.exp(-(((rho - 1.05) / 0.15) ** 2))
    return Scene(
        height=wall.height * (1 - polyp) + surface,
        blood=_mix(wall.blood, blood, polyp),
        slough=_mix(wall.slough, slough, polyp),
        light=_mix(wall.light, 0.55 + 0.45 * wall.light, polyp) * shadow,
        polyp=polyp,
    )


def _rotation(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _above(field: np.ndarray, threshold: float | np.ndarray, softness: float) -> np.ndarray:
    """1 above the threshold and 0 below it, with a ramp of width `softness`."""
    return np.clip((field - threshold) / softness + 0.5, 0, 1).astype(np.float32)


def _mix(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    return below + (above - below) * share
