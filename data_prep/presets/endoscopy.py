"""the steps of the study: for frames of an endoscope"""

from data_prep.config import Steps

ON = ("borders", "overlays", "denoise", "guess_modality", "match", "clahe", "highlights", "resize")
PRESET = Steps(**dict.fromkeys(ON, True))
