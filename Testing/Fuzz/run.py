"""Odd and damaged input through every door of the package; whatever answers otherwise than documented is a finding.

    python Testing/Fuzz/run.py --cases 50000 --seed 1 [--door NAME] [--jobs 2]
    python Testing/Fuzz/run.py --door weights --seed 1 --only 4711          # one case again, with its traceback

A case is a finding if it raises anything but the errors that its door documents, says more than a line, runs a
stranger's command, takes more than 5 s of the processor or more than 1.5 GB, or takes the process down. Cases run in
child processes; the exit code is 1 where anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "CAMOverlay"), str(HERE.parent / "Python")]

SECONDS = 5.0
HANGS = 60.0
"""Seconds by the clock after which a case is ended: it waits for something."""
MEMORY = 1536 << 20
BATCH = 250


@dataclass(frozen=True)
class Finding:
    door: str
    seed: int
    case: int
    words: str

    def __str__(self) -> str:
        return (
            f"FINDING {self.door} seed {self.seed} case {self.case}: {self.words}\n"
            f"    again: python Testing/Fuzz/run.py --door {self.door} --seed {self.seed} --only {self.case}"
        )


def try_case(name: str, seed: int, case: int, folder: Path, loud: bool = False) -> str:
    """What is wrong with a case; empty where nothing is."""
    from doors import DOORS, Broken, canary, check_words
    from odd import Odd

    from CAMOverlayLib.contract.errors import causes

    door = DOORS[name]
    started, words = time.process_time(), ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            door.enter(Odd(f"{name} {seed} {case}"), folder)
    except door.allowed as error:
        try:
            check_words(error)
        except Broken as problem:
            words = str(problem)
        if not door.reserves and any(isinstance(cause, MemoryError) for cause in causes(error, context=True)):
            words = f"it asked for too much memory: {str(error)[:300]}"
        if loud:
            traceback.print_exc()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)
        own = [f for f in last if "CAMOverlayLib" in f.filename] or last
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        words = f"{type(error).__name__} at {where}: {' '.join(ascii(str(error))[:400].split())}"
        if loud:
            traceback.print_exc()
    if canary(folder).exists():
        words = f"A COMMAND RAN. {words}"
    if (took := time.process_time() - started) > SECONDS:
        words = f"it took {took:.1f} s. {words}"
    return words


def _limit_memory() -> None:
    """What this process may take beyond what its libraries took."""
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


def _batch(name: str, seed: int, cases: range, results: int, errors: int) -> None:
    """In a child: case after case, each announced before it begins."""
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    faulthandler.enable()
    _limit_memory()
    with os.fdopen(results, "w", buffering=1) as out, tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        os.chdir(scratch)
        for case in cases:
            print(json.dumps([case, None]), file=out)
            folder = Path(scratch, f"case{case}")
            folder.mkdir()
            faulthandler.dump_traceback_later(HANGS, exit=True)
            words = try_case(name, seed, case, folder)
            faulthandler.cancel_dump_traceback_later()
            shutil.rmtree(folder, ignore_errors=True)
            print(json.dumps([case, words]), file=out)


class _Child:
    """A forked process that tries some cases."""

    def __init__(self, name: str, seed: int, cases: range) -> None:
        self.name, self.seed, self.cases = name, seed, cases
        self._results = tempfile.TemporaryFile("w+")
        self._errors = tempfile.TemporaryFile("w+b")
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                _batch(name, seed, cases, os.dup(self._results.fileno()), self._errors.fileno())
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)

    def findings(self, status: int) -> tuple[list[Finding], range]:
        """What it found, and the cases that are still to be tried because it ended early."""
        self._results.seek(0)
        found, last, done = [], self.cases.start - 1, False
        for line in self._results:
            last, words = json.loads(line)
            done = words is not None
            if words:
                found.append(Finding(self.name, self.seed, last, words))
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace")
        self._results.close()
        self._errors.close()
        if status:
            how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit code {os.WEXITSTATUS(status)}"
            if not done:
                found.append(
                    Finding(
                        self.name,
                        self.seed,
                        last,
                        f"the process ended with {how}: {' | '.join(said.split(chr(10))[-14:])[:900]}",
                    )
                )
            return found, range(max(last, self.cases.start) + (1 if last >= self.cases.start else 0), self.cases.stop)
        return found, range(0)


def campaign(
    names: Sequence[str], cases: int, seed: int, jobs: int = 1, tell=lambda finding: None
) -> dict[str, list[Finding]]:
    """Try so many cases of each door.

    Returns:
        findings by door.
    """
    import doors  # noqa: F401  loaded once; the children are copies of this process

    waiting = [(name, range(start, min(start + BATCH, cases))) for start in range(0, cases, BATCH) for name in names]
    found: dict[str, list[Finding]] = {name: [] for name in names}
    running: dict[int, _Child] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            name, part = waiting.pop(0)
            child = _Child(name, seed, part)
            running[child.pid] = child
        pid, status = os.wait()
        child = running.pop(pid)
        new, rest = child.findings(status)
        for finding in new:
            found[child.name].append(finding)
            tell(finding)
        if rest:
            waiting.insert(0, (child.name, rest))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=3200, help="in all, shared among the doors (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time; it is printed")
    parser.add_argument("--door", action="append", help="only this one; may be given several times")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--only", type=int, help="one case of one door, here, with its traceback")
    options = parser.parse_args(arguments)
    from doors import DOORS

    names = options.door or list(DOORS)
    if unknown := [name for name in names if name not in DOORS]:
        parser.error(f"there is no door '{unknown[0]}'; there are {', '.join(DOORS)}")
    if options.only is not None:
        _limit_memory()
        with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
            os.chdir(scratch)
            folder = Path(scratch, "case")
            folder.mkdir()
            words = try_case(names[0], options.seed, options.only, folder, loud=True)
            os.chdir("/")
        print(words or "nothing is wrong with it")
        return 1 if words else 0
    each = -(-options.cases // len(names))
    print(f"seed {options.seed}, {each} cases a door", flush=True)
    started = time.monotonic()
    found = campaign(names, each, options.seed, options.jobs, lambda finding: print(finding, flush=True))
    print(f"\n{'door':14s} {'cases':>8s} {'findings':>9s}")
    for name in names:
        print(f"{name:14s} {each:8d} {len(found[name]):9d}")
    total = sum(map(len, found.values()))
    print(f"{'all':14s} {each * len(names):8d} {total:9d}   in {time.monotonic() - started:.0f} s, seed {options.seed}")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
