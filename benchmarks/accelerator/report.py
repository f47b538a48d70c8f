"""The results of a run as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any


def markdown(results: Mapping[str, Any], *, brief: bool = False) -> str:
    """A section for each part with its tables, and what is missing. In brief, it leaves out rows of what agrees."""
    lines = [f"# Accelerator benchmark, {results['date']}, scale {results['scale']}", ""]
    for name, part in results["parts"].items():
        lines += [f"## {name}: {part['status']}, {part['seconds']:.0f} s", ""]
        for title, rows in part["tables"].items():
            shown = [row for row in rows if not (brief and row.get("agrees"))]
            lines += [f"### {title}", "", *(table(shown) if shown else ["All agree."]), ""]
    incomplete = [
        f"{name} ({part['status']})" for name, part in results["parts"].items() if part["status"] != "complete"
    ]
    failed = [
        f"{name}: {title}"
        for name, part in results["parts"].items()
        for title, rows in part["tables"].items()
        if any("error" in row for row in rows)
    ]
    lines += [f"Incomplete parts: {', '.join(incomplete) or 'none'}.", ""]
    lines += [f"Tables with errors: {', '.join(failed) or 'none'}.", ""]
    return "\n".join(lines)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines of a table that has the columns of all rows."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")
