"""Benchmarks of speed, memory and accuracy, compared with references. They are not part of the tests."""
