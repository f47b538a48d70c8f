"""the steps of the study: for frames of an endoscope"""

from data_prep.config import Steps

PRESET = Steps(
    borders=True,
    overlays=True,
    denoise=True,
    guess_modality=True,
    match=True,
    clahe=True,
    highlights=True,
    resize=True,
)
