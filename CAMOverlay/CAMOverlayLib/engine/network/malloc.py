"""Memory that one tensor frees is there for the next one.

On Linux the C library gives large blocks back to the system as soon as they are freed, and the system hands out the
next ones page by page, each filled with zeros. In a network's forward pass that is half of the time or more. While a
computation runs here the library keeps what was freed; afterwards all of it goes back.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

# Of <malloc.h>. Large blocks come from the heap, not from the system one by one; and the heap does not shrink.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
KEPT = 2**31 - 1
# What glibc's own adjustment ends up with in a process that handles large blocks, and its default number of them.
USUAL_TRIM, USUAL_MMAP, USUAL_MAX = 64 << 20, 32 << 20, 65536


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """For the time of a block. Elsewhere than on Linux with glibc it does nothing."""
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, KEPT)
    _keeping.append(1)
    try:
        yield
    finally:
        _keeping.pop()
        library.mallopt(M_MMAP_MAX, USUAL_MAX)
        library.mallopt(M_MMAP_THRESHOLD, USUAL_MMAP)
        library.mallopt(M_TRIM_THRESHOLD, USUAL_TRIM)
        library.malloc_trim(0)


@contextmanager
def large_blocks_returned() -> Iterator[None]:
    """While freed memory is kept: blocks from :data:`USUAL_MMAP` on go back at once all the same.

    A backward pass frees what the forward pass kept, in another order than it asks for gradients of the same sizes:
    what is free lies in pieces between what is not, and is of no use. Of a network at full resolution that costs a
    fifth of the memory, where fetching the few largest blocks anew costs a twentieth of the time.
    """
    library = _glibc()
    if library is None or not _keeping:
        yield
        return
    library.mallopt(M_MMAP_THRESHOLD, USUAL_MMAP)
    library.mallopt(M_MMAP_MAX, USUAL_MAX)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_MAX, 0)


_keeping: list[int] = []
"""An entry for each :func:`freed_memory_kept` that is under way."""


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return (
        library if all(hasattr(library, name) for name in ("gnu_get_libc_version", "mallopt", "malloc_trim")) else None
    )
