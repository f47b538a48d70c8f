"""Trained networks applied to pictures: one way for `evaluate`, `predict` and `jaxcaps.load`."""
