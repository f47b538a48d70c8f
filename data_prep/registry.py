"""Tables of extensions: one package each, one module an extension, found by the module's name.

A preparation step, a task, a metric and the like are each one file. The file defines one object under a name that all
files of its package share, such as `STEP`. That is its whole registration: the table of the package reads the folder.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Generic, TypeVar, cast

from data_prep.errors import UserError, nearest

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """The extensions of one package, by name. Names cost nothing; a module is imported when its extension is used.

    Args:
        package: the package whose modules are the extensions.
        attribute: what each module defines, such as "STEP".
        what: what an extension is, for errors, such as "preparation step".
        separator: stands in names where module names have an underscore.
        exclude: modules that are no extensions. Those whose names begin with an underscore never are.
    """

    def __init__(self, package: str, attribute: str, *, what: str, separator: str = "-", exclude: tuple[str, ...] = ()):
        self.package, self.attribute, self.what = package, attribute, what
        self.separator, self.exclude = separator, exclude

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        # The package itself may still be half imported: its spec has the folder already.
        spec = importlib.util.find_spec(self.package)
        assert spec is not None
        modules = (module.name for module in pkgutil.iter_modules(spec.submodule_search_locations))
        found = [name for name in modules if not name.startswith("_") and name not in self.exclude]
        return tuple(sorted(name.replace("_", self.separator) for name in found))

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
