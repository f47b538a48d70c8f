"""Extremely randomised trees (Geurts et al. 2006) on small pictures: a floor that no network should fall below."""

from typing import Any

from jaxcaps.studies.arms import Arm


def classifier(seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(500, class_weight="balanced", random_state=seed % 2**32)


ARM = Arm("extremely randomised trees on 24x24 pixels", baseline=True, pixels=classifier)
