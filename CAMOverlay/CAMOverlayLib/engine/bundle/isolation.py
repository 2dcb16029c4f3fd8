"""One bundle must not colour the next: whose modules are imported, and what a bundle's code did to torch and the
process.

Byte code beside a bundle's source is never read: it can differ from the source that was looked at and trusted.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from monai.data.meta_obj import get_track_meta, set_track_meta
from torch.nn.modules import module as modules

P = ParamSpec("P")
R = TypeVar("R")

_homes: set[str] = set()
"""Where bundles were, each path with a separator at its end."""

left_behind: list[str] = []
"""What bundles changed in this process and what was put back; a process that has something in here is not like new."""


# Imports --------------------------------------------------------------------------------------------------------------


class _FromSource(SourceFileLoader):
    """Compiles what is in the file, whatever lies in ``__pycache__``, and leaves nothing there."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _Finder:
    """Finds a bundle's own modules, first of all."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        name = fullname.rpartition(".")[2]
        for place in [str(self._home)] if path is None else list(path):
            if isinstance(place, str) and Path(place).is_relative_to(self._home):
                finder = FileFinder(place, (ExtensionFileLoader, EXTENSION_SUFFIXES), (_FromSource, SOURCE_SUFFIXES))
                spec = finder.find_spec(fullname if path is not None else name)
                if spec is not None and spec.loader is not None:
                    return spec
        return None


@contextmanager
def at_home(folder: Path | str) -> Iterator[None]:
    """Let ``scripts.…`` and the like mean this bundle's own modules, and nobody else's.

    Args:
        folder: the bundle's root; an empty string changes nothing.
    """
    if not folder:
        yield
        return
    home = Path(folder)
    here, homes = (os.path.join(home, ""),), tuple(_homes)
    _forget(lambda origin, name: not _within(origin, here) and (name == "scripts" or _within(origin, homes)))
    _homes.update(here)
    finder = _Finder(home)
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    sys.path.insert(0, str(home))
    try:
        yield
    finally:
        if str(home) in sys.path:
            sys.path.remove(str(home))
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)  # type: ignore[arg-type]


def forget_bundles() -> None:
    """Forget every module that came from a bundle: another one's, or this one's before its author changed it."""
    homes = tuple(_homes)
    _forget(lambda origin, name: name == "scripts" or _within(origin, homes))


def _within(origin: str | None, homes: tuple[str, ...]) -> bool:
    """Whether a module's file lies in one of the bundles, and is not one of an environment that happens to lie there
    too.

    It is asked of every module that is loaded, some thousand, and there may be many bundles: it compares texts, all at
    once, and makes no paths.
    """
    if origin is None or not origin.startswith(homes):
        return False
    return any(_own(origin, home) for home in homes if origin.startswith(home))


def _own(origin: str, home: str) -> bool:
    """Whether it is the bundle's, which may lie deep in such an environment, or be the environment's own folder."""
    return not any(origin.startswith(place) and (home == place or not home.startswith(place)) for place in _INSTALLED)


_INSTALLED = tuple(
    {os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {os.path.join(Path(__file__).resolve().parents[2], "")}
)
"""Where this Python's libraries and this package are: they are no bundle's, whatever folder is given as one."""


def _forget(goes: Callable[[str | None, str], bool]) -> None:
    found = len(sys.modules)
    for name, module in list(sys.modules.items()):
        if name != "__main__" and goes(_origin(module), name.split(".")[0]):
            del sys.modules[name]
    if len(sys.modules) != found:
        importlib.invalidate_caches()


def _origin(module: Any) -> str | None:
    try:
        origin = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", None) or ()), None)
    except Exception:  # what stands in sys.modules may be anything  # noqa: BLE001
        return None
    return origin if isinstance(origin, str) else None


# State ----------------------------------------------------------------------------------------------------------------

_HOOKS = (
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_module_registration_hooks",
    "_global_buffer_registration_hooks",
    "_global_parameter_registration_hooks",
)


class ProcessState:
    """What is one for the whole process, as it was when this was made."""

    def __init__(self) -> None:
        self._values = {name: get() for name, (get, _set) in _SWITCHES.items()}
        self._hooks = {name: dict(getattr(modules, name)) for name in _HOOKS if hasattr(modules, name)}
        self._functions = {name: getattr(where, name.rpartition(".")[2]) for name, where in _FUNCTIONS.items()}

    def restore(self) -> list[str]:
        """Put everything back; returns the names of what was not as before."""
        changed = []
        if torch.is_inference_mode_enabled():  # entered and never left; only a new process is without it
            changed.append("inference mode")
        for name, value in self._values.items():
            get, put = _SWITCHES[name]
            try:
                if get() != value:
                    changed.append(name)
                    put(value)
            except Exception:  # a working folder that is gone, a limit that cannot be raised again  # noqa: BLE001
                changed.append(name)
        for name, hooks in self._hooks.items():
            there = getattr(modules, name)
            if dict(there) != hooks:
                changed.append("global hooks of torch")
                there.clear()
                there.update(hooks)
        for name, function in self._functions.items():
            where, attribute = _FUNCTIONS[name], name.rpartition(".")[2]
            if getattr(where, attribute, None) is not function:
                changed.append(name)
                setattr(where, attribute, function)
        return changed


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _limits() -> tuple:
    try:
        import resource
    except ImportError:  # Windows
        return ()
    return tuple(
        resource.getrlimit(kind) for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS)
    )


def _put_limits(limits: tuple) -> None:
    import resource

    for kind, limit in zip((resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_AS), limits):
        resource.setrlimit(kind, limit)


def _default_device() -> str:
    return str(torch.empty(0).device)


def _put_device(device: str) -> None:
    torch.set_default_device(None if device == "cpu" else device)


_SWITCHES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "default type": (torch.get_default_dtype, torch.set_default_dtype),
    "default device": (_default_device, _put_device),
    "gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "MONAI's track_meta": (get_track_meta, set_track_meta),
    "deterministic algorithms": (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    "precision of matrix products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "working folder": (_working_folder, lambda folder: os.chdir(folder or os.path.sep)),
    "limits of the process": (_limits, _put_limits),
    "path of imports": (lambda: list(sys.path), lambda path: sys.path.__setitem__(slice(None), path)),
}

_FUNCTIONS: dict[str, Any] = {
    f"{prefix}.{name}": where
    for prefix, where, names in (
        (
            "torch",
            torch,
            "relu sigmoid softmax tanh cat stack matmul zeros ones empty tensor as_tensor load save no_grad mean sum",
        ),
        (
            "torch.Tensor",
            torch.Tensor,
            "mean sum max min relu softmax sigmoid matmul backward to cpu __add__ __mul__ __getitem__",
        ),
        (
            "torch.nn.functional",
            torch.nn.functional,
            "relu softmax sigmoid conv1d conv2d conv3d interpolate linear pad "
            "batch_norm instance_norm group_norm layer_norm max_pool2d max_pool3d adaptive_avg_pool2d "
            "adaptive_avg_pool3d",
        ),
        ("torch.nn.Module", torch.nn.Module, "__call__ forward eval train to state_dict load_state_dict parameters"),
        ("torch.autograd", torch.autograd, "grad backward"),
    )
    for name in names.split()
    if hasattr(where, name)
}


def leaves_no_trace(function: Callable[P, R]) -> Callable[P, R]:
    """The function with the process's state put back after it; what had to be is noted in :data:`left_behind`."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        state = ProcessState()
        try:
            return function(*args, **options)
        finally:
            left_behind.extend(state.restore())
            del left_behind[:-50]

    return wrapped
