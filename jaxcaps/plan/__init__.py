"""The plan of a run: flags, files and presets become one validated, immutable `Config` before any data is opened."""
