"""What the NIfTI reader of ITK, and so Slicer, lets pass without a word: files cut short, zero spacing, NaN.

A truncated file loads as a volume whose rest is zeros or noise, a spacing of zero becomes 1 mm, and voxels that are
not finite become 0. An explanation of any of them would look plausible, so they are refused before the file is read.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...contract.errors import VolumeError

HEADER_SIZE = 348
"""Bytes of a NIfTI-1 header, and the first number in it. NIfTI-2 says 540 and is left to the reader."""

FLOATS = {16: "f4", 64: "f8"}
"""The data types whose voxels can be NaN or infinite, by their code in the header."""


@dataclass(frozen=True)
class _Header:
    """The fields of a NIfTI-1 header that decide whether the file is sound; ``axes`` is None without an sform."""

    order: str
    size: tuple[int, ...]
    bits: int
    floats: str | None
    offset: int
    spacing: tuple[float, ...]
    axes: np.ndarray | None


def checkFile(path: Path) -> None:
    """Raise VolumeError if a NIfTI-1 file is cut short, 4-D, without geometry, or not finite. Other files pass."""
    if not _isNifti(path):
        return
    try:
        start = _start(path)
        first = {order: struct.unpack_from(order + "i", start)[0] for order in "<>"} if len(start) >= 4 else {}
        if 540 in first.values():
            return
        if HEADER_SIZE not in first.values():
            raise VolumeError(f"{path} is not a NIfTI file although its name says so; pass an image file.")
        if len(start) < HEADER_SIZE:
            raise VolumeError(f"{path} is cut short (its header is incomplete); copy or download it again.")
        header = _parse(start)
        _checkHeader(path, header)
        _checkVoxels(path, header)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise VolumeError(f"{path} is cut short or damaged ({error}); copy or download it again.") from None
    except OSError as error:
        raise VolumeError(f"{path} cannot be read: {error.strerror or error}; check the file and the disk.") from None


def isSheared(path: Path) -> bool:
    """Whether a NIfTI-1 file that passed :func:`checkFile` has axes that are not perpendicular, which ITK refuses."""
    start = _start(path) if _isNifti(path) else b""
    if HEADER_SIZE not in {struct.unpack_from(order + "i", start)[0] for order in "<>" if len(start) >= HEADER_SIZE}:
        return False
    axes = _parse(start).axes
    if axes is None:
        return False
    axes = axes / np.linalg.norm(axes, axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3)


def _isNifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _open(path: Path):
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")


def _start(path: Path) -> bytes:
    with _open(path) as file:
        return file.read(HEADER_SIZE)


def _parse(start: bytes) -> _Header:
    order = "<" if struct.unpack_from("<i", start)[0] == HEADER_SIZE else ">"  # of the machine that wrote it

    def field(code: str, at: int) -> tuple:
        return struct.unpack_from(order + code, start, at)

    count, *size = field("8h", 40)
    kind, bits = field("2h", 70)
    rows = np.array(field("12f", 280)).reshape(3, 4)
    return _Header(
        order=order,
        size=tuple(size[:count]) if 1 <= count <= 7 else (),
        bits=bits,
        floats=FLOATS.get(kind),
        offset=max(int(field("f", 108)[0]), 0),
        spacing=field("3f", 80),
        axes=rows[:, :3] if field("h", 254)[0] > 0 else None,
    )


def _checkHeader(path: Path, header: _Header) -> None:
    if not header.size:
        raise VolumeError(f"{path} is damaged (its header tells no dimensions); copy or download it again.")
    shape = " × ".join(map(str, header.size))
    if min(header.size) < 1:
        raise VolumeError(f"{path} has zero size ({shape} voxels); pass a volume that has voxels.")
    if math.prod(header.size[3:]) > 1:
        raise VolumeError(
            f"{path} is a {len(header.size)}-D input of {shape} voxels; extract one 3-D volume (a time point or a "
            "channel) and pass that."
        )
    if header.axes is not None:
        box = np.linalg.norm(header.axes, axis=0).prod()
        usable = np.isfinite(box) and box > 0 and abs(np.linalg.det(header.axes)) > 1e-6 * box
        told = f"sform with the axes {header.axes.T.tolist()} mm"
    else:
        usable = all(math.isfinite(mm) and mm > 0 for mm in header.spacing[: len(header.size)])
        told = f"spacing {header.spacing} mm"
    if not usable:
        raise VolumeError(
            f"{path} has a singular geometry ({told}), so no voxel has a place in the patient; "
            "repair its header or export it again from its source."
        )


def _checkVoxels(path: Path, header: _Header) -> None:
    """Read to the end, which also checks the sum at the end of a compressed file."""
    needed, bad = math.prod(header.size) * header.bits // 8, 0
    with _open(path) as file:
        file.seek(header.offset)
        length = 0
        while block := file.read(1 << 22):
            if header.floats:  # whole voxels only: a block ends within one only where the file does
                voxels = block[: max(needed - length, 0)]
                size = np.dtype(header.floats).itemsize
                values = np.frombuffer(voxels, header.order + header.floats, count=len(voxels) // size)
                bad += values.size - int(np.count_nonzero(np.isfinite(values)))
            length += len(block)
    if length < needed:
        raise VolumeError(
            f"{path} is cut short: {length} bytes of voxels where its header tells {needed}; copy or download it again."
        )
    if bad:
        raise VolumeError(
            f"{path} has {bad} voxels that are NaN or infinite; replace them, for example with 0, and pass that."
        )
