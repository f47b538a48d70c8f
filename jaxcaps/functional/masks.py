"""What is hidden from the encoder for in-painting (Pathak et al. 2016): the central quarter, or random blocks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

# Longest side of a block against its shortest, where blocks small enough allow it. Chosen by us.
LONGEST_ASPECT = 2.0


def central_mask(height: int, width: int) -> Bool[Array, "height width"]:
    """True in the central half of the height and of the width, a quarter of the picture (Pathak et al. 2016)."""

    def central(size: int) -> Bool[Array, "size"]:
        start = (size - size // 2) // 2
        positions = jnp.arange(size)
        return (positions >= start) & (positions < start + size // 2)

    return central(height)[:, None] & central(width)[None, :]


def block_mask(
    key: PRNGKeyArray, height: int, width: int, *, fraction: float = 0.25, blocks: int = 8
) -> Bool[Array, "height width"]:
    """True in random rectangles that together hide `fraction` of the picture in expectation, everywhere alike.

    Blocks may overlap. A block that crosses the border goes on at the opposite one, so each block hides any given pixel
    with the same probability p, its share of the picture's area; all of them together hide it with 1 - (1 - p)^blocks,
    and p = 1 - (1 - fraction)^(1 / blocks) makes that `fraction`, exactly. One mask's share varies around it: for 64x64
    pixels and the defaults its standard deviation is 0.018.

    Args:
        key: decides the places of the blocks and their aspect ratios, log-uniform between 1:2 and 2:1.
        height, width: of the picture, in pixels.
        fraction: between 0 and 1, both excluded.
        blocks: how many; fewer are larger.
    """
    area = 1 - (1 - fraction) ** (1 / blocks)
    row_key, column_key, aspect_key = jax.random.split(key, 3)
    # No side may be longer than the picture's: sqrt(area * aspect) <= 1.
    aspect = min(LONGEST_ASPECT, 1 / area) ** jax.random.uniform(aspect_key, (blocks, 1), jnp.float32, minval=-1.0)

    def hidden(key: PRNGKeyArray, size: int, share: Float[Array, "blocks 1"]) -> Bool[Array, "blocks size"]:
        # Real starts and lengths: a pixel is covered with probability `share`, whatever its rounding to whole pixels.
        starts = size * jax.random.uniform(key, (blocks, 1), jnp.float32)
        return jnp.mod(jnp.arange(size, dtype=starts.dtype)[None, :] - starts, size) < size * share

    rows = hidden(row_key, height, jnp.sqrt(area * aspect))
    columns = hidden(column_key, width, jnp.sqrt(area / aspect))
    return jnp.any(rows[:, :, None] & columns[:, None, :], axis=0)


def hide(
    image: Float[Array, "height width channels"],
    mask: Bool[Array, "height width"],
    fill: Float[Array, "channels"] | Float[Array, ""] | float,
) -> Float[Array, "height width channels"]:
    """The image with the pixels where `mask` is True replaced by `fill`: one value, or one for each channel.

    Nothing of a hidden pixel is left, NaN included. The image keeps its dtype.
    """
    return jnp.where(mask[:, :, None], jnp.broadcast_to(jnp.asarray(fill, image.dtype), image.shape), image)
