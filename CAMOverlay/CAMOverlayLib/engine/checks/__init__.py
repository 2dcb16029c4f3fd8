"""Whether a map can be believed: four questions, each a module here, each with an answer that was measured.

A check that cannot be computed is undecided and says why; it never costs the user the map. Only its cancellation ends
the run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from ...contract.errors import CAMOverlayError, MethodError, reason, root_cause
from ...contract.findings import Check
from ...contract.options import CHECKS
from ..inference import AttributionMap, Explained
from ..methods import Method
from ..preprocessing.trace import PreprocessingTrace
from ..progress import Step, sub_progress
from . import of_answer, of_class, of_network, of_stability
from .cost import cost_of
from .similarity import Array
from .subject import Subject, hottest_subject
from .verdict import undecided

REGISTRY: dict[str, Callable[[Subject, bool, int], Check]] = {
    one.NAME: one.check for one in (of_class, of_network, of_answer, of_stability)
}
"""In the order in which they are told. Of a subject, whether in full, and in how many steps."""

QUICK = ("class", "network")


def check_map(
    wanted: str,
    method: Method,
    explained: Explained,
    maps: Sequence[AttributionMap | None],
    traces: Sequence[PreprocessingTrace],
    step: Step,
    kept: dict[str, Array] | None = None,
) -> tuple[Check, ...]:
    """The checks of the hottest piece's map.

    Args:
        wanted: ``none``, ``quick`` or ``full``.
        maps, traces: one a piece.
        kept: takes what a check leaves for the user, as :attr:`Subject.kept`.

    Raises:
        MethodError: there is no such extent.
    """
    names, full = _names(wanted), wanted == "full"
    if not names:
        return ()
    cost = cost_of(explained, traces)
    asked = names if full else () if method.info.long else cost.quick
    if not asked:
        why = f"another map of {method.title} takes too long beside the first; the full check asks it"
        return tuple(undecided(name, why) for name in names)
    try:
        subject = hottest_subject(method, explained, maps, traces, step)
    except Exception as error:  # noqa: BLE001  the map is there, and stays
        return tuple(undecided(name, _why(error)) for name in names)
    subject = dataclasses.replace(subject, kept={} if kept is None else kept)
    found = []
    for number, name in enumerate(names):
        if name not in asked:
            found.append(undecided(name, "one more pass takes too long beside this map; the full check makes it"))
            continue
        progress = sub_progress(step, number, len(names), "check")
        progress(0, 1, name)
        found.append(_asked(name, dataclasses.replace(subject, step=progress), full, cost.steps))
    return tuple(found)


def _names(wanted: str) -> tuple[str, ...]:
    if wanted not in CHECKS:
        raise MethodError(f"There are no checks '{wanted}'; choose none, quick or full.", setting="checks")
    return {"none": (), "quick": QUICK, "full": tuple(REGISTRY)}[wanted]


def _asked(name: str, subject: Subject, full: bool, steps: int) -> Check:
    """One check, with what it took; undecided where it fails."""
    started = time.perf_counter()
    try:
        problem = subject.problem
        found = undecided(name, problem) if problem else REGISTRY[name](subject, full, steps)
    except Exception as error:  # noqa: BLE001  whatever a network does when it is asked again: the map stays
        found = undecided(name, _why(error))
    return dataclasses.replace(found, seconds=time.perf_counter() - started)


def _why(error: Exception) -> str:
    own = error if isinstance(error, CAMOverlayError) else root_cause(error)  # those of this package say it in words
    return f"it could not be computed: {reason(own)}"
