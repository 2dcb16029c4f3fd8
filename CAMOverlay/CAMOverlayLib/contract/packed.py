"""Gzip on all cores: with ISA-L, which is ten times as fast as zlib, where that is installed (``isal``)."""

from __future__ import annotations

import importlib
import itertools
import os
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from .on_cores import on_cores

packing: Any = zlib
with suppress(ImportError):
    packing = importlib.import_module("isal.isal_zlib")

LEVEL = 1
"""Of a heatmap level 1 leaves what level 6 does, in less time (docs/speed.md)."""

PART = 16 << 20
"""Bytes that one thread packs at a time, while the others work."""

HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
"""Gzip, deflated, without a name or a time, so that equal content makes an equal file."""


@dataclass(frozen=True)
class Packed:
    """Bytes that are packed in a file: who writes the same bytes into another one need not pack them again.

    Attributes:
        whole: the bytes.
        ends: where their first part begins in the file, and where each part ends there.
    """

    whole: np.ndarray
    file: Path
    ends: tuple[int, ...]

    def parts_of(self, whole: np.ndarray) -> Iterator[bytes] | None:
        """The packed parts of bytes that are the same; None of others."""
        if whole.size != self.whole.size:
            return None
        pairs = zip(_parts(whole), _parts(self.whole), strict=True)
        return self._read() if all(on_cores(lambda pair: np.array_equal(*pair), pairs)) else None

    def _read(self) -> Iterator[bytes]:
        with self.file.open("rb") as file:
            file.seek(self.ends[0])
            for begin, end in itertools.pairwise(self.ends):
                yield file.read(end - begin)


def write_gz(path: Path | str, start: bytes, voxels: np.ndarray) -> Packed:
    """Write ``start`` and then an array, in the order of its memory, as one gzip stream.

    Args:
        voxels: contiguous in Fortran order.
    """
    whole = voxels.T.reshape(-1).view(np.uint8)
    with open(path, "wb") as file:
        return Packed(whole, Path(path), stream_gz(file, start, whole))


def stream_gz(file: IO[bytes], start: bytes, whole: np.ndarray, before: Packed | None = None) -> tuple[int, ...]:
    """The same for bytes, into an open file; what comes back is where their parts are in it, as :class:`Packed` has it.

    The parts are packed by themselves and stand one behind the other in one stream, as pigz does it: any reader of gzip
    takes it, also those that know one member alone.

    Args:
        before: bytes that were packed before, perhaps the same ones.
    """
    total = packing.crc32(start)
    known = None if before is None else before.parts_of(whole)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        ends = [file.write(HEAD) + file.write(_pack(start))]
        for packed in pool.map(_pack, _parts(whole)) if known is None else known:
            ends.append(ends[-1] + file.write(packed))
        for part in _parts(whole):
            total = packing.crc32(part, total)
        file.write(packing.compressobj(LEVEL, zlib.DEFLATED, -15).flush())  # an empty last block
        file.write(struct.pack("<II", total, (len(start) + whole.size) & 0xFFFFFFFF))
    return tuple(ends)


def _parts(whole: np.ndarray) -> Iterator[np.ndarray]:
    return (whole[place : place + PART] for place in range(0, whole.size, PART))


def _pack(part: bytes | np.ndarray) -> bytes:
    packer = packing.compressobj(LEVEL, zlib.DEFLATED, -15)
    return packer.compress(part) + packer.flush(packing.Z_SYNC_FLUSH)
