"""The grammar of `--data` and `--source`: `kind:PLACE`, as in `folder:DIR` or `tfds:NAME@DIR`."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.errors import UserError


@dataclass(frozen=True)
class DataSpec:
    """Where pictures come from.

    Attributes:
        kind: of the source, such as "folder".
        place: a file or a folder; for a source that has a name, the name; "" where the kind alone says it.
        folder: for a source that has a name, where to look for it, or "".
    """

    kind: str
    place: str = ""
    folder: str = ""

    @classmethod
    def parse(cls, text: str, places: Mapping[str, str], flag: str = "--data") -> "DataSpec":
        """Reads `kind:PLACE`.

        Args:
            text: what the user typed.
            places: what follows each known kind: "FILE", "DIR", "NAME" (perhaps with `@DIR`), or "" for nothing.
            flag: where it was typed, for errors.

        Raises:
            UserError: an unknown kind, or a place that is missing or not wanted; the likely meaning is suggested.
        """
        kind, _, place = text.partition(":")
        if kind in places and bool(place) == (":" in text) == bool(places[kind]):
            if places[kind] != "NAME":
                return cls(kind, place)
            name, at, folder = place.partition("@")
            if name and bool(at) == bool(folder):
                return cls(kind, name, folder)
        forms = ", ".join(f"{name}:{what}" if what else name for name, what in places.items())
        raise UserError(f"{flag}={text}: expected one of {forms}{_suggestion(text, places, flag)}")

    def __str__(self) -> str:
        at = f"@{self.folder}" if self.folder else ""
        return f"{self.kind}:{self.place}{at}" if self.place else self.kind

    def absolute(self, *, named: bool) -> "DataSpec":
        """With its path made absolute, so that a run can be used from any folder.

        Args:
            named: the place is a name, not a path.
        """
        if named:
            return replace(self, folder=_absolute(self.folder))
        return replace(self, place=_absolute(self.place))

    def anonymous(self, *, named: bool) -> str:
        """Without the folders: the kind, and the name or the last part of the path."""
        name = self.place if named else Path(self.place).name
        return f"{self.kind}:{name}" if name else self.kind


def expanded(path: str) -> Path:
    """The path with `~` filled in: a shell leaves it in `--out=~/x`.

    Raises:
        UserError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path}: {Path(path).parts[0]} is not the home folder of a user; write the path out") from None


def _absolute(path: str) -> str:
    return str(expanded(path).resolve()) if path else ""


def _suggestion(text: str, places: Mapping[str, str], flag: str) -> str:
    """What was probably meant."""
    kind, _, place = text.partition(":")
    file = expanded(text)
    if text and file.is_dir() and "folder" in places:
        return f"; did you mean {flag}=folder:{text}?"
    if (suffix := file.suffix.lower()[1:]) in places and places[suffix] == "FILE" and not place:
        return f"; did you mean {flag}={suffix}:{text}?"
    if kind in places:
        return f"; {places[kind]} must follow {kind}:" if places[kind] else f"; nothing follows {kind}"
    close = difflib.get_close_matches(kind.lower(), places, n=1)
    if not close:
        return ""
    meant = close[0]
    return f"; did you mean {flag}={meant}{':' + place if place and places[meant] else ''}?"
