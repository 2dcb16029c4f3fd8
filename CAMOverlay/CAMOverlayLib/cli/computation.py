"""Where the command line computes: in a process that loads the libraries while this one starts Slicer's core and reads
the volume; in one of another Python, here or on another machine; or in this process, where they are loaded already."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..contract.model import ModelSource
from ..contract.request import Progress, Request, Result

Compute = Callable[[Request, Callable[[Progress], None]], Result]

PYTHON_HELP = (
    "the Python that computes, instead of this one: an interpreter or the folder of its environment; "
    "ssh://USER@HOST:PORT/PATH is one on another machine (USER@ and :PORT may be left out), where a model may lie too: "
    "--model ssh:/PATH"
)


@contextmanager
def computation(
    python: str | None, model: ModelSource, device: str = "auto", meanwhile: Callable[[], None] = lambda: None
) -> Iterator[Compute]:
    """What answers one request. Where it is a process, that begins to load its libraries and the model at once, and
    ends with the answer: what comes then needs its memory.

    Args:
        python: as ``--python`` names it; None takes this Python.
        model: that of the request, and ``device`` its device.
        meanwhile: called while a process computes.
    """
    if python is None and "torch" in sys.modules:
        from ..logic import computeHere

        yield computeHere
        return

    def compute(request: Request, report: Callable[[Progress], None]) -> Result:
        report(Progress("import", 0.0, "" if python else "Loading the libraries"))
        try:
            run = worker.explain(request, on_progress=report)
            while run.state == "waiting":  # for the libraries
                worker.pump(0.02)
            meanwhile()
            return run.wait()
        finally:
            worker.stop()

    with process_of(python, {"model": model.absolute().to_dict(), "device": device}) as worker:
        worker.start()
        yield compute


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
def process_of(python: str | None, ahead: dict[str, Any] | None = None) -> Iterator[Any]:
    """A :class:`Worker` of this Python, which is gone afterwards, however it went.

    Of the Python that runs here it has the whole machine, as nothing else is at work.

    Args:
        ahead: the model that it will be asked for, as :class:`Worker` takes it.
    """
    from ..worker.client import Worker
    from ..worker.transport import PipeTransport

    with Worker(python, transport=PipeTransport(), alone=python is None, ahead=ahead) as worker:
        yield worker


def named(python: str | None) -> str:
    """The Python as it is named from anywhere, to compute there again; empty where it is this one."""
    from ..worker.interpreter import named_from_here

    return named_from_here(python) or ""
