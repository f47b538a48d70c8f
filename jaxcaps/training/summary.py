"""The last words of a run: where things are, and what to type next."""

import shlex
from pathlib import Path

from jaxcaps.plan.config import Config

FILES = {
    "report.html": "the run on one page",
    "figures": "curves and pictures",
    "predictions.csv": "probabilities of the validation pictures",
    "encoder.safetensors": "the encoder, for other data and other programs",
    "checkpoints": "all parameters, for --restore",
}


def summary(folder: Path, config: Config) -> str:
    """Says which files a finished run has, and which commands go on from it."""
    width = max(map(len, FILES))
    found = [f"  {name:<{width}}  {what}" for name, what in FILES.items() if (folder / name).exists()]
    return "\n".join([f"\nIn {folder}:", *found, "Next:", *(f"  {line}" for line in _next(folder, config))])


def _next(folder: Path, config: Config) -> list[str]:
    def command(name: str, *arguments: str) -> str:
        return shlex.join(["python", "-m", f"jaxcaps.{name}", *arguments])

    if config.stage == "ssl":
        return [
            "fine-tune a classifier from it, which needs labels:",
            "  " + command("train", "--stage=finetune", f"--restore={folder}", f"--out={folder}-finetune"),
        ]
    lines = [
        "classify other pictures:",
        "  " + command("predict", f"--restore={folder}", "--images=DIR", "--out=predictions.csv"),
        "score the test split, once all choices are made:",
        "  " + command("evaluate", f"--restore={folder}", "--split=test"),
    ]
    if config.restore is not None:
        random = f"{folder}-random"
        lines += [
            "train the same network from random parameters, and compare:",
            "  " + command("train", f"--config={folder}/config.yaml", "--restore=none", f"--out={random}"),
            "  " + command("report", f"--restore={folder}", "--compare", random),
        ]
    return lines
