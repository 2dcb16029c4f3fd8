"""How a process of ours loads the libraries of the engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from .late_imports import late_imports
from .uncollected import uncollected

SPINS = "3000"
"""Turns, some tens of microseconds in all, for which a thread of PyTorch's looks whether there is work before it sleeps
(docs/speed.md)."""

_WAITING, _OWN_WORDS = "GOMP_SPINCOUNT", ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@contextmanager
def engine_loading() -> Iterator[None]:
    """Import PyTorch, MONAI and the engine in a block: without the garbage collector, without what MONAI does not need,
    and so that threads that wait soon sleep."""
    with uncollected(), late_imports(), short_waits():
        yield


@contextmanager
def short_waits() -> Iterator[None]:
    """A PyTorch that is loaded meanwhile waits for its own threads awake for a moment only.

    GNU's OpenMP, which PyTorch brings on Linux, waits 300 000 turns, longer than a thread is left on a core. On a
    machine where others compute too, waiting threads then take the cores from those that they wait for. Other OpenMPs
    do not know the variable; who has set it, or said how threads wait, is asked first.
    """
    if any(name in os.environ for name in _OWN_WORDS):
        yield
        return
    os.environ[_WAITING] = SPINS  # read when the library loads, and by nobody of ours that is started later
    try:
        yield
    finally:
        os.environ.pop(_WAITING, None)
