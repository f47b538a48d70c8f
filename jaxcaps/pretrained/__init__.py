"""Encoders that come with the library, each with its model card beside it."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx

from jaxcaps.encoder_file import PREFIX, encoder_file, read_arrays, read_header
from jaxcaps.errors import UserError
from jaxcaps.training.state import parameters_of, with_parameters

if TYPE_CHECKING:
    from jaxcaps.models import Encoder


def load_pretrained(name: str) -> "Encoder":
    """An encoder that was pre-trained: stem and primary capsules, as `CapsNet(..., encoder=...)` takes them.

    Args:
        name: of a published encoder (see `jaxcaps/pretrained`), or the path of a run's `encoder.safetensors`.

    Returns:
        The module; `load_pretrained(name)(pictures).poses` are [batch, capsules, dim] for pictures
        [batch, side, side, 3] in [0, 1], of the side that its model card names.

    Raises:
        UserError: no such encoder (the nearest is named), or a file without what it takes.
    """
    from jaxcaps.models import Encoder

    file = encoder_file(name) or encoder_file(f"{PREFIX}{name}")
    assert file is not None
    config = read_header(file).config

    def build() -> Encoder:
        return Encoder(config.model, config.data.image_size, nnx.Rngs(0))

    arrays = {path.removeprefix("encoder/"): jnp.asarray(value) for path, value in read_arrays(file).items()}
    shapes = jax.eval_shape(lambda: parameters_of(build()))
    wanted, found = (
        {path: f"{value.dtype}{list(value.shape)}" for path, value in each.items()} for each in (shapes, arrays)
    )
    wrong = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    if wrong:
        expected, got = (each.get(wrong[0], "none") for each in (wanted, found))
        raise UserError(f"{file}: {wrong[0]} is {got}, where its architecture has {expected} ({len(wrong)} such)")
    encoder: Encoder = with_parameters(nnx.eval_shape(build), arrays)
    return encoder
