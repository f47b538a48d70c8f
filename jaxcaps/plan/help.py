"""`--help` lists the common flags, `--help-all` all of them."""

import dataclasses
from typing import Annotated, Any, get_type_hints

import tyro

# Flags that most runs give, or that say what a run is.
COMMON = frozenset(
    {
        "stage", "task", "preset", "restore", "out", "seed", "config",
        "data", "image_size", "channels", "routing", "loss", "epochs", "batch_size", "lr", "log",
    }
)  # fmt: skip
ALL = "--help-all"


def common(config: Any) -> Any:
    """Returns a configuration of a type whose other flags are not in the help. Its values and names stay the same."""
    cls = type(config)
    hints = get_type_hints(cls, include_extras=True)
    fields: list[tuple[str, Any]] = []
    values = {}
    for field in dataclasses.fields(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if dataclasses.is_dataclass(value):
            value = common(value)
            hint = type(value)
        elif field.name not in COMMON:
            hint = Annotated[hint, tyro.conf.Suppress]
        values[field.name] = value
        fields.append((field.name, hint))
    # A subclass, because tyro reads the help from the class that has the docstrings. Defaults are in `values`.
    shorter = dataclasses.make_dataclass(cls.__name__, fields, bases=(cls,), frozen=True, kw_only=True)
    return shorter(**values)
