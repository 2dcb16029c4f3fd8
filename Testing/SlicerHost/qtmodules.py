"""The modules `qt` and `ctk`, and the widget classes in `slicer`: only names that the real ones have."""

from __future__ import annotations

import sys
import types
from typing import Any

from PySide6 import QtCore

from . import offered, pythonqt
from .uiloader import QUiLoader
from .widgets import ctk as ctkWidgets
from .widgets import qmrml


class _Qt:
    """`qt.Qt`: the namespace of enum values."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = pythonqt._lookupEnum(QtCore.Qt, name)
        if found is None:
            raise AttributeError(f"Qt has no attribute named '{name}'")
        return found


class WrappedModule(types.ModuleType):
    """A module that makes its classes when they are asked for."""

    def __init__(self, name: str, natives: dict[str, type], extra: dict[str, Any]) -> None:
        super().__init__(name)
        self.__dict__["_natives"] = natives
        self.__dict__["_names"] = offered.names(name)
        self.__dict__.update(extra)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in self._names:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        if name in self._natives:
            found = pythonqt.defineClass(name, self._natives[name])
        elif self.__name__ == "qt":
            found = pythonqt.wrappedClass(name)
        else:
            raise AttributeError(f"Slicer has {self.__name__}.{name}, SlicerHost not yet; see SlicerHost/widgets")
        self.__dict__[name] = found
        return found

    def __dir__(self) -> list[str]:
        return sorted(self._names)


def install() -> None:
    """Put `qt` and `ctk` among the modules that Python can import."""
    QUiLoader.widgets = {**ctkWidgets.WIDGETS, **qmrml.WIDGETS}
    sys.modules["qt"] = WrappedModule("qt", {"QUiLoader": QUiLoader}, {"Qt": _Qt()})
    sys.modules["ctk"] = WrappedModule("ctk", dict(ctkWidgets.WIDGETS), {})
    for name, native in QUiLoader.widgets.items():  # a .ui file may bring one that no module ever names
        pythonqt.defineClass(name, native)
