"""``cam-overlay cohort``: many volumes, each explained into a folder of its own, on this machine or a cluster."""

from __future__ import annotations

import argparse
import atexit
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..cohort.cases import Case, cases_of
from ..cohort.checks import disk_for
from ..cohort.plan import FILE, KINDS, USUAL, InTheUsersWords, Plan, options_of, planned, require_same
from ..cohort.run import Cohort, Tally, looked_at, opened, run
from ..cohort.workers import Here, OnDask, Workers, of_scheduler, of_this_machine
from ..contract.errors import CohortError
from ..contract.model_kinds import summarise
from ..contract.records import absolute
from .leaving import Leaving
from .model import GivenModel, add_model_options, given_model, network_arguments
from .options import add_options

LIST_HELP = (
    "CSV file (column volume, or one per channel; perhaps id, mask, label, target, to_template; others are carried "
    "along), folder, image, or pattern in quotes; paths in a CSV file are relative to it"
)

SHOWN = 10
"""Problems that a dry run prints; the others are counted."""


def add_options_of_cohort(parser: argparse.ArgumentParser) -> None:
    """The options of ``cohort``, and what runs it."""
    parser.set_defaults(run=run_cohort)
    parser.add_argument("list", nargs="+", metavar="LIST", help=LIST_HELP)
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="the cohort's folder; the same command again goes on in it"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=int, metavar="N", help="processes on this machine, which share its cores (default: 1)"
    )
    where.add_argument("--scheduler", metavar="ADDRESS", help="of Dask, such as tcp://host:8786 or tls://host:8786")
    where.add_argument("--scheduler-file", metavar="FILE", help="the file that Dask's scheduler wrote")
    parser.add_argument(
        "--keep",
        type=_kinds,
        default=USUAL,
        metavar="KIND,…",
        help=f"of each case, beside its figures: {', '.join(KINDS)} (default: all but the scene)",
    )
    parser.add_argument("--dry-run", action="store_true", help="check list, model and files, and compute nothing")
    parser.add_argument("--anew", action="store_true", help="remove the cohort that lies in the output folder first")
    page = parser.add_argument_group("the page, cohort.html")
    page.add_argument(
        "--template",
        metavar="FILE",
        help="show mean maps on this image; the column to_template says how a volume lies on it",
    )
    page.add_argument(
        "--segmentations",
        metavar="COLUMN|DIR",
        help="label map of each case: mean share and enrichment per class and structure",
    )
    add_model_options(parser)
    parser.add_argument("--target", metavar="TARGET", help="as of explain; of cases whose row does not say it")
    add_options(parser)


def _kinds(words: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))


def run_cohort(options: argparse.Namespace) -> None:
    from ..cohort.page import require_readable, write_cohort_page  # which brings SciPy, and every command would wait

    if options.workers is not None and options.workers < 1:
        raise CohortError(f"--workers is {options.workers}. Give a number of processes from 1 on.")
    if options.network is not None and (options.scheduler or options.scheduler_file):
        raise CohortError(
            "A network without a bundle is made one for as long as the command lasts, where other machines do not see "
            "it. Write it with 'cam-overlay bundle', and give that with --model."
        )
    with given_model(options) as model:
        plan, cases = _asked(options, model)
        if options.dry_run:
            _look(plan, cases, options)
            return
        require_readable(options.template)
        with opened(plan, cases, options.anew) as cohort:
            tally = _run(cohort, options)
            write_cohort_page(
                cohort.plan.output,
                template=absolute(options.template) if options.template else None,
                segmentations=_column_or_folder(options.segmentations),
            )
            failed = _summarise(cohort, tally)
    if failed:
        raise CohortError(
            f"{failed} of {len(cases)} cases failed; why stands in cohort.csv. The same command tries them again."
        )


def _asked(options: argparse.Namespace, model: GivenModel) -> tuple[Plan, tuple[Case, ...]]:
    """The plan and the list.

    Raises:
        CAMOverlayError: one of its kinds; something is wrong with all cases, or the list.
    """
    output = Path(absolute(options.output))
    channels = summarise(model.source.absolute()).info.channel_names
    cases = cases_of(options.list, channels, output)
    told = InTheUsersWords()
    if options.network is not None:
        told = InTheUsersWords(options.network, network_arguments(options), model.warnings)
    chosen = options_of(vars(options))
    plan = planned(output, model.source, options=chosen, target=options.target, keep=options.keep, told=told)
    return plan, cases


def _column_or_folder(words: str | None) -> str | None:
    """A folder by its absolute path; all else is the name of a column."""
    return absolute(words) if words and os.path.isdir(os.path.expanduser(words)) else words


@contextmanager
def _workers(options: argparse.Namespace, most: int) -> Iterator[OnDask]:
    if options.scheduler or options.scheduler_file:
        with of_scheduler(options.scheduler, options.scheduler_file) as workers:
            yield workers
    else:
        with of_this_machine(max(1, min(options.workers or 1, most))) as workers:
            yield workers


def _run(cohort: Cohort, options: argparse.Namespace) -> Tally:
    """Say what will be done, and do it."""
    to_do = cohort.to_do
    _print_before(cohort, to_do)
    if not to_do:
        return run(cohort, Here(), listed=_listed(options))
    started = time.monotonic()
    try:
        with _workers(options, len(to_do)) as workers, CohortLine() as line:
            print(f"workers      {workers.words}", flush=True)
            return run(cohort, workers, line, _listed(options))
    except KeyboardInterrupt as error:
        error.words = (  # type: ignore[attr-defined]
            f"interrupted after {_time(time.monotonic() - started)}; {cohort.count('done')} of {len(cohort.cases)} "
            f"cases are done in '{cohort.plan.output}'. The same command goes on."
        )
        if not (options.scheduler or options.scheduler_file):
            # Python would take another second to join the threads of a scheduler that nobody needs any more.
            atexit.register(Leaving(128 + getattr(error, "number", signal.SIGINT)))
        raise


def _listed(options: argparse.Namespace) -> tuple[str, ...]:
    return tuple(absolute(one) for one in options.list)


# What is said -------------------------------------------------------------------------------------------------------


def _print_before(cohort: Cohort, to_do: list[Case]) -> None:
    done, failed, changed = (cohort.count(state) for state in ("done", "failed", "changed"))
    words = [f"{done} are done already"] * bool(done) + [f"{failed} failed before"] * bool(failed)
    print(f"cases        {len(cohort.cases)}; {', '.join([*words, f'{len(to_do)} to compute'])}")
    if changed:
        print(f"changed      {changed} were computed of other files, masks or targets than now, and are computed again")
    print(f"model        {cohort.plan.told.network or cohort.plan.model.path}, content {cohort.plan.content_hash[:12]}")
    _print_disk(cohort, to_do)
    sys.stdout.flush()


def _print_disk(cohort: Cohort, to_do: list[Case]) -> None:
    done = [case for case in cohort.cases if cohort.found[case.id].is_done]
    disk = disk_for(cohort.plan, to_do, done)
    print(f"disk         {disk.words}")
    if not disk.is_enough:
        print("warning      that may be more than is free. Keep less (--keep), or choose another disk.")


def _summarise(cohort: Cohort, tally: Tally) -> int:
    """Print what is there now; returns how many failed."""
    done, failed = cohort.count("done"), cohort.count("failed")
    rate = f", {60 * tally.rate:.3g} a minute" if tally.computed else ""
    print(f"done         {done} of {len(cohort.cases)}; {tally.computed} computed in {_time(tally.seconds)}{rate}")
    if failed:
        wrong = [one for one in cohort.records() if one["state"] == "failed"]
        for one in wrong[:3]:
            print(f"failed       {one['id']}: {one['error']}")
        if len(wrong) > 3:
            print(f"             and {len(wrong) - 3} more")
    print(f"written      {cohort.plan.output}: cohort.html, cohort.csv, {FILE}, cases/")
    return failed


def _look(plan: Plan, cases: tuple[Case, ...], options: argparse.Namespace) -> None:
    """List, model and files, and what the command would do.

    Raises:
        CohortError: a file is no volume, or the folder holds another cohort.
    """
    from ..engine.bundle.opened import open_model

    opened_model = open_model(plan.model)
    opened_model.require_explainable()
    if not options.anew:
        require_same(plan)
    cohort = looked_at(plan, cases)
    to_do = list(cases) if options.anew else cohort.to_do
    _print_before(cohort, to_do)
    if options.scheduler or options.scheduler_file:
        with of_scheduler(options.scheduler, options.scheduler_file) as workers:
            print(f"workers      {workers.words}", flush=True)
            problems = _problems(plan, workers, to_do)
    else:
        problems = _problems(plan, Here(), to_do)
    for name, words in problems[:SHOWN]:
        print(f"problem      {name}: {words}")
    if len(problems) > SHOWN:
        print(f"             and {len(problems) - SHOWN} more")
    if problems:
        raise CohortError(f"{len(problems)} of {len(to_do)} cases have files that cannot be explained.")
    print("checked      list, model and files; nothing was computed")


def _problems(plan: Plan, workers: Workers, cases: list[Case]) -> list[tuple[str, str]]:
    return [(found["id"], found["problem"]) for found in workers.check(plan, cases) if found["problem"]]


class CohortLine:
    """How far a cohort is, on the standard error: one line on a terminal, otherwise one now and then."""

    SECONDS = 30.0
    """Between two lines where nobody watches."""

    def __init__(self) -> None:
        self._bar = sys.stderr is not None and sys.stderr.isatty()
        self._next = 0.0
        self._failed = 0

    def __enter__(self) -> CohortLine:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._print("\r\x1b[K", end="")

    def __call__(self, tally: Tally) -> None:
        now, words = time.monotonic(), words_of(tally)
        if self._bar:
            if tally.failed != self._failed and tally.latest:
                self._print(f"\r\x1b[Kfailed       {tally.latest}")
            width = os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr else 80
            self._print(f"\r\x1b[K{words[: max(20, width - 1)]}", end="")
        elif now >= self._next or tally.done + tally.failed == tally.total:
            self._print(words)
            self._next = now + self.SECONDS
        self._failed = tally.failed

    @staticmethod
    def _print(words: str, end: str = "\n") -> None:
        with suppress(OSError, ValueError):  # nobody reads it: no reason to end a computation
            print(words, end=end, file=sys.stderr, flush=True)


def words_of(tally: Tally) -> str:
    """How far it is, in one line."""
    share = (tally.done + tally.failed) / max(1, tally.total)
    words = [f"{share:4.0%}  {tally.done} of {tally.total} done"]
    words += [f"{tally.failed} failed"] * bool(tally.failed)
    if tally.rate:
        words.append(f"{60 * tally.rate:.3g} a minute")
    else:
        words.append(f"{_time(tally.seconds)}, the first ones are under way")
    if tally.seconds_left is not None and share < 1:
        words.append(f"{_time(tally.seconds_left)} left")
    return ", ".join(words)


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
