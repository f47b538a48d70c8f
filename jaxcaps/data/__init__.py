"""Where images come from: sources, splits, sampling, the loader."""
