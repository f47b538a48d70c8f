"""Random initialisation against pre-training: `python -m benchmarks.initialisation --data=csv:FILE --folder=DIR`.

For each seed: fine-tuning from random initialisation, pre-training, fine-tuning from that encoder, with the same
fine-tuning budget. Scored on the validation split (test stays closed). Finished runs in the folder are kept, stopped
ones resumed. Prints a Markdown table of the last and of the best evaluation, mean and standard deviation over seeds,
and draws the curves. The best is chosen on the split it is scored on, in both arms: trust the
difference, not the level.
"""

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from matplotlib.figure import Figure

from jaxcaps.training.writers import Row, read_rows

METRICS = ("balanced_accuracy", "accuracy", "mcc")
ARMS = {"random": "random initialisation", "finetune": "pre-trained encoder"}


def train(*flags: str) -> None:
    subprocess.run([sys.executable, "-m", "jaxcaps.train", *flags], check=True)


def run_seed(seed: int, data: str, preset: str, folder: Path) -> None:
    common = (f"--data={data}", f"--preset={preset}", f"--seed={seed}")
    train("--stage=finetune", *common, f"--out={folder}/random-{seed}")
    train("--stage=ssl", "--task=inpaint", *common, f"--out={folder}/ssl-{seed}")
    train("--stage=finetune", f"--restore={folder}/ssl-{seed}", f"--seed={seed}", f"--out={folder}/finetune-{seed}")


def evaluations(run: Path) -> list[Row]:
    return [row for row in read_rows(run / "metrics.jsonl") if "validation/accuracy" in row]


def table(folder: Path, seeds: list[int]) -> str:
    lines = ["| validation split | evaluation | " + " | ".join(METRICS) + " |", "|---" * (2 + len(METRICS)) + "|"]
    for arm, title in ARMS.items():
        runs = [evaluations(folder / f"{arm}-{seed}") for seed in seeds]
        for name in ("last", "best"):
            cells = []
            for metric in METRICS:
                key = f"validation/{metric}"
                chosen = [
                    rows[-1] if name == "last" else max(rows, key=lambda row: row["validation/balanced_accuracy"])
                    for rows in runs
                ]
                values = [row[key] for row in chosen]
                listed = ", ".join(f"{value:.3f}" for value in values)
                cells.append(f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f} ({listed})")
            lines.append(f"| {title} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(folder: Path, seeds: list[int], path: Path) -> None:
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = {"random": "#D55E00", "finetune": "#0072B2"}
    for arm, title in ARMS.items():
        for seed in seeds:
            rows = evaluations(folder / f"{arm}-{seed}")
            epochs = [row["epoch"] for row in rows]
            label = title if seed == seeds[0] else None
            left.plot(epochs, [row["validation/balanced_accuracy"] for row in rows], color=colours[arm], label=label)
            right.plot(epochs, [row["train/accuracy"] for row in rows], color=colours[arm], label=label)
    left.set(xlabel="epoch of fine-tuning", ylabel="balanced accuracy", title="Validation")
    right.set(xlabel="epoch of fine-tuning", ylabel="accuracy on augmented, balanced batches", title="Training")
    left.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--preset", default="small64")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--folder", type=Path, default=Path("runs/initialisation"))
    arguments = parser.parse_args()
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    for seed in seeds:
        run_seed(seed, arguments.data, arguments.preset, arguments.folder)
    draw(arguments.folder, seeds, arguments.folder / "curves.png")
    text = table(arguments.folder, seeds)
    (arguments.folder / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
