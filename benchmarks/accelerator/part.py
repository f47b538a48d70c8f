"""Runs one part in this process. The runner starts it: `python -m benchmarks.accelerator.part NAME ...`."""

import argparse
import importlib
from pathlib import Path

from benchmarks.accelerator.recorder import Recorder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--scale", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    recorder = Recorder(given.rows, given.name, scale=given.scale, seconds=given.seconds)
    importlib.import_module(f"benchmarks.accelerator.{given.name}").measure(recorder)


if __name__ == "__main__":
    main()
