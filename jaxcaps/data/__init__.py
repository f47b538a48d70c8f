"""Image data: sources, splits, sampling and the loader."""
