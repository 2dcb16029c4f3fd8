"""How a process of ours loads its libraries, and how their threads wait from then on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .late_imports import late_imports
from .uncollected import uncollected

WAITS = {"GOMP_SPINCOUNT": "3000", "OPENBLAS_THREAD_TIMEOUT": "16"}
"""How long a thread that waits looks for work before it sleeps: turns of GNU's OpenMP, which PyTorch brings on Linux,
and the power of two of a processor's cycles of OpenBLAS, which NumPy brings. Some tens of microseconds both
(docs/speed.md)."""

_ASKED_FIRST = {name: (name,) for name in WAITS} | {"GOMP_SPINCOUNT": ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}


@contextmanager
def quick_loading() -> Iterator[None]:
    """Import the engine with PyTorch and MONAI, or Slicer's core, in a block: without the garbage collector, without
    what MONAI and nibabel do not need, and so that threads that wait soon sleep."""
    with uncollected(), late_imports(), short_waits():
        yield


@contextmanager
def short_waits() -> Iterator[None]:
    """A PyTorch and a NumPy that are loaded meanwhile wait for their own threads awake for a moment only.

    By themselves they wait for milliseconds, longer than a thread is left on a core. Where others compute too, be it
    the other of the two libraries, waiting threads then take the cores from those that they wait for. Other libraries
    do not know the variables; who has set one, or said how threads wait, is asked first.
    """
    ours = {name: value for name, value in WAITS.items() if not os.environ.keys() & _ASKED_FIRST[name]}
    os.environ.update(ours)  # read when the libraries load, and by nobody of ours that is started later
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
