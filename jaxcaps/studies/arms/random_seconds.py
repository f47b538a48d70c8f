"""Random initialisation with the budget of a pre-trained arm, counted in seconds."""

from jaxcaps.studies.arms import Arm

ARM = Arm("random initialisation, as many seconds as pre-training and fine-tuning", baseline=True, longer="seconds")
