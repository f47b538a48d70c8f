"""The standard augmentation: one resampling for everything that moves pixels, then colour, then blur.

The defaults are for medical pictures, where colour carries meaning: milder changes of colour than those of Chen et al.
2020 for photographs, small rotations, and left-right mirror images. They are our choice.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxcaps.functional.augment.geometry import affine_matrix, into_oversampled, oversampling, warp
from jaxcaps.functional.augment.photometry import colour_jitter, gaussian_blur
from jaxcaps.functional.precision import at_least_float32


def augment(
    key: PRNGKeyArray,
    image: Float[Array, "height width channels"],
    *,
    size: int | None = None,
    crop_scale: tuple[float, float] = (0.6, 1.0),
    flip: bool = True,
    rotation_degrees: float = 20.0,
    shear_degrees: float = 5.0,
    translation: float = 0.05,
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.02,
    blur_probability: float = 0.2,
    blur_sigma: tuple[float, float] = (0.1, 1.0),
) -> Float[Array, "view_height view_width channels"]:
    """A random view of a picture: `warp` by an `affine_matrix`, `colour_jitter`, and at times `gaussian_blur`.

    With a crop scale of (1, 1), no flip and zeros elsewhere the picture comes back bit by bit; with a
    `size` the result equals that of `shrink` up to rounding.

    Resampling blurs: a picture moved by half a pixel loses its finest detail. A network trained only on such views does
    worse on whole pictures, which are sharper (Touvron et al. 2019, arXiv 1906.06423). So give pictures with twice the
    side of the view: views are then about as sharp as the pictures of `shrink`.

    Args:
        key: the same key makes the same view.
        image: in [0, 1]. Half precisions are computed in float32 and rounded once, at the end.
        size: side of the view where it is not the picture's; the picture is then a square, its side a multiple of it.
        crop_scale, flip, rotation_degrees, shear_degrees, translation: see `affine_matrix`.
        brightness, contrast, saturation, hue: see `colour_jitter`.
        blur_probability: how often the picture is blurred.
        blur_sigma: the least and the greatest standard deviation of the blur in pixels, drawn uniformly.

    Returns:
        The view, in [0, 1], of the same dtype, and of the same shape unless a `size` is given.

    Raises:
        ValueError: `size` is given, and the picture is not a square whose side is a multiple of it.
    """
    height, width = image.shape[:2] if size is None else (size, size)
    affine_key, colour_key, blur_key = jax.random.split(key, 3)
    matrix = affine_matrix(
        affine_key,
        height,
        width,
        crop_scale=crop_scale,
        flip=flip,
        rotation_degrees=rotation_degrees,
        shear_degrees=shear_degrees,
        translation=translation,
    )
    if size is not None:
        matrix = into_oversampled(matrix, oversampling(image, size))
    view = warp(at_least_float32(image), matrix, size)
    view = colour_jitter(colour_key, view, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
    if blur_probability:
        chosen, position = jax.random.uniform(blur_key, (2,), jnp.float32)
        sigma = blur_sigma[0] + (blur_sigma[1] - blur_sigma[0]) * position
        sigma = jnp.where(chosen < blur_probability, sigma, 0)
        view = gaussian_blur(view, sigma, radius=math.ceil(3 * blur_sigma[1]))
    # The blur's weights sum to 1 up to rounding.
    return jnp.clip(view, 0, 1).astype(image.dtype)


AUGMENTATION = augment
