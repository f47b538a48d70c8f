"""Preparation of raw images: NumPy and OpenCV only."""
