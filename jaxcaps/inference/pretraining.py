"""A finished pre-training with its latent capsules and its decoder, which `jaxcaps.load` leaves out."""

from collections.abc import Callable
from typing import Any

import jax

from jaxcaps.inference.model import TrainedEncoder
from jaxcaps.inference.runs import Opened, open_pretraining
from jaxcaps.training.evaluators import capsule_features


class TrainedPretraining(TrainedEncoder):
    """The whole network of a pre-training whose decoder makes pictures, such as that of `--task=inpaint`.

    See `TrainedEncoder` for the pictures it takes.

    Raises:
        UserError: the folder holds no finished pre-training, or one whose latent capsules are not decoded to pictures.
    """

    def _open(self) -> Opened:
        return open_pretraining(self.origin, self.batch_size)

    def _feature_function(self) -> Callable[[Any, jax.Array], jax.Array]:
        return capsule_features
