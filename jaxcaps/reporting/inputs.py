"""What a page is made from."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxcaps.data.dataset import Split
from jaxcaps.reporting.comparison import Comparison
from jaxcaps.reporting.observation import Observation
from jaxcaps.reporting.results import Results


@dataclass(frozen=True)
class Inputs:
    """All that a page is made from.

    Attributes:
        results: the files of the run.
        observed: the network on validation pictures.
        split: the validation split.
        classes: the class names; empty without labels.
        train_counts: labelled training pictures of each class.
        parameters: the number of parameters.
        comparisons: other runs on the same pictures.
    """

    results: Results
    observed: Observation
    split: Split
    classes: tuple[str, ...]
    train_counts: Sequence[int]
    parameters: int
    comparisons: Sequence[Comparison] = ()
