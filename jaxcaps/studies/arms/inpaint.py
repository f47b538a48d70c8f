"""Contrast and in-painting together, as in the reference study."""

from jaxcaps.studies.arms import Arm, as_given

ARM = Arm("contrast and in-painting together", pretrain=as_given)
