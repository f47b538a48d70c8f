"""Why a network says what it says of one picture: maps of couplings, gradients and occlusion, and moved capsules.

The functions take a model of `load` and one picture, and return arrays. Their programs are compiled once for models of
one structure; a second picture takes milliseconds.
"""

from jaxcaps.explaining.attributions import gradient_map, occlusion_maps
from jaxcaps.explaining.capsules import capsule_poses
from jaxcaps.explaining.couplings import CouplingMaps, coupling_maps
from jaxcaps.explaining.erasure import Erasure, deletion_insertion
from jaxcaps.explaining.explanation import Explanation, explain_picture
from jaxcaps.explaining.maps import overlay_images
from jaxcaps.explaining.perturbation import Perturbed, decode, perturb
from jaxcaps.explaining.subject import load

__all__ = [
    "CouplingMaps",
    "Erasure",
    "Explanation",
    "Perturbed",
    "capsule_poses",
    "coupling_maps",
    "decode",
    "deletion_insertion",
    "explain_picture",
    "gradient_map",
    "load",
    "occlusion_maps",
    "overlay_images",
    "perturb",
]
