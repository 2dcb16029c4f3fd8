"""Where the command line computes: in its own process, or in one of another Python, here or on another machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..contract.request import Progress, Request, Result

Compute = Callable[[Request, Callable[[Progress], None]], Result]

PYTHON_HELP = (
    "the Python that computes, instead of this one: an interpreter or the folder of its environment; "
    "ssh://USER@HOST:PORT/PATH is one on another machine (USER@ and :PORT may be left out), where a model may lie too: "
    "--model ssh:/PATH"
)


def computation(python: str | None) -> Compute:
    """What answers a request.

    Args:
        python: as ``--python`` names it; None computes in this process.
    """
    if python is None:
        from ..logic import computeHere

        return computeHere

    def compute(request: Request, report: Callable[[Progress], None]) -> Result:
        report(Progress("import", 0.0))
        with process_of(python) as worker:
            return worker.explain(request, on_progress=report).wait()

    return compute


@contextmanager
def several(python: str | None) -> Iterator[Compute]:
    """What answers several requests, with what they share computed once.

    Args:
        python: as of :func:`computation`.
    """
    if python is None:
        from ..comparing import withCache

        yield withCache()
        return
    with process_of(python) as worker:
        yield lambda request, report: worker.explain(request, on_progress=report).wait()


@contextmanager
def process_of(python: str) -> Iterator[Any]:
    """A :class:`Worker` of this Python, which is gone afterwards, however it went."""
    from ..worker.client import Worker
    from ..worker.transport import PipeTransport

    with Worker(python, transport=PipeTransport()) as worker:
        yield worker


def named(python: str | None) -> str:
    """The Python as it is named from anywhere, to compute there again; empty where it is this one."""
    from ..worker.interpreter import named_from_here

    return named_from_here(python) or ""
