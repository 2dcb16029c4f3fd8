"""Where the command line computes: in a process that loads the libraries while this one starts Slicer's core and reads
the volume; in one of another Python, here or on another machine; or in this process, where they are loaded already."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..contract.request import Progress, Request, Result

Compute = Callable[[Request, Callable[[Progress], None]], Result]


@contextmanager
def computation(python: str | None) -> Iterator[Compute]:
    """What answers a request. Where it is a process, that begins to load its libraries at once.

    Args:
        python: as ``--python`` names it; None takes this Python.
    """
    if python is None and "torch" in sys.modules:
        from ..logic import computeHere

        yield computeHere
        return

    from ..worker.client import Worker
    from ..worker.transport import PipeTransport

    def compute(request: Request, report: Callable[[Progress], None]) -> Result:
        report(Progress("import", 0.0, "" if python else "Loading the libraries"))
        return worker.explain(request, on_progress=report).wait()

    # Which is gone afterwards, however it went. Where nothing else is at work here it has the whole machine.
    with Worker(python, transport=PipeTransport(), alone=python is None) as worker:
        worker.start()
        yield compute
