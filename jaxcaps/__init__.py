"""jaxcaps: capsule networks and their self-supervised pre-training, in JAX.

The public names are imported at first use, so that `python -m jaxcaps.train --help` does not wait for jax.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "CapsNet": "jaxcaps.models",
    "Decoder": "jaxcaps.models",
    "EfficientCapsNet": "jaxcaps.models",
    "Encoder": "jaxcaps.models",
    "InvertedAttentionCapsNet": "jaxcaps.models",
    "MatrixCapsNet": "jaxcaps.models",
    "SabourCapsNet": "jaxcaps.models",
    "CapsuleDecoder": "jaxcaps.nnx",
    "ClassCaps": "jaxcaps.nnx",
    "ConvCaps": "jaxcaps.nnx",
    "DenseCaps": "jaxcaps.nnx",
    "MatrixPrimaryCaps": "jaxcaps.nnx",
    "PrimaryCaps": "jaxcaps.nnx",
    "Config": "jaxcaps.plan.config",
    "load": "jaxcaps.inference.model",
    "preset": "jaxcaps.plan.presets",
    "UserError": "jaxcaps.errors",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in ("functional", "linen", "nnx"):
        return importlib.import_module(f"jaxcaps.{name}")
    raise AttributeError(f"module 'jaxcaps' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
