"""An array that is born in the file in which it will be handed over.

A map of a large volume is a quarter of a gigabyte: to compute it in memory and then write it takes its memory twice,
and longer to write than to compute. Here it is computed in the pages of a file that has no name yet (Linux). Where a
run ends early the file goes with the array: nothing is left on the disk.
"""

from __future__ import annotations

import io
import math
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

WORTH_IT = 16 << 20
"""Bytes below which an array is written as quickly."""


Zeros = Callable[[tuple[int, ...]], np.ndarray]
"""Makes an array of zeros (float32, Fortran order) of a shape."""


def in_memory(shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, np.float32, order="F")


class UnnamedFile(mmap.mmap):
    """The pages of a file without a name, all of whose space is promised: to write into them cannot fail."""

    descriptor: int

    @classmethod
    def of_size(cls, size: int, folder: Path | str) -> UnnamedFile:
        """Raises OSError where the system or the folder has no such files, or no space."""
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            os.posix_fallocate(descriptor, 0, size)  # a page that finds no space later would end the process
            pages = cls(descriptor, size)
        except BaseException:
            os.close(descriptor)
            raise
        pages.descriptor = descriptor
        return pages

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def be_named(self, path: Path | str) -> None:
        """Appear in its folder; a file that has the name is replaced.

        Raises:
            OSError: it cannot.
        """
        Path(path).unlink(missing_ok=True)
        root = os.open("/", os.O_RDONLY)  # only beside a folder's descriptor does Python ask for the link's target
        try:
            os.link(f"/proc/self/fd/{self.descriptor}", path, src_dir_fd=root, follow_symlinks=True)
        finally:
            os.close(root)


def zeros_for(folder: Path | str, shape: tuple[int, ...]) -> np.ndarray:
    """Zeros (float32, Fortran order), in a file that :func:`name_file` can give a name in the folder where that is
    possible and pays."""
    size = 4 * math.prod(shape)
    if size >= WORTH_IT and hasattr(os, "O_TMPFILE"):
        head = _npy_head(shape)
        try:
            pages = UnnamedFile.of_size(len(head) + size, folder)
        except OSError:
            pass  # it is written later, or it is said then why it cannot be
        else:
            pages[: len(head)] = head
            return np.ndarray(shape, np.float32, pages, len(head), order="F")
    return in_memory(shape)


def name_file(array: np.ndarray, path: Path | str) -> bool:
    """Let the file in which an array was born, whole, appear as ``path``; whether it was born in one, and could."""
    pages = array.base
    if not isinstance(pages, UnnamedFile) or len(_npy_head(array.shape)) + array.nbytes != len(pages):
        return False
    try:
        pages.be_named(path)
    except OSError:  # another disk than that of the folder, or no /proc
        return False
    return True


def _npy_head(shape: tuple[int, ...]) -> bytes:
    """What stands before the voxels in an ``.npy`` file."""
    head = io.BytesIO()
    words = {"descr": "<f4", "fortran_order": True, "shape": tuple(int(n) for n in shape)}
    np.lib.format.write_array_header_1_0(head, words)
    return head.getvalue()
