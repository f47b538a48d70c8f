"""resize only: for ultrasound, blood cells, radiographs"""

from data_prep.config import Steps

PRESET = Steps(resize=True)
