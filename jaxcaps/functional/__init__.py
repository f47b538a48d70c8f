"""Pure functions of arrays of one example (losses over a batch excepted): no Flax, no configuration, no files."""

from jaxcaps.functional.augment import adjust_colour, affine_matrix, augment, colour_jitter, gaussian_blur, warp
from jaxcaps.functional.batching import cpu_tile, over_batch
from jaxcaps.functional.convolution import convolution, transposed_convolution
from jaxcaps.functional.losses import (
    margin_loss,
    masked_l1,
    masked_l2,
    nt_xent,
    nt_xent_per_anchor,
    select_capsule,
    spread_loss,
    spread_margin,
)
from jaxcaps.functional.masks import block_mask, central_mask, hide
from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.routing import (
    Dynamic,
    ParameterSpec,
    Routed,
    Routing,
    coupling_entropy,
    dynamic_routing,
)
from jaxcaps.functional.squash import safe_norm, squash
from jaxcaps.functional.votes import dense_votes

__all__ = [
    "Dynamic",
    "ParameterSpec",
    "Routed",
    "Routing",
    "adjust_colour",
    "affine_matrix",
    "at_least_float32",
    "augment",
    "block_mask",
    "central_mask",
    "colour_jitter",
    "convolution",
    "coupling_entropy",
    "cpu_tile",
    "dense_votes",
    "dynamic_routing",
    "gaussian_blur",
    "hide",
    "margin_loss",
    "masked_l1",
    "masked_l2",
    "nt_xent",
    "nt_xent_per_anchor",
    "over_batch",
    "safe_norm",
    "select_capsule",
    "spread_loss",
    "spread_margin",
    "squash",
    "transposed_convolution",
    "warp",
]
