"""Random initialisation with the budget of a pre-trained arm, counted in epochs."""

from jaxcaps.studies.arms import Arm

ARM = Arm("random initialisation, as many epochs as pre-training and fine-tuning", baseline=True, longer="epochs")
