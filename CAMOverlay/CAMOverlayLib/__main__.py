"""``python -m CAMOverlayLib`` is ``cam-overlay``."""

from __future__ import annotations

import atexit
import sys

from .cli.leaving import Leaving


def run() -> None:
    """The command, as a process of its own."""
    leaving = Leaving()
    atexit.register(leaving)  # what is registered first comes last
    try:
        from .cli.main import main

        leaving.code = main()
    except KeyboardInterrupt:  # before the command began, or after it ended
        leaving.code = 130
    sys.exit(leaving.code)


if __name__ == "__main__":
    run()
