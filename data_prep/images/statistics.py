"""Mean and standard deviation of each channel over a set of pictures, exact for any number and order of them."""

from dataclasses import dataclass

import numpy as np

CHANNELS = 3
LARGEST_VALUE = 255


@dataclass
class ChannelStatistics:
    """Sums over pixels as Python integers, which neither round nor overflow."""

    pixels: int = 0
    sums: tuple[int, ...] = (0,) * CHANNELS
    squares: tuple[int, ...] = (0,) * CHANNELS

    def add(self, image: np.ndarray) -> None:
        """Adds the pixels of uint8 RGB [height, width, 3]."""
        pixels = image.reshape(-1, CHANNELS)
        counts = [np.bincount(pixels[:, channel], minlength=LARGEST_VALUE + 1) for channel in range(CHANNELS)]
        values = np.arange(LARGEST_VALUE + 1)
        sums = tuple(int(count @ values) for count in counts)
        self.merge(ChannelStatistics(len(pixels), sums, tuple(int(count @ values**2) for count in counts)))

    def merge(self, other: "ChannelStatistics") -> None:
        """Adds the sums of another part of the set."""
        self.pixels += other.pixels
        self.sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        self.squares = tuple(a + b for a, b in zip(self.squares, other.squares, strict=True))

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel, of at least one pixel; black is 0, white is 1."""
        return tuple(total / (LARGEST_VALUE * self.pixels) for total in self.sums)

    @property
    def standard_deviation(self) -> tuple[float, ...]:
        """Over all pixels of all pictures (of the population), in the units of `mean`."""
        return tuple(
            # The difference is taken between integers: floats would lose its digits on large sets.
            (self.pixels * square - total**2) ** 0.5 / (LARGEST_VALUE * self.pixels)
            for total, square in zip(self.sums, self.squares, strict=True)
        )
