"""Changes of brightness, contrast, saturation, hue and sharpness, which leave pixels where they are."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxcaps.functional.precision import at_least_float32

Scalar = Float[Array, ""] | float

# Luma, I and Q of the NTSC standard. The luma is also torchvision's and OpenCV's grey.
YIQ_FROM_RGB = np.array(
    [
        [0.299, 0.587, 0.114],
        [0.59590059, -0.27455667, -0.32134392],
        [0.21153661, -0.52273617, 0.31119955],
    ]
)
LUMA = YIQ_FROM_RGB[0]
# Turns the chrominance (I, Q) by a quarter, as rising HSV hue does: red to yellow to green. Drops the luma.
QUARTER_TURN = np.linalg.inv(YIQ_FROM_RGB) @ np.array([[0, 0, 0], [0, 0, 1], [0, -1, 0]]) @ YIQ_FROM_RGB


def colour_jitter(
    key: PRNGKeyArray,
    image: Float[Array, "height width channels"],
    *,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.02,
) -> Float[Array, "height width channels"]:
    """`adjust_colour` with random factors.

    Args:
        brightness, contrast, saturation: each factor is uniform in [max(0, 1 - strength), 1 + strength].
        hue: the turn is uniform in [-hue, hue], in full turns.
    """
    uniform = jax.random.uniform(key, (4,), jnp.float32)

    def factor(position: Float[Array, ""], strength: float) -> Float[Array, ""]:
        lowest = max(0.0, 1 - strength)
        return lowest + (1 + strength - lowest) * position

    return adjust_colour(
        image,
        brightness=factor(uniform[0], brightness),
        contrast=factor(uniform[1], contrast),
        saturation=factor(uniform[2], saturation),
        hue=hue * (2 * uniform[3] - 1),
    )


def adjust_colour(
    image: Float[Array, "height width channels"],
    *,
    brightness: Scalar = 1.0,
    contrast: Scalar = 1.0,
    saturation: Scalar = 1.0,
    hue: Scalar = 0.0,
) -> Float[Array, "height width channels"]:
    """Changes of brightness, contrast, saturation and hue. Grey pictures stay grey; of one channel, saturation and hue
    change nothing.

    As torchvision defines them, except for two things that make all of them one linear map: the hue turns in YIQ, which
    keeps the luma, rather than in HSV, and values are clipped to [0, 1] once, at the end.

    Args:
        image: in [0, 1], of three channels or one.
        brightness: multiplies the picture.
        contrast: multiplies the difference from the picture's mean luma.
        saturation: multiplies the difference from each pixel's luma.
        hue: in full turns, positive from red towards yellow and green.
    """
    wide = at_least_float32(image)
    brightness, contrast, saturation, hue = (
        jnp.asarray(x, wide.dtype) for x in (brightness, contrast, saturation, hue)
    )
    if image.shape[-1] == 1:
        adjusted = brightness * (contrast * wide + (1 - contrast) * jnp.mean(wide))
        return jnp.clip(adjusted, 0, 1).astype(image.dtype)
    luma, quarter_turn = jnp.asarray(LUMA, wide.dtype), jnp.asarray(QUARTER_TURN, wide.dtype)
    kept, turned = saturation * jnp.cos(2 * jnp.pi * hue), saturation * jnp.sin(2 * jnp.pi * hue)
    # With the neutral factors this is exactly the identity.
    chromatic = kept * jnp.eye(3, dtype=wide.dtype) + (1 - kept) * luma[None, :] + turned * quarter_turn
    matrix = brightness * contrast * chromatic
    # A sum over columns and no matrix product: much faster on a CPU, and not rounded to bfloat16 on an accelerator.
    red, green, blue = (wide[:, :, i, None] * matrix[None, None, :, i] for i in range(3))
    mean = jnp.sum(jnp.mean(wide, axis=(0, 1)) * luma)
    adjusted = red + green + blue + brightness * (1 - contrast) * mean
    return jnp.clip(adjusted, 0, 1).astype(image.dtype)


def gaussian_blur(
    image: Float[Array, "height width channels"], sigma: Scalar, *, radius: int
) -> Float[Array, "height width channels"]:
    """Convolution with a normalised Gaussian; beyond the border the picture is mirrored as in `warp`.

    Args:
        sigma: standard deviation in pixels; 0 leaves the picture as it is.
        radius: where the kernel is cut off; three times the greatest sigma loses 0.3% of its weight.
    """
    height, width, channels = image.shape
    wide = at_least_float32(image)
    offsets = jnp.arange(-radius, radius + 1, dtype=wide.dtype)
    # Below 1e-3 the neighbours' weights are 0 anyway, and 0 itself would divide by 0.
    kernel = jnp.exp(-jnp.square(offsets / jnp.maximum(jnp.asarray(sigma, wide.dtype), 1e-3)) / 2)
    kernel = kernel / jnp.sum(kernel)
    taps = range(2 * radius + 1)

    def padded(picture: Array, rows: int, columns: int) -> Array:
        """Mirrored at the borders, as rows of width * channels: an axis of 3 is too short for a CPU's vectors."""
        bordered = jnp.pad(picture, ((rows, rows), (columns, columns), (0, 0)), mode="reflect")
        return bordered.reshape(bordered.shape[0], -1)

    # Padded between the passes, which XLA would else fuse into one of all (2 radius + 1)^2 taps.
    rows = padded(wide, radius, 0)
    down = reduce(jnp.add, (kernel[i] * rows[i : i + height] for i in taps))
    rows = padded(down.reshape(image.shape), 0, radius)
    across = reduce(jnp.add, (kernel[i] * rows[:, channels * i : channels * (i + width)] for i in taps))
    return across.reshape(image.shape).astype(image.dtype)
