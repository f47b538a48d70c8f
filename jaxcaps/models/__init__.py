"""Whole networks, built from a `ModelConfig`."""

from jaxcaps.models.capsnet import CapsNet, ClassCapsules, Encoded, Encoder
from jaxcaps.models.decoder import Decoder
from jaxcaps.models.geometry import Geometry, geometry

__all__ = ["CapsNet", "ClassCapsules", "Decoder", "Encoded", "Encoder", "Geometry", "geometry"]
