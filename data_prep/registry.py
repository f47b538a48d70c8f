"""Tables of extensions: one package each, one module an extension, found by the module's name.

A preparation step, a task, a metric and the like are each one file. The file defines one object under a name that all
files of its package share, such as `STEP`. That is its whole registration: the table of the package reads the folder.

Another package adds an extension by an entry point. Its group is the name of the table's package, and it refers to such
a file:

    [project.entry-points."data_prep.steps"]
    gamma = "mypackage.gamma"
"""

import importlib
import re
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from data_prep.errors import UserError, nearest

T = TypeVar("T")


@cache
def installed() -> Any:
    """The entry points of all installed packages, to `select` from. Reading them takes some 20 ms."""
    return entry_points()


class Registry(Mapping[str, T], Generic[T]):
    """The extensions of one package, by name. Listing names imports nothing: a module is imported when it is used.

    Args:
        package: the package whose modules are the extensions, and the group of the entry points of other packages. Its
            top-level package has to be imported already.
        attribute: what each module defines, such as "STEP". Modules without it are not extensions.
        what: what an extension is, for errors, such as "preparation step".
        separator: stands in names where module names have an underscore.
    """

    def __init__(self, package: str, attribute: str, *, what: str, separator: str = "-"):
        self.package, self.attribute, self.what, self.separator = package, attribute, what, separator

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted({*self._own, *self._others}))

    @cached_property
    def _own(self) -> frozenset[str]:
        top, *inner = self.package.split(".")
        # Looking the package itself up would import those above it, and all that they import.
        folder = Path(importlib.import_module(top).__path__[0], *inner)
        defines = re.compile(rf"^{self.attribute}\b", re.MULTILINE)
        found = [file.stem for file in folder.glob("*.py") if defines.search(file.read_text(encoding="utf-8"))]
        return frozenset(name.replace("_", self.separator) for name in found if name != "__init__")

    @cached_property
    def _others(self) -> dict[str, EntryPoint]:
        """The extensions that other packages define.

        Raises:
            UserError: two packages define an extension of the same name.
        """
        found: dict[str, EntryPoint] = {}
        for point in installed().select(group=self.package):
            name = re.sub("[-_]", self.separator, point.name)
            if name in found or name in self._own:
                first = _package(found[name]) if name in found else self.package.partition(".")[0]
                raise UserError(
                    f"{first} and {_package(point)} both define {name!r} in {self.package}; rename the entry point of "
                    f"{_package(point)}, or uninstall it"
                )
            found[name] = point
        return found

    def __getitem__(self, name: str) -> T:
        """
        Raises:
            KeyError: there is no such extension.
            UserError: the module of another package cannot be imported, or does not define the attribute.
        """
        if name in self._own:
            module = importlib.import_module(f"{self.package}.{name.replace(self.separator, '_')}")
            return cast(T, getattr(module, self.attribute))
        point = self._others[name]
        try:
            loaded = point.load()
            return cast(T, loaded if point.attr else getattr(loaded, self.attribute))
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"{self.package} has an extension {name!r} of the package {_package(point)}, which cannot be loaded: "
                f"{error}; mend or uninstall it"
            ) from error

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


def _package(point: EntryPoint) -> str:
    return point.value if point.dist is None else point.dist.name
