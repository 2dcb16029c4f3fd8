"""Libraries load without the garbage collector.

What a library makes while it loads stays. The collector looks through all of it again and again meanwhile and finds
nothing, which is a fifth of the time that PyTorch and MONAI take. In a process of ours it waits until they are there,
and leaves them out from then on.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Meanwhile nothing is collected; what is there afterwards never will be."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
