"""What the NIfTI reader of ITK, and so Slicer, lets pass without a word: files cut short, zero spacing, NaN.

A truncated file loads as a volume whose rest is zeros or noise, a spacing of zero becomes 1 mm, and voxels that are
not finite become 0. An explanation of any of them would look plausible, so they are refused before the file is read.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

import numpy as np

from ..errors import VolumeError

HEADER_SIZE = 348
"""Bytes of a NIfTI-1 header, and the first number in it. NIfTI-2 says 540 and is left to the reader."""


def checkFile(path: Path) -> None:
    """Raise VolumeError if the NIfTI file is cut short, has no usable geometry or no finite voxels. Others pass."""
    compressed = path.name.lower().endswith(".nii.gz")
    if not compressed and path.suffix.lower() != ".nii":
        return
    try:
        with gzip.open(path, "rb") if compressed else path.open("rb") as file:
            header = file.read(540)
            length, bad = _lengthAndBadVoxels(file, header)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise VolumeError(f"{path} is cut short or damaged ({error}); copy or download it again.") from None
    except OSError as error:
        raise VolumeError(f"{path} cannot be read: {error.strerror or error}; check the file and the disk.") from None
    order = _byteOrder(header)
    if order is None:
        raise VolumeError(f"{path} is not a NIfTI file although its name says so; pass an image file.")
    _checkHeader(path, header, length, order)
    if bad:
        raise VolumeError(
            f"{path} has {bad} voxels that are NaN or infinite; replace them (for example with 0) before explaining."
        )


def _byteOrder(header: bytes) -> str | None:
    for order in "<>":
        if len(header) >= 4 and struct.unpack_from(order + "i", header)[0] in HEADER_SIZES:
            return order
    return None


def _lengthAndBadVoxels(file: BinaryIO, header: bytes) -> tuple[int, int]:
    """Length of the file, uncompressed, and its number of voxels that are not finite.

    Reading to the end also checks the sum at the end of a compressed file.
    """
    order = _byteOrder(header)
    kind, offset = None, 0
    if order is not None and len(header) >= 348:
        first = struct.unpack_from(order + "i", header)[0] == 348
        kind = FLOATS.get(struct.unpack_from(order + "h", header, 70 if first else 12)[0])
        offset = int(struct.unpack_from(order + "f", header, 108)[0]) if first else struct.unpack_from(
            order + "q", header, 168)[0]  # fmt: skip
    file.seek(max(0, offset) if kind else len(header))
    length, bad = file.tell(), 0
    while block := file.read(1 << 22):  # a multiple of eight bytes, so that no voxel is cut in two
        length += len(block)
        if kind:
            values = np.frombuffer(block, order + kind, count=len(block) // np.dtype(kind).itemsize)
            bad += values.size - int(np.count_nonzero(np.isfinite(values)))
    return length, bad


def _checkHeader(path: Path, header: bytes, length: int, order: str) -> None:
    if len(header) < HEADER_SIZE:
        raise VolumeError(f"{path} is cut short (its header is incomplete); copy or download it again.")
    dimensions = struct.unpack_from(order + "8h", header, 40)
    bits = struct.unpack_from(order + "h", header, 72)[0]
    spacing = struct.unpack_from(order + "4f", header, 76)[1:]
    offset = struct.unpack_from(order + "f", header, 108)[0]
    sform = struct.unpack_from(order + "h", header, 254)[0] > 0
    rows = struct.unpack_from(order + "12f", header, 280)

    count = dimensions[0]
    if not 1 <= count <= 7:
        raise VolumeError(f"{path} is damaged (its header tells {count} dimensions); copy or download it again.")
    size = dimensions[1 : count + 1]
    shape = " × ".join(map(str, size))
    if min(size) < 1:
        raise VolumeError(f"{path} has zero size ({shape} voxels); pass a volume that has voxels.")
    if math.prod(size[3:]) > 1:
        raise VolumeError(
            f"{path} is a {count}-D input of {shape} voxels; extract one 3-D volume (a time point or a channel) "
            "and pass that."
        )
    needed = int(offset) + math.prod(size) * bits // 8
    if length < needed:
        raise VolumeError(
            f"{path} is cut short: {length} bytes where its header tells {needed}; copy or download it again."
        )
    if sform:
        axes = _axes(rows)
        box = np.linalg.norm(axes, axis=0).prod()
        usable = np.isfinite(rows).all() and box > 0 and abs(np.linalg.det(axes)) > 1e-6 * box
    else:
        usable = all(math.isfinite(mm) and mm > 0 for mm in spacing[: min(count, 3)])
    if not usable:
        told = "sform " + str([tuple(rows[i : i + 4]) for i in (0, 4, 8)]) if sform else f"spacing {spacing} mm"
        raise VolumeError(
            f"{path} has a singular geometry ({told}), so no voxel has a place in the patient; "
            "repair its header or export it again from its source."
        )
