"""Packages that jaxcaps needs only for some of what it does."""

import importlib.util


def is_installed(package: str) -> bool:
    """Whether a package can be imported. A folder of its name, such as the one that W&B makes, is found like a package,
    but has no origin."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None
