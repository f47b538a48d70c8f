"""Sets of TensorFlow Datasets (TFDS), read and built without TensorFlow."""
