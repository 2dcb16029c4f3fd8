"""Progress: stages of a run, steps within a stage, and pieces within a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..contract.request import STAGES, Progress, Result
from ..contract.target import VolumeFile

if TYPE_CHECKING:
    from torch import Tensor

Report = Callable[[Progress], None]
"""Is told how far a run is; raising from it ends the run."""

Step = Callable[[int, int, str], None]
"""Called before each piece of a long computation: its number, how many there are, in words. Raising from it ends it."""

Sketch = Callable[["Tensor", "tuple[float, ...] | None"], "VolumeFile | None"]
"""Writes a map that is not finished, on the network's input or an activation grid with its steps; None where there is
nothing to show of it."""

# Share of a run that is done when a stage begins, for a progress bar that moves evenly on a CPU.
BEGINS = {
    "volume": 0.02,
    "bundle": 0.10,
    "preprocess": 0.15,
    "forward": 0.45,
    "backward": 0.65,
    "inverse": 0.69,
    "also": 0.73,
    "findings": 0.83,
    "write": 0.85,
    "check": 0.86,
}

LONG_CHECK = BEGINS | {
    "preprocess": 0.12,
    "forward": 0.20,
    "backward": 0.24,
    "inverse": 0.28,
    "also": 0.30,
    "findings": 0.36,
    "write": 0.37,
    "check": 0.38,
}
"""The same where most of the run is what the map is asked after it is there."""


class Clock:
    """Tells the caller what is going on and remembers how long each stage took.

    Args:
        long_check: far more is asked of the map than making it takes.
    """

    def __init__(self, report: Report, long_check: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._report, self._begins = report, LONG_CHECK if long_check else BEGINS
        self._done = 0.0

    @contextmanager
    def stage(self, name: str, sketch: Sketch | None = None) -> Iterator[Stage]:
        """Yields a function that reports steps within the stage: index, how many, in words.

        Args:
            sketch: what to do with a map that is not finished; None where nobody waits for one.
        """
        begin = self._begins[name]
        end = min((b for b in self._begins.values() if b > begin), default=1.0)

        def tell(share: float, words: str, drawn: VolumeFile | None = None, result: Result | None = None) -> None:
            # Never back: not by rounding, and not where a stage is done again on another device.
            self._done = max(self._done, begin + (end - begin) * share)
            self._report(Progress(name, self._done, words, drawn, result))

        step = Stage(tell, sketch)
        step(0, 1, STAGES[name])
        started = time.perf_counter()
        yield step
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


class Stage:
    """A :data:`Step` that can also be told of a map before it is finished, and of a result before it is checked."""

    def __init__(self, tell: Callable[..., None], sketch: Sketch | None) -> None:
        self._tell, self._sketch = tell, sketch
        self._last = (0.0, "")

    def __call__(self, number: int, count: int, words: str) -> None:
        self._last = (number / max(1, count), words)
        self._tell(*self._last)

    def sketched(self, heat: Callable[[], Tensor], steps: tuple[float, ...] | None) -> None:
        """As :func:`sketched`."""
        if self._sketch is not None and (drawn := self._sketch(heat(), steps)) is not None:
            self._tell(*self._last, drawn)

    def unchecked(self, result: Result) -> None:
        """Tell the result as it is so far; its files are there."""
        self._tell(*self._last, None, result)


def sketched(step: Step, heat: Callable[[], Tensor], steps: tuple[float, ...] | None = None) -> None:
    """Tell of a map before it is finished, where the step is one of a whole stage; within a piece of one it is not.

    Args:
        heat: makes the map (spatial, ≥ 0, on the network's input or an activation grid), if anybody waits for it.
        steps: see :func:`.geometry.resample.activation_grid`.
    """
    if isinstance(step, Stage):
        step.sketched(heat, steps)


def sub_progress(step: Step, number: int, count: int, what: str = "picture") -> Step:
    """Progress of one piece among several, as progress of the whole."""
    if count == 1:
        return step
    return lambda done, of, words: step(
        number * max(1, of) + done, count * max(1, of), f"{what} {number + 1} of {count}"
    )


def share_of(step: Step, number: int, count: int) -> Step:
    """Progress of one stretch among several, which goes on in its own words."""
    return lambda done, of, words: step(number * max(1, of) + done, count * max(1, of), words)
