"""Random initialisation, without pre-training: what other arms are compared with."""

from jaxcaps.studies.arms import Arm

ARM = Arm("random initialisation")
