"""Complete networks: `CapsNet`, built from a `ModelConfig`, and networks from the literature."""

from jaxcaps.models.capsnet import CapsNet, Encoded, Encoder, RoutedCapsules, SharedRoutedCapsules, routed_capsules
from jaxcaps.models.convnet import ConvNet
from jaxcaps.models.decoder import Decoder
from jaxcaps.models.efficient import EfficientCapsNet
from jaxcaps.models.geometry import Geometry, geometry, primary_capsules
from jaxcaps.models.inverted import InvertedAttentionCapsNet
from jaxcaps.models.matrix import MatrixCapsNet
from jaxcaps.models.networks import Classifier, ProjectionHead, TaskNetwork, TermWeights
from jaxcaps.models.sabour import SabourCapsNet
from jaxcaps.models.settings import dtypes, linear
from jaxcaps.models.stems import STEMS

__all__ = [
    "STEMS",
    "CapsNet",
    "Classifier",
    "ConvNet",
    "Decoder",
    "EfficientCapsNet",
    "Encoded",
    "Encoder",
    "Geometry",
    "InvertedAttentionCapsNet",
    "MatrixCapsNet",
    "ProjectionHead",
    "RoutedCapsules",
    "SabourCapsNet",
    "SharedRoutedCapsules",
    "TaskNetwork",
    "TermWeights",
    "dtypes",
    "geometry",
    "linear",
    "primary_capsules",
    "routed_capsules",
]
