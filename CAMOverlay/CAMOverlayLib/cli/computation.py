"""Where the command line computes: in its own process, or in one of another Python, here or on another machine."""

from __future__ import annotations

from collections.abc import Callable

from ..contract.request import Progress, Request, Result

Compute = Callable[[Request, Callable[[Progress], None]], Result]


def computation(python: str | None) -> Compute:
    """What answers a request.

    Args:
        python: as ``--python`` names it; None computes in this process.
    """
    if python is None:
        from ..logic import computeHere

        return computeHere

    def compute(request: Request, report: Callable[[Progress], None]) -> Result:
        from ..worker.client import Worker
        from ..worker.transport import PipeTransport

        report(Progress("import", 0.0))
        with Worker(python, transport=PipeTransport()) as worker:  # which is gone afterwards, however it went
            return worker.explain(request, on_progress=report).wait()

    return compute
