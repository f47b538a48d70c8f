"""Crop, flips, rotation, shear and translation as one affine map, so that a picture is resampled once."""

import math

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float, PRNGKeyArray

from jaxcaps.functional.precision import at_least_float32

Scalar = Float[Array, ""] | float


def affine_matrix(
    key: PRNGKeyArray,
    height: int,
    width: int,
    *,
    crop_scale: tuple[float, float] = (0.6, 1.0),
    flip: bool = True,
    rotation_degrees: float = 20.0,
    shear_degrees: float = 5.0,
    translation: float = 0.05,
) -> Float[Array, "2 3"]:
    """A random crop resized to the picture's size, flips, rotation, shear and translation, as one matrix for `warp`.

    Args:
        crop_scale: the least and the greatest share of the area that the crop keeps, drawn uniformly. The crop has the
            picture's aspect ratio and lies anywhere inside it; rotation, about the crop's centre, may turn its corners
            out of the picture.
        flip: mirror left to right with probability 1/2. (Top to bottom is that and half a turn, which not every kind of
            picture allows: depth runs downwards in ultrasound.)
        rotation_degrees, shear_degrees: the greatest angle either way. The shear slants the columns.
        translation: the greatest shift either way, along each axis, as a share of the side.
    """
    uniform = jax.random.uniform(key, (8,), jnp.float32)
    area, mirror_x = uniform[:2]
    angle, shear, crop_x, crop_y, move_x, move_y = 2 * uniform[2:] - 1
    scale = jnp.sqrt(crop_scale[0] + (crop_scale[1] - crop_scale[0]) * area)
    return inverse_affine(
        height,
        width,
        scale=scale,
        mirror_x=jnp.where(flip & (mirror_x < 0.5), -1.0, 1.0),
        angle=math.radians(rotation_degrees) * angle,
        shear=math.radians(shear_degrees) * shear,
        shift_x=(1 - scale) / 2 * crop_x + translation * move_x,
        shift_y=(1 - scale) / 2 * crop_y + translation * move_y,
    )


def inverse_affine(
    height: int,
    width: int,
    *,
    scale: Scalar = 1.0,
    mirror_x: Scalar = 1.0,
    mirror_y: Scalar = 1.0,
    angle: Scalar = 0.0,
    shear: Scalar = 0.0,
    shift_x: Scalar = 0.0,
    shift_y: Scalar = 0.0,
) -> Float[Array, "2 3"]:
    """Where each pixel of a view comes from: mirrored, sheared, rotated, scaled about the centre, then shifted.

    Args:
        height, width: of the picture and of its view, in pixels.
        scale: side of the part that is seen, as a share of the picture's: below 1 enlarges it.
        mirror_x, mirror_y: -1 flips left to right, top to bottom; 1 does not.
        angle: the contents turn anticlockwise by it, in radians.
        shear: the slant of the columns, in radians.
        shift_x, shift_y: from the picture's centre to that of the part seen, as a share of the width and the height.

    Returns:
        Float32, source (x, y) = matrix @ (x, y, 1) in pixels: what `cv2.warpAffine` takes with `WARP_INVERSE_MAP`.
    """
    cosine, sine, slant = jnp.cos(angle), jnp.sin(angle), jnp.tan(shear)
    # scale * rotation @ shear @ mirrors, written out: a matrix product may round to bfloat16 on an accelerator.
    xx, xy = scale * mirror_x * cosine, scale * mirror_y * (cosine * slant - sine)
    yx, yy = scale * mirror_x * sine, scale * mirror_y * (sine * slant + cosine)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    x = centre_x - (xx * centre_x + xy * centre_y) + width * shift_x
    y = centre_y - (yx * centre_x + yy * centre_y) + height * shift_y
    return jnp.stack([jnp.stack([xx, xy, x]), jnp.stack([yx, yy, y])]).astype(jnp.float32)


def shrink(image: Float[Array, "height width channels"], size: int) -> Float[Array, "size size channels"]:
    """A square picture at a whole fraction of its side, each pixel the mean of a block; at its own side, itself.

    Raises:
        ValueError: the picture is not a square, or its side is not a multiple of `size`.
    """
    factor = oversampling(image, size)
    if factor == 1:
        return image
    blocks = at_least_float32(image).reshape(size, factor, size, factor, image.shape[-1])
    return jnp.mean(blocks, axis=(1, 3)).astype(image.dtype)


def oversampling(image: Float[Array, "height width channels"], size: int) -> int:
    """How many times `size` a square picture's side is.

    Raises:
        ValueError: the picture is not a square, or its side is not a multiple of `size`.
    """
    height, width, _ = image.shape
    if height != width or height % size:
        raise ValueError(f"a picture of {height} x {width} pixels: a square with a multiple of {size} a side expected")
    return int(height // size)


def into_oversampled(matrix: Float[Array, "2 3"], factor: int) -> Float[Array, "2 3"]:
    """The matrix of `warp` that leads from the same pixels into a picture of `factor` times the side."""
    return matrix * factor + jnp.array([[0, 0, (factor - 1) / 2]], matrix.dtype)


def warp(
    image: Float[Array, "height width channels"], matrix: Float[Array, "2 3"], size: int | None = None
) -> Float[Array, "view_height view_width channels"]:
    """The picture seen through an affine map, by bilinear interpolation between the four nearest pixels.

    Beyond its border the picture is mirrored about the outermost pixels (dcb|abcd|cba, OpenCV's `BORDER_REFLECT_101`):
    tissue goes on as tissue, where a constant would draw an edge and repeated border pixels would draw streaks.

    Args:
        matrix: from pixels (x, y, 1) of the view to (x, y) of the picture; see `inverse_affine`.
        size: side of the view, a square; as large as the picture where not given.
    """
    height, width = image.shape[:2] if size is None else (size, size)
    wide = at_least_float32(image)
    (xx, xy, x), (yx, yy, y) = matrix.astype(wide.dtype)
    across = jnp.arange(width, dtype=wide.dtype)[None, :]
    down = jnp.arange(height, dtype=wide.dtype)[:, None]
    source = [yx * across + yy * down + y, xx * across + xy * down + x]

    def resample(channel: Float[Array, "height width"]) -> Float[Array, "view_height view_width"]:
        return map_coordinates(channel, source, order=1, mode="mirror")

    return jax.vmap(resample, in_axes=-1, out_axes=-1)(wide).astype(image.dtype)
