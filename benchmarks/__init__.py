"""Speed and memory, as ratios against references measured side by side. Not part of the tests."""
