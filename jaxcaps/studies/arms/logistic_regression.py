"""Logistic regression on small pictures: a floor that no network should fall below."""

from typing import Any

from jaxcaps.studies.arms import Arm


def classifier(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=5000))


ARM = Arm("logistic regression on 24x24 pixels", baseline=True, pixels=classifier)
