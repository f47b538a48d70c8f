"""Mean and standard deviation of each channel over a set of pictures, exact whatever its size and order."""

from dataclasses import dataclass

import numpy as np

CHANNELS = 3
LARGEST_VALUE = 255


@dataclass
class ChannelStatistics:
    """Sums over pixels, in Python's integers: no rounding, and no overflow however many pixels there are."""

    pixels: int = 0
    sums: tuple[int, ...] = (0,) * CHANNELS
    squares: tuple[int, ...] = (0,) * CHANNELS

    def add(self, image: np.ndarray) -> None:
        """Adds the pixels of uint8 RGB [height, width, 3]."""
        pixels = image.reshape(-1, CHANNELS)
        counts = [np.bincount(pixels[:, channel], minlength=LARGEST_VALUE + 1) for channel in range(CHANNELS)]
        values = np.arange(LARGEST_VALUE + 1)
        self.merge(
            ChannelStatistics(
                pixels=len(pixels),
                sums=tuple(int(count @ values) for count in counts),
                squares=tuple(int(count @ values**2) for count in counts),
            )
        )

    def merge(self, other: "ChannelStatistics") -> None:
        """Adds another's sums: those of parts of a set, made by several processes, are those of the set."""
        self.pixels += other.pixels
        self.sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        self.squares = tuple(a + b for a, b in zip(self.squares, other.squares, strict=True))

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel, black 0 and white 1.

        Raises:
            ValueError: no picture was added.
        """
        self._require_pixels()
        return tuple(total / (LARGEST_VALUE * self.pixels) for total in self.sums)

    @property
    def standard_deviation(self) -> tuple[float, ...]:
        """Over all pixels of all pictures (of the population), in the units of `mean`.

        Raises:
            ValueError: no picture was added.
        """
        self._require_pixels()
        return tuple(
            # The difference is taken between integers: between floats it would lose its digits on large sets.
            (self.pixels * square - total**2) ** 0.5 / (LARGEST_VALUE * self.pixels)
            for total, square in zip(self.sums, self.squares, strict=True)
        )

    def _require_pixels(self) -> None:
        if not self.pixels:
            raise ValueError("no picture was added: the statistics of nothing are undefined")
