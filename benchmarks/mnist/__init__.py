"""What capsules reach on MNIST: see `__main__.py`."""
