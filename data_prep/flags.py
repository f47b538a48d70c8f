"""The names of a command's flags, checked before tyro reads them: its own suggestions miss transposed letters."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import tyro

from data_prep.errors import UserError, nearest


def check_names(arguments: Sequence[str], cls: type, known_as: Mapping[str, str] | None = None) -> None:
    """
    Args:
        arguments: of a command.
        cls: the dataclass of its flags.
        known_as: what other tools call a flag, and the flags to give instead: {"learning-rate": "--lr"}.

    Raises:
        UserError: the command has no such flag. The message suggests the nearest one.
    """
    known = [f"--{name}" for name in (*flag_names(cls), "help")]
    for argument in arguments:
        flag = argument.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known and not flag.startswith("--tyro-"):
            if instead := (known_as or {}).get(flag.removeprefix("--")):
                raise UserError(f"{flag}: unknown flag; did you mean {instead}?")
            raise UserError(f"{flag}: unknown flag{nearest(flag, known)}")


def flag_names(cls: Any) -> Iterator[str]:
    """Yields the names of a dataclass's flags, without the leading dashes. Switches have a second one, `no-NAME`."""
    # The types of a task's settings are strings until they are looked up.
    for field, hint in get_type_hints(cls, include_extras=True).items():
        kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if tyro.conf.Suppress in marks:
            continue
        if dataclasses.is_dataclass(kind):
            yield from flag_names(kind)
            continue
        name = field.replace("_", "-")
        yield name
        if kind is bool:
            yield f"no-{name}"
