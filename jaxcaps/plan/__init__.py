"""The plan of a run: flags, files and presets become one checked, immutable `Config` before anything is opened."""
