"""Progress of a command on the standard error."""

from __future__ import annotations

import sys
from contextlib import suppress

from ..contract.request import STAGES, Progress


class ProgressLine:
    """Progress on the standard error: a bar on a terminal, otherwise a line a stage."""

    WIDTH = 28

    def __init__(self) -> None:
        self._bar = sys.stderr is not None and sys.stderr.isatty()
        self._stage = ""

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._print("\r\x1b[K", end="")

    def __call__(self, progress: Progress) -> None:
        words = stage = STAGES.get(progress.stage, progress.message)
        if progress.message and progress.message != words:
            words += f": {progress.message}"
        if self._bar:
            done = round(progress.fraction * self.WIDTH)
            bar = "█" * done + "░" * (self.WIDTH - done)
            self._print(f"\r\x1b[K{bar} {progress.fraction:4.0%}  {words[:60]}", end="")
        elif progress.stage != self._stage:
            self._print(f"{progress.fraction:4.0%} {stage}")
        self._stage = progress.stage

    @staticmethod
    def _print(words: str, end: str = "\n") -> None:
        with suppress(OSError, ValueError):  # nobody reads it: no reason to end a computation
            print(words, end=end, file=sys.stderr, flush=True)
