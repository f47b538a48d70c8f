"""What is hidden from the encoder for in-painting: the central quarter or random blocks (Pathak et al. 2016), or
free-form strokes (Yu et al. 2019)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

# Chosen by us. Longest side of a block against its shortest, where blocks small enough allow it:
LONGEST_ASPECT = 2.0
# Length of a stroke's segments as a share of the picture's side, and the sharpest turn between two, in radians:
SEGMENT = 0.25
SHARPEST_TURN = 2.0


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
    """True in random rectangles that together hide `fraction` of the picture in expectation.

    Blocks may overlap. A block that crosses the border continues at the opposite border, so each block hides any given
    pixel with the same probability p, its share of the picture's area. All of them together hide the pixel with
    probability 1 - (1 - p)^blocks, which p = 1 - (1 - fraction)^(1 / blocks) makes exactly `fraction`. The share of one
    mask varies: for 64x64 pixels and the defaults its standard deviation is 0.018.

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


def free_form_mask(
    key: PRNGKeyArray, height: int, width: int, *, fraction: float = 0.25, strokes: int = 4, segments: int = 4
) -> Bool[Array, "height width"]:
    """True along random strokes that together hide `fraction` of the picture, to the nearest pixel, in every mask.

    After Yu et al. 2019 (section 3.4): a stroke begins anywhere and goes on in straight segments that turn at random.
    In place of random widths, all strokes of a mask are as wide as it takes to hide that share: the pixels nearest to
    a stroke are the hidden ones. Few strokes are thick, many thin.

    Args:
        key: decides where the strokes begin and how they turn.
        height, width: of the picture, in pixels.
        fraction: between 0 and 1, both excluded.
        strokes: how many.
        segments: of each stroke, each a quarter of the picture's shorter side long.
    """
    start_key, heading_key, turn_key = jax.random.split(key, 3)
    size = jnp.asarray([height, width], jnp.float32)
    starts = jax.random.uniform(start_key, (strokes, 1, 2), jnp.float32) * (size - 1)[None, None, :]
    heading = jax.random.uniform(heading_key, (strokes, 1), jnp.float32, maxval=2 * jnp.pi)
    turns = jax.random.uniform(turn_key, (strokes, segments), jnp.float32, minval=-SHARPEST_TURN, maxval=SHARPEST_TURN)
    angles = heading + jnp.cumsum(turns, axis=1)
    steps = SEGMENT * min(height, width) * jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    ends = starts + jnp.cumsum(steps, axis=1)
    begins = ends - steps

    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    pixels = jnp.stack([rows.ravel(), columns.ravel()], axis=-1).astype(jnp.float32)
    squares = _squared_distances(pixels, begins.reshape(-1, 2), steps.reshape(-1, 2))
    # Ties, should there be any, are broken by position: the share is exact.
    order = jnp.argsort(jnp.min(squares, axis=1))
    hidden = jnp.zeros(height * width, bool).at[order[: round(fraction * height * width)]].set(True)
    return hidden.reshape(height, width)


def _squared_distances(
    pixels: Float[Array, "pixels 2"], begins: Float[Array, "segments 2"], steps: Float[Array, "segments 2"]
) -> Float[Array, "pixels segments"]:
    """From each pixel to the nearest point of each segment from `begins` to `begins + steps`."""
    offsets = pixels[:, None, :] - begins[None, :, :]
    lengths = jnp.sum(steps * steps, axis=1)
    along = jnp.clip(jnp.sum(offsets * steps[None, :, :], axis=2) / lengths[None, :], 0, 1)
    return jnp.sum((offsets - along[:, :, None] * steps[None, :, :]) ** 2, axis=2)


def place_mask(key: PRNGKeyArray, places: int, *, fraction: float) -> Bool[Array, "places"]:
    """True at `fraction` of the places of a grid of capsules, to the nearest whole one, each with the same probability.

    Args:
        key: decides which.
        places: how many there are.
        fraction: between 0 and 1.
    """
    return jax.random.permutation(key, places) < round(fraction * places)


def hide(
    image: Float[Array, "height width channels"],
    mask: Bool[Array, "height width"],
    fill: Float[Array, "channels"] | Float[Array, ""] | float,
) -> Float[Array, "height width channels"]:
    """The image with the pixels where `mask` is True replaced by `fill`: one value, or one for each channel.

    Nothing of a hidden pixel is left, NaN included. The image keeps its dtype.
    """
    return jnp.where(mask[:, :, None], jnp.broadcast_to(jnp.asarray(fill, image.dtype), image.shape), image)
