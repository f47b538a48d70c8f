"""Pre-trained encoders that come with the library, each with its model card."""

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
    """Loads a pre-trained encoder: stem and primary capsules, for `CapsNet(..., encoder=...)`.

    Args:
        name: name of a published encoder (see `jaxcaps/pretrained`), or path of a run's `encoder.safetensors`.

    Returns:
        The module. `load_pretrained(name)(pictures).poses` has shape [batch, capsules, dim] for pictures
        [batch, side, side, 3] in [0, 1]. The model card states the side.

    Raises:
        UserError: the encoder is unknown (the message suggests the nearest one), or the file is incomplete.
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
        raise UserError(
            f"{file}: {wrong[0]} is {got}, but its architecture needs {expected} ({len(wrong)} such parameters); "
            "export it again from its run"
        )
    encoder: Encoder = with_parameters(nnx.eval_shape(build), arrays)
    return encoder
