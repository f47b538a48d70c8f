"""Accuracy and robustness of capsule networks on MNIST: see `__main__.py`."""
