"""The error that is the user's to mend, and the name that they probably meant."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can mend: the message names the flag or file, the value, and what would be right.

    Commands print it without a traceback and exit with status 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: `; did you mean 'x'?` if a known one is close, else `; known: ...`."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
