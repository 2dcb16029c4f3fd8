"""Long work in pieces, so that an event loop can turn between them and a window stays alive.

Such work is a generator that yields where it may be interrupted, a few milliseconds apart, and returns its value.
What it yields says whether it must be: ``TURN`` before a long piece that cannot be divided::

    def work():
        for chunk in chunks:
            handle(chunk)

Yield:
        return value

    value = at_once(work())          # who waits
    Stepper(work(), ended, later)    # who does not
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

Value = TypeVar("Value")
Pieces = Generator[Any, None, Value]

TURN = True

SLICE = 0.01
"""Seconds of work between two turns of the event loop."""

CHUNK = 2 << 20
"""Bytes that a piece of work on voxels handles: a millisecond or two."""


def at_once(pieces: Pieces[Value]) -> Value:
    """Do the whole work now and return its value."""
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


class Stepper:
    """Does the work slice by slice.

    Args:
        pieces: the work.
        ended: called with its value and None, or with None and what it raised; not after :meth:`stop`.
        later: calls a function when the event loop has turned.
    """

    def __init__(
        self,
        pieces: Pieces[Any],
        ended: Callable[[Any, BaseException | None], None],
        later: Callable[[Callable[[], None]], None],
    ) -> None:
        self._pieces, self._ended, self._later = pieces, ended, later
        self._stopped = False
        self.busy = False

    def step(self) -> None:
        """Do one slice, and see to it that the next one follows."""
        if self._stopped:
            return
        until, value, error = time.perf_counter() + SLICE, None, None
        self.busy = True
        try:
            while next(self._pieces) is not TURN and time.perf_counter() < until:
                pass
        except StopIteration as end:
            self._stopped, value = True, end.value
        except Exception as problem:  # noqa: BLE001
            self._stopped, error = True, problem
        finally:
            self.busy = False
        if self._stopped:
            self._ended(value, error)
        else:
            self._later(self.step)

    def stop(self) -> None:
        """Leave the rest undone, with what the work had open closed."""
        self._stopped = True
        if not self.busy:
            self._pieces.close()
