"""The story of a cohort: see what is on disk, have the rest computed, and write the table of what is on disk then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..contract.errors import CohortError
from .cases import Case
from .folder import MISSING, Found, alone, begin_anew, look, names_there, sweep, write_failed
from .plan import Plan, require_same, write_plan
from .table import records_of, write_table
from .workers import Workers

TABLE_SECONDS = 10.0
"""Between two tables of a run under way, at least; and at least twenty times as long as the last one took."""

ENDED = (
    "The process that computed it ended twice, most likely because the memory was not enough. Start fewer workers, or "
    "crop or resample the volume."
)


@dataclass
class Tally:
    """How far a run is.

    Attributes:
        total: cases of the list.
        done, failed: of them, on disk.
        begun_with: of them, that were done before this run.
        changed: that lay there, computed of other files.
        computed: by this run, failed ones too.
        latest: the last sentence of a case that failed; empty before there is one.
        started: time on the monotonic clock.
    """

    total: int
    done: int = 0
    failed: int = 0
    begun_with: int = 0
    changed: int = 0
    computed: int = 0
    latest: str = ""
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Cases per second; 0 before the first."""
        return self.computed / self.seconds if self.computed else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None before anything is known."""
        return (self.total - self.done - self.failed) / self.rate if self.rate else None


Show = Callable[[Tally], None]


@dataclass
class Cohort:
    """A list and what lies on disk of it; held by :func:`opened`.

    Attributes:
        plan: what all have in common.
        cases: in the order of the list.
        found: what lies there, by id.
    """

    plan: Plan
    cases: tuple[Case, ...]
    found: dict[str, Found]

    @property
    def to_do(self) -> list[Case]:
        """What is missing, failed, or was computed of other files."""
        return [case for case in self.cases if not self.found[case.id].is_done]

    def count(self, state: str) -> int:
        return sum(one.state == state for one in self.found.values())

    def records(self) -> list[dict[str, Any]]:
        return records_of(self.plan, self.cases, self.found)


@contextmanager
def opened(plan: Plan, cases: Sequence[Case], anew: bool = False) -> Iterator[Cohort]:
    """A cohort's folder, held as long as the context lasts; nobody else writes there meanwhile but the workers.

    Args:
        anew: what lies there is removed first.

    Raises:
        CohortError: it holds another cohort, or another command is at work there.
        OutputError: nothing can be written there.
    """
    with alone(plan):
        if anew:
            begin_anew(plan)
        require_same(plan)
        sweep(plan)
        try:
            yield looked_at(plan, cases)
        finally:
            sweep(plan)


def looked_at(plan: Plan, cases: Sequence[Case]) -> Cohort:
    """A list and what lies on disk of it. Nothing is written."""
    there = names_there(plan)
    return Cohort(plan, tuple(cases), {one.id: look(plan, one) if one.id in there else MISSING for one in cases})


def run(cohort: Cohort, workers: Workers, show: Show = lambda tally: None, listed: Sequence[str] = ()) -> Tally:
    """Have computed what is not done, and write the table; that is written too where the run is ended.

    Args:
        show: called with how far it is, some times a second.
        listed: the words that said which cases.

    Raises:
        CohortError: those who compute are gone, or no case could be computed any more. What is done stays.
        OutputError: the table cannot be written.
    """
    write_plan(cohort.plan, listed)
    to_do = cohort.to_do
    tally = Tally(len(cohort.cases), begun_with=len(cohort.cases) - len(to_do), changed=cohort.count("changed"))
    tally.done = tally.begun_with
    table = _Table(cohort)
    by_id = {case.id: case for case in to_do}
    try:
        for outcome in workers.compute(cohort.plan, to_do):
            if outcome is not None:
                _take(cohort, tally, by_id[outcome["id"]], outcome)
            table.write_sometimes()
            show(tally)
    finally:
        _look_again(cohort)
        table.write()
    return tally


def _look_again(cohort: Cohort) -> None:
    """See what was written that nobody had time to tell of."""
    there = names_there(cohort.plan)
    for case in cohort.to_do:
        if case.id in there:
            cohort.found[case.id] = look(cohort.plan, case)


def _take(cohort: Cohort, tally: Tally, case: Case, outcome: dict[str, Any]) -> None:
    """Enter what came of a case, as it lies on disk now."""
    if sentence := outcome.get("ends"):
        raise CohortError(sentence)
    if outcome.get("ended"):
        write_failed(cohort.plan, case, ENDED, "KilledWorker", None)
    found = cohort.found[case.id] = look(cohort.plan, case)
    tally.computed += outcome.get("state") != "there"
    tally.done += found.is_done
    if found.state == "failed":
        tally.failed += 1
        tally.latest = f"{case.id}: {found.row.get('error')}"
    elif found.state == "changed":
        tally.failed += 1
        tally.latest = f"{case.id}: its files changed while it was computed"
    elif not found.is_done:
        raise CohortError(
            f"A worker says that it wrote '{case.id}', and it is not in '{cohort.plan.output}'. The folder must be one "
            "that command and workers share."
        )


class _Table:
    """``cohort.csv``, written now and then."""

    def __init__(self, cohort: Cohort) -> None:
        self._cohort, self._next = cohort, time.monotonic() + TABLE_SECONDS

    def write_sometimes(self) -> None:
        if time.monotonic() > self._next:
            self.write()

    def write(self) -> None:
        began = time.monotonic()
        write_table(self._cohort.plan, self._cohort.records())
        now = time.monotonic()
        self._next = now + max(TABLE_SECONDS, 20 * (now - began))
