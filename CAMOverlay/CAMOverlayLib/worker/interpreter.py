"""Which Python computes, and the environment variables it starts with."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ..contract.errors import WorkerError

LIBRARY = Path(__file__).resolve().parents[2]
"""The folder that contains ``CAMOverlayLib``: all that another Python needs of this extension."""

HEAP = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
"""Of the process that computes (docs/speed.md)."""

_SEARCH_PATHS = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH")
_OF_ONE_PYTHON = (
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONEXECUTABLE",
    "PYTHONNOUSERSITE",
    "__PYVENV_LAUNCHER__",
)


def own_python() -> str:
    """Slicer's ``PythonSlicer``, or outside Slicer the Python that runs this."""
    name = Path(sys.executable or "").stem.lower()
    return sys.executable if name.startswith("python") else shutil.which("PythonSlicer") or sys.executable


def find_python(python: str | os.PathLike[str] | None) -> str:
    """The absolute path of an interpreter that the user named by path, by name, or by its environment's folder.

    Raises:
        WorkerError: there is none, or it must not be executed.
    """
    given = os.path.expanduser(str(python)) if python else own_python()
    path = Path(given)
    if os.path.isdir(path):
        inside = [path / p for p in ("bin/python", "bin/python3", "python.exe", "Scripts/python.exe")]
        found = next((p for p in inside if p.is_file()), None)
        if found is None:
            raise WorkerError(
                f"The folder '{given}' contains no Python. Choose a Python interpreter or its environment."
            )
        path = found
    elif path.name == given and not os.path.exists(path):
        path = Path(shutil.which(given) or given)
    if not os.path.exists(path):
        raise WorkerError(f"The Python '{given}' does not exist. Choose a Python interpreter, such as …/bin/python.")
    if not os.access(path, os.X_OK):
        raise WorkerError(f"'{given}' is not executable, so it is no Python. Choose a Python interpreter.")
    return os.path.abspath(path)  # not resolved: a virtual environment's Python is known by its link


def named_from_here(python: str | os.PathLike[str] | None) -> str | None:
    """What a user named, so that it means the same when the working directory is another; a bare name stays one, to be
    looked up on the search path."""
    if not python:
        return None
    if str(python).strip().casefold().startswith("ssh://"):  # on another machine: see remote.place
        return str(python).strip()
    given = os.path.expanduser(str(python))
    return given if os.path.basename(given) == given and not os.path.exists(given) else os.path.abspath(given)


def child_environment(python: str) -> dict[str, str]:
    """The variables to start a Python with: those that Slicer was started with, not those that it made for itself.

    ``PythonSlicer`` adds Slicer's own again. For any other Python what could lead it into Slicer's libraries is left
    out.
    """
    environment, home = _outside_slicer()
    path = [str(LIBRARY)]
    if os.path.abspath(python) != os.path.abspath(own_python()):
        environment = {k: v for k, v in environment.items() if k not in _OF_ONE_PYTHON and not k.startswith("QT_")}
        for name in _SEARCH_PATHS:
            if home and name in environment:
                entries = environment[name].split(os.pathsep)
                environment[name] = os.pathsep.join(e for e in entries if not _inside(e, home))
    else:  # the child has another working directory
        path += [os.path.abspath(entry) for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return environment | {
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",  # the last words before a crash are in the log
        "PYTHONIOENCODING": "utf-8:replace",
        "GLIBC_TUNABLES": heap_settings(environment),
    }


def heap_settings(environment: Mapping[str, str]) -> str:
    """How glibc is to keep what was freed, and what else the environment says of that.

    Not in lists of small pieces beside the heap: the few bytes that are left over beside each large tensor, for its
    alignment, would be taken from one, and the place of the tensor would never again be large enough for its like.
    Other libraries of C do not know the variable.
    """
    return ":".join(filter(None, [HEAP, environment.get("GLIBC_TUNABLES")]))


def _outside_slicer() -> tuple[dict[str, str], str]:
    """The environment that Slicer was started from, and Slicer's home folder; both without Slicer too."""
    app = getattr(sys.modules.get("slicer"), "app", None)
    if app is None or not hasattr(app, "startupEnvironment"):
        return dict(os.environ), ""
    startup = app.startupEnvironment()
    names = startup.keys()  # Qt's is no mapping
    return {str(key): str(startup.value(key)) for key in names}, str(app.slicerHome)


def _inside(entry: str, home: str) -> bool:
    entry, home = os.path.normcase(os.path.abspath(entry)), os.path.normcase(os.path.abspath(home))
    return entry == home or entry.startswith(home + os.sep)
