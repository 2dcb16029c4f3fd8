"""Work on parts of a volume, several at a time: NumPy lets go of the interpreter while it works on one."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")


CORES = min(4, os.cpu_count() or 1)
"""More than a few wait for memory, not for a core."""


def on_cores(work: Callable[[Part], Made], parts: Iterable[Part]) -> list[Made]:
    """What the work makes of each part, in their order. Raises what it raises; what was not begun is left then."""
    parts = list(parts)
    if len(parts) < 2:
        return [work(part) for part in parts]
    made: list[Any] = [None] * len(parts)
    left = iter(range(len(parts)))  # each number goes to one thread only: the interpreter takes them one at a time

    def some() -> None:
        try:
            for number in left:
                made[number] = work(parts[number])
        finally:
            deque(left, maxlen=0)

    with ThreadPoolExecutor(max_workers=CORES) as pool:
        for thread in [pool.submit(some) for _ in range(min(CORES, len(parts)))]:
            thread.result()
    return made


def together(*works: Callable[[], Any]) -> list[Any]:
    """What each of several different works makes, in their order. Raises what one of them raises."""
    return on_cores(lambda work: work(), works)


def runs(numbers: range) -> list[range]:
    """The numbers as one stretch for every core, none of them empty: for work that goes best from one to the next."""
    ends = [len(numbers) * n // CORES for n in range(CORES + 1)]
    return [numbers[first:end] for first, end in itertools.pairwise(ends) if end > first]
