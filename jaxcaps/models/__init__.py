"""Whole networks: `CapsNet`, built from a `ModelConfig`, and the networks of the literature."""

from jaxcaps.models.capsnet import CapsNet, ClassCapsules, Encoded, Encoder
from jaxcaps.models.convnet import ConvNet
from jaxcaps.models.decoder import Decoder
from jaxcaps.models.efficient import EfficientCapsNet
from jaxcaps.models.geometry import Geometry, geometry
from jaxcaps.models.inverted import InvertedAttentionCapsNet
from jaxcaps.models.matrix import MatrixCapsNet
from jaxcaps.models.sabour import SabourCapsNet

__all__ = [
    "CapsNet",
    "ClassCapsules",
    "ConvNet",
    "Decoder",
    "EfficientCapsNet",
    "Encoded",
    "Encoder",
    "Geometry",
    "InvertedAttentionCapsNet",
    "MatrixCapsNet",
    "SabourCapsNet",
    "geometry",
]
