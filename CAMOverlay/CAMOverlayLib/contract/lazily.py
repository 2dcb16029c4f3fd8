"""A package that offers names of its modules and loads a module only when a name of it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazily(package: str, where: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package, so that importing it costs nothing.

    Args:
        package: its ``__name__``.
        where: the module, seen from the package, by the name that it offers.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807  what it becomes
        if name in where:
            return getattr(importlib.import_module(f"{package}.{where[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
