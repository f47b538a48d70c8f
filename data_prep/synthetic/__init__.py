"""The built-in images: drawn colonoscopy frames of polyps of three classes, a pure function of their seed.

They replace a real set in a first run, a test or a demonstration, and prove nothing clinical. A set of `count` frames
is a table of contents (`describe`) and a drawing of each row (`draw`), at any size and in any order.
"""

from data_prep.synthetic.contents import CLASSES, Description, describe
from data_prep.synthetic.frame import Frame, draw

__all__ = ["CLASSES", "Description", "Frame", "describe", "draw"]
