"""Work on parts of a volume, several at a time: NumPy lets go of the interpreter while it works on one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Made = TypeVar("Made")


def on_cores(work: Callable[[Part], Made], parts: Iterable[Part]) -> list[Made]:
    """What the work makes of each part, in their order. Raises what it raises."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, parts))
