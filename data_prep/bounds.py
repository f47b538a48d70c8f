"""Bounds that stand on the fields of a configuration, as in `Annotated[float, Interval(ge=0, le=1)]`."""

import dataclasses
import operator
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, Le, Lt

from data_prep.errors import UserError

# Bounds that many fields share.
Share = Annotated[float, Interval(ge=0, le=1)]
NotNegative = Annotated[float, Ge(0)]
Seed = Annotated[int, Interval(ge=0, le=2**31 - 1)]

_BOUNDS = {
    Ge: ("ge", "at least", operator.ge),
    Gt: ("gt", "above", operator.gt),
    Le: ("le", "at most", operator.le),
    Lt: ("lt", "below", operator.lt),
}


def check_bounds(config: Any) -> None:
    """Checks every bounded field of a dataclass and of the dataclasses in it.

    A bound on `int | None`, or on a number or a word, holds where there is a number, one on a tuple of numbers for each
    of them.

    Raises:
        UserError: a value out of its bounds; the message names the flag, the value and the bounds.
    """
    hints = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_bounds(value)
            continue
        # The numbers of a pair may have the same bounds.
        bounds = [
            (words, getattr(bound, name), holds)
            for bound in dict.fromkeys(_bounds(hints[field.name]))
            for name, words, holds in [_BOUNDS[type(bound)]]
        ]
        numbers = [each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, int | float)]
        # NaN is within no bounds.
        if not all(holds(number, limit) for number in numbers for _, limit, holds in bounds):
            flag = f"--{field.name.replace('_', '-')}"
            given = " ".join([flag, *map(str, numbers)]) if isinstance(value, tuple) else f"{flag}={value}"
            allowed = " and ".join(
                f"{words} {limit if isinstance(limit, int) else format(limit, 'g')}" for words, limit, _ in bounds
            )
            raise UserError(f"{given}: expected {allowed}")


def _bounds(hint: Any) -> Iterator[Ge | Gt | Le | Lt]:
    """The bounds in a type, wherever they stand in it."""
    if get_origin(hint) is Annotated:
        for each in hint.__metadata__:
            if isinstance(each, Interval):
                yield from each  # type: ignore[misc]
            elif type(each) in _BOUNDS:
                yield each
    for part in get_args(hint):
        yield from _bounds(part)
