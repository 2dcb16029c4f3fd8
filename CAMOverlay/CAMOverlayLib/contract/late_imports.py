"""MONAI and nibabel load without the libraries that they might want.

``import monai`` loads pandas, matplotlib, parts of SciPy and scikit-learn where they are installed, for plots, tables
and metrics that no explanation uses: on a machine that has all of them half of the time. ``import nibabel`` loads
pydicom, for DICOM in a header's extension, and so does every ``LoadImage``. In a process of ours they wait until
somebody uses them. Nothing else changes: who asks is told that they are there, as they are, and what it got from
them loads the library at its first use; whoever else imports them gets them at once.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import Any, cast

LATER = (
    "matplotlib",
    "matplotlib.pyplot",
    "pandas",
    "pydicom",
    "requests",
    "scipy.ndimage",
    "scipy.optimize",
    "scipy.signal",
    "scipy.sparse",
    "scipy.sparse.csgraph",
    "scipy.sparse.linalg",
    "scipy.spatial",
    "sklearn",
    "sklearn.metrics",
    "sklearn.linear_model",
)

ASKING = ("monai", "nibabel")

OF_TYPING = ("__parameters__", "__typing_subst__", "__typing_is_unpacked_typevartuple__")
"""What ``typing`` asks of whatever stands in brackets, where a class or a function says nothing."""


@contextmanager
def late_imports() -> Iterator[None]:
    """Meanwhile what :data:`ASKING` import of :data:`LATER` is a stand-in; afterwards nobody can import one any
    more."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in LATER:
            module = sys.modules.get(name)
            if isinstance(module, StandIn):
                _take_out(name, module)


class StandIn(ModuleType):
    """A module that loads when somebody uses it. Who asks for names while it loads gets one of each."""

    def __getattr__(self, name: str) -> Any:
        if name == "__path__":  # of a package; those who ask want to import a part of it
            return [] if _asked_by_one_of_them() else self.__real__().__path__
        if not name.startswith("__") and _asked_by_one_of_them() and sys.modules.get(self.__name__) is self:
            return Later(self, name)
        return getattr(self.__real__(), name)

    def __real__(self) -> ModuleType:
        if sys.modules.get(self.__name__) is self:
            _take_out(self.__name__, self)
        with _no_finder():
            return importlib.import_module(self.__name__)


class Later:
    """A function or class of a module that loads when it is called or looked into."""

    def __init__(self, module: StandIn, name: str) -> None:
        self.__dict__.update(_module=module, _name=name)

    def __call__(self, *values: Any, **named: Any) -> Any:
        return self._found()(*values, **named)

    def __getattr__(self, name: str) -> Any:
        if name in OF_TYPING:
            raise AttributeError(name)
        return getattr(self._found(), name)

    def __instancecheck__(self, one: Any) -> bool:
        return isinstance(one, self._found())

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (self._found(),)

    def _found(self) -> Any:
        return getattr(self._module.__real__(), self._name)


class _Finder:
    """Finds stand-ins, for :data:`ASKING` alone and only of what is installed and not loaded."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        if name not in LATER or not _asked_by_one_of_them() or not _installed(name):
            return None
        return ModuleSpec(name, cast(Any, self), is_package="." not in name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = StandIn(spec.name)
        module.__file__ = f"<{spec.name}, loaded when it is used>"
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__.pop("__path__", None)


def _installed(name: str) -> bool:
    top = name.partition(".")[0]
    if top in sys.modules:
        return True
    with _no_finder():
        return importlib.util.find_spec(top) is not None


@contextmanager
def _no_finder() -> Iterator[None]:
    finders = [one for one in sys.meta_path if isinstance(one, _Finder)]
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, _Finder)]
    try:
        yield
    finally:
        sys.meta_path[:0] = finders


def _take_out(name: str, module: ModuleType) -> None:
    sys.modules.pop(name, None)
    parent, _, own = name.rpartition(".")
    holder = sys.modules.get(parent)
    if holder is not None and holder.__dict__.get(own) is module:
        delattr(holder, own)


def _asked_by_one_of_them() -> bool:
    """Whether the code that imports, or asks for a name, is of :data:`ASKING`."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and (frame.f_code.co_filename.startswith("<frozen importlib") or _ours(frame)):
        frame = frame.f_back
    return frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in ASKING


def _ours(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__") in (__name__, "importlib")
