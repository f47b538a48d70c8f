"""Reads and builds data sets of TensorFlow Datasets (TFDS) without TensorFlow."""
