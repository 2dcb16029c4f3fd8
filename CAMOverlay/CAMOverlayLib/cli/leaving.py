"""The end of a process in which all is written and said.

Python would take apart what it holds, VTK and all else, which takes a quarter of a second and is of no use to anybody.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress


class Leaving:
    """Called last of all, ends this process at once with its code; does nothing while that is None, as after an error
    that nobody expected."""

    def __init__(self, code: int | None = None) -> None:
        self.code = code

    def __call__(self) -> None:
        if self.code is None:
            return
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(self.code)
