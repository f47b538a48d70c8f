"""Command: python -m benchmarks.accelerator --out=DIR [--parts=machine,steps] [--minutes=8] [--scale=tiny]

Writes `accelerator.md` and `accelerator.json`, the tables of all parts; `rows.jsonl`, their rows as they were measured;
and `log.txt`, what the parts printed.
"""

import argparse
import json
import time
from pathlib import Path

from benchmarks.accelerator import PARTS
from benchmarks.accelerator.recorder import read_rows
from benchmarks.accelerator.report import markdown
from benchmarks.accelerator.runner import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of %(default)s")
    parser.add_argument("--minutes", type=float, default=8.0, help="time for all parts (default: %(default)g)")
    parser.add_argument("--scale", choices=("full", "tiny"), default="full", help="tiny: shows on a CPU that it works")
    given = parser.parse_args()
    wanted = given.parts.split(",")
    unknown = set(wanted) - set(PARTS)
    if unknown:
        parser.error(f"--parts={given.parts}: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    rows = (given.out / "rows.jsonl").resolve()
    log = given.out / "log.txt"
    for file in (rows, log):
        file.unlink(missing_ok=True)
    outcomes = run(
        {name: part for name, part in PARTS.items() if name in wanted},
        rows=rows,
        log=log,
        scale=given.scale,
        seconds=60 * given.minutes,
        module="benchmarks.accelerator.part",
    )
    found = read_rows(rows)
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "scale": given.scale,
        "parts": {name: {**vars(outcome), "tables": found.get(name, {})} for name, outcome in outcomes.items()},
    }
    (given.out / "accelerator.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (given.out / "accelerator.md").write_text(markdown(results), encoding="utf-8")
    print(markdown(results, brief=True))


if __name__ == "__main__":
    main()
