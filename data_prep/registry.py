"""Tables of extensions: one package each, one module an extension, found by the module's name.

A preparation step, a task, a metric and the like are each one file. The file defines one object under a name that all
files of its package share, such as `STEP`. That is its whole registration: the table of the package reads the folder.
"""

import importlib
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar, cast

from data_prep.errors import UserError, nearest

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """The extensions of one package, by name. Names cost nothing: a module is imported when its extension is used.

    Args:
        package: the package whose modules are the extensions. Its top-level package has to be imported already.
        attribute: what each module defines, such as "STEP". Modules without it are not extensions.
        what: what an extension is, for errors, such as "preparation step".
        separator: stands in names where module names have an underscore.
    """

    def __init__(self, package: str, attribute: str, *, what: str, separator: str = "-"):
        self.package, self.attribute, self.what, self.separator = package, attribute, what, separator

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        top, *inner = self.package.split(".")
        # Looking the package itself up would import those above it, and all that they import.
        folder = Path(importlib.import_module(top).__path__[0], *inner)
        defines = re.compile(rf"^{self.attribute}\b", re.MULTILINE)
        found = [file.stem for file in folder.glob("*.py") if defines.search(file.read_text(encoding="utf-8"))]
        return tuple(sorted(name.replace("_", self.separator) for name in found if name != "__init__"))

    def __getitem__(self, name: str) -> T:
        """
        Raises:
            KeyError: there is no such extension.
        """
        if name not in self.names:
            raise KeyError(name)
        module = importlib.import_module(f"{self.package}.{name.replace(self.separator, '_')}")
        return cast(T, getattr(module, self.attribute))

    def find(self, name: str, flag: str) -> T:
        """The extension that a user named.

        Args:
            name: what the user typed.
            flag: where, such as "--task".

        Raises:
            UserError: there is no such extension; the nearest name is given.
        """
        if name not in self.names:
            raise UserError(f"{flag}={name}: unknown {self.what}{nearest(name, self.names)}")
        return self[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)
