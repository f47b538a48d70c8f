"""Random fields and branching lines, from which mucosa, folds, pits and vessels are drawn.

Pictures span [-1, 1] in x (to the right) and y (downwards) at any size in pixels, so that a scene is the same at each
size. Fields are float32.
"""

import cv2
import numpy as np


def coordinates(pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the centres of the pixels, each [pixels, pixels]."""
    axis = ((np.arange(pixels, dtype=np.float32) + 0.5) * (2.0 / pixels) - 1.0).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def smooth_noise(rng: np.random.Generator, pixels: int, cells: int) -> np.ndarray:
    """Noise of about unit deviation, with `cells` grains across the picture: [pixels, pixels]."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return cv2.resize(coarse, (pixels, pixels), interpolation=cv2.INTER_CUBIC)


class Waves:
    """A sum of plane waves: one field over the whole plane, which all views of a lesion share.

    Three waves at 60 degrees make a regular lattice of round dots. Waves of one length make a maze of ridges in all
    directions, and long tubes in few directions. Waves of several lengths make an irregular surface.
    """

    def __init__(self, angles: np.ndarray, frequencies: np.ndarray, phases: np.ndarray) -> None:
        self.angles, self.frequencies, self.phases = angles, frequencies, phases

    def __call__(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The field, of unit deviation, at the points (u, v)."""
        total = np.zeros_like(u)
        for angle, frequency, phase in zip(self.angles, self.frequencies, self.phases, strict=True):
            kx, ky = np.float32(frequency * np.cos(angle)), np.float32(frequency * np.sin(angle))
            total += np.cos(kx * u + ky * v + np.float32(phase))
        return total * np.float32(np.sqrt(2.0 / len(self.angles)))

    @classmethod
    def dots(cls, rng: np.random.Generator, period: float) -> "Waves":
        """A lattice of round dots."""
        angles = rng.uniform(0, np.pi) + np.array([0.0, np.pi / 3, 2 * np.pi / 3])
        # Phases with this relation shift the lattice. Others would turn its dots into triangles.
        phase = rng.uniform(0, 2 * np.pi, 2)
        return cls(angles, np.full(3, 2 * np.pi / period), np.array([phase[0], phase[0] + phase[1], phase[1]]))

    @classmethod
    def ridges(cls, rng: np.random.Generator, period: float, spread: float) -> "Waves":
        """Ridges: a maze at `spread` 1, parallel tubes near 0."""
        angles = rng.uniform(0, np.pi) + np.pi * spread * rng.uniform(-0.5, 0.5, 9)
        return cls(angles, 2 * np.pi / (period * rng.uniform(0.85, 1.15, 9)), rng.uniform(0, 2 * np.pi, 9))

    @classmethod
    def irregular(cls, rng: np.random.Generator, shortest: float, longest: float) -> "Waves":
        """Waves of many lengths, from `shortest` to `longest`, in all directions."""
        periods = np.exp(rng.uniform(np.log(shortest), np.log(longest), 9))
        return cls(rng.uniform(0, 2 * np.pi, 9), 2 * np.pi / periods, rng.uniform(0, 2 * np.pi, 9))


def branching(
    rng: np.random.Generator, start: tuple[float, float], heading: float, length: float, wander: float
) -> list[np.ndarray]:
    """The branches of one vessel tree, thickest first: three generations, each a line of points [7, 2]."""
    branches = []
    shoots = [(start, heading, length, 0)]
    while shoots:
        (x, y), heading, length, generation = shoots.pop(0)
        headings = heading + np.cumsum(rng.normal(0, wander, 6))
        steps = length / 6 * np.stack([np.cos(headings), np.sin(headings)], axis=1)
        points = np.array([x, y]) + np.cumsum(np.insert(steps, 0, 0.0, axis=0), axis=0)
        branches.append(points)
        if generation < 2:
            forks = rng.uniform(0.35, 0.8, 2) * rng.choice((-1, 1))
            for at, turn in ((6, forks[0]), (int(rng.integers(2, 6)), -forks[1])):
                tip = (float(points[at, 0]), float(points[at, 1]))
                shoots.append((tip, float(headings[at - 1]) + turn, length * 0.75, generation + 1))
    return branches


def draw_lines(pixels: int, trees: list[list[np.ndarray]], width: float) -> np.ndarray:
    """Vessel trees as a picture [pixels, pixels] in [0, 1]. Later branches are thinner and fainter."""
    canvas = np.zeros((pixels, pixels), np.uint8)
    for branches in trees:
        for order, points in enumerate(branches):
            fixed_point = np.round((points + 1.0) * (pixels / 2.0 * 16)).astype(np.int32)
            generation = 0 if order == 0 else 1 if order < 3 else 2
            thickness = max(1, round(width * pixels / 2 * (1.0, 0.7, 0.4)[generation]))
            strength = (255, 200, 140)[generation]
            cv2.polylines(canvas, [fixed_point], False, strength, thickness, cv2.LINE_AA, shift=4)
    return canvas.astype(np.float32) * np.float32(1 / 255)
