"""Preparation of raw images. The steps that touch pixels need NumPy and OpenCV only; nothing here needs jax."""
