"""Whether a map can be believed: four questions, each a module here, each with an answer that was measured.

A check that cannot be computed is undecided and says why; it never costs the user the map. Only its cancellation ends
the run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from ...contract.errors import CAMOverlayError, MethodError, reason, root_cause
from ...contract.findings import Check
from ...contract.options import CHECKS
from ..inference import AttributionMap, Explained, FullImageInference, SlidingWindowInference
from ..methods import Method
from ..preprocessing.trace import PreprocessingTrace
from ..progress import Step, sub_progress
from . import of_answer, of_class, of_network, of_stability
from .similarity import Array
from .subject import Subject, hottest_subject
from .verdict import undecided

REGISTRY: dict[str, Callable[[Subject, bool, int], Check]] = {
    one.NAME: one.check for one in (of_class, of_network, of_answer, of_stability)
}
"""In the order in which they are told. Of a subject, whether in full, and in how many steps."""

PASSES_A_STEP = 10
"""Of all checks together: eight curves, a stage of the cascade, a change of the image."""

QUICK = ("class", "network")

QUICK_SHARE, FULL_SHARE = 0.5, 10.0
"""What the checks may take, in terms of what the run took up to the map."""

STEPS = 5
"""Of curves and cascades in full; fewer where the network is slow, two at least."""


def check_map(
    wanted: str,
    method: Method,
    explained: Explained,
    maps: Sequence[AttributionMap | None],
    traces: Sequence[PreprocessingTrace],
    seconds: Mapping[str, float],
    step: Step,
    kept: dict[str, Array] | None = None,
) -> tuple[Check, ...]:
    """The checks of the hottest piece's map.

    Args:
        wanted: ``none``, ``quick`` or ``full``.
        maps, traces: one a piece.
        seconds: what each stage of the run took so far.
        kept: takes what a check leaves for the user, as :attr:`Subject.kept`.

    Raises:
        MethodError: there is no such extent.
    """
    names, full = _names(wanted), wanted == "full"
    if not names:
        return ()
    costs = _costs(explained, len(maps), seconds)
    budget = (FULL_SHARE if full else QUICK_SHARE) * sum(seconds.values())
    if not full and (method.info.long or costs["class"] > budget):
        why = f"another map of {method.title} takes too long beside the first; the full check asks it"
        return tuple(undecided(name, why) for name in names)
    try:
        subject = hottest_subject(method, explained, maps, traces, step)
    except Exception as error:  # noqa: BLE001  the map is there, and stays
        return tuple(undecided(name, _why(error)) for name in names)
    subject = dataclasses.replace(subject, kept={} if kept is None else kept)
    steps = max(2, min(STEPS, int(budget / max(costs["network"], 1e-6)) // PASSES_A_STEP))
    found = []
    for number, name in enumerate(names):
        if not full and name == "network" and sum(costs.values()) > budget:
            found.append(undecided(name, "one more pass takes too long beside this map; the full check makes it"))
            continue
        progress = sub_progress(step, number, len(names), "check")
        progress(0, 1, name)
        found.append(_asked(name, dataclasses.replace(subject, step=progress), full, steps))
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


def _costs(explained: Explained, pieces: int, seconds: Mapping[str, float]) -> dict[str, float]:
    """What the two quick checks will take, in seconds, from what the same passes took before."""
    again = seconds.get("backward", 0.0) / pieces
    one = explained.inferences[0]
    members = getattr(one, "members", (one,))
    one, again = members[0], again / len(members)
    if isinstance(one, SlidingWindowInference):
        window = again / one.count
        return {"class": 2 * window, "network": window}  # the window's own map is made anew
    assert isinstance(one, FullImageInference)
    return {"class": again, "network": one.seconds + again}
