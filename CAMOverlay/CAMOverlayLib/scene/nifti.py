"""What the NIfTI reader of ITK, and so Slicer, lets pass without a word: files that are cut short, and zero spacing.

A truncated file loads as a volume whose rest is zeros or noise, and a spacing of zero becomes 1 mm. An explanation
of either would look plausible, so both are refused before the file is read.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

from ..errors import VolumeError

HEADER_SIZE = 348
"""Bytes of a NIfTI-1 header, and the first number in it. NIfTI-2 says 540 and is left to the reader."""


def checkFile(path: Path) -> None:
    """Raise VolumeError if the NIfTI file is cut short or has no usable geometry. Other formats pass."""
    compressed = path.name.lower().endswith(".nii.gz")
    if not compressed and path.suffix.lower() != ".nii":
        return
    try:
        header, length = _headerAndLength(path, compressed)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise VolumeError(f"{path} is cut short or damaged ({error}); copy or download it again.") from None
    except OSError as error:
        raise VolumeError(f"{path} cannot be read: {error.strerror or error}; check the file and the disk.") from None
    for order in "<>":  # byte order of the machine that wrote it
        size = struct.unpack_from(order + "i", header)[0] if len(header) >= 4 else 0
        if size == 540:
            return
        if size == HEADER_SIZE:
            return _checkHeader(path, header, length, order)
    raise VolumeError(f"{path} is not a NIfTI file although its name says so; pass an image file.")


def _headerAndLength(path: Path, compressed: bool) -> tuple[bytes, int]:
    """The header and the length of the file, uncompressed. Reading to the end checks the sum at the end."""
    if not compressed:
        with path.open("rb") as file:
            return file.read(HEADER_SIZE), path.stat().st_size
    with gzip.open(path, "rb") as file:
        header = file.read(HEADER_SIZE)
        length = len(header)
        while block := file.read(1 << 22):
            length += len(block)
    return header, length


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
        a, b, c = (rows[0:3], rows[4:7], rows[8:11])
        volume = (
            a[0] * (b[1] * c[2] - b[2] * c[1])
            - a[1] * (b[0] * c[2] - b[2] * c[0])
            + a[2] * (b[0] * c[1] - b[1] * c[0])
        )
        usable = all(map(math.isfinite, rows)) and abs(volume) > 1e-12
    else:
        usable = all(math.isfinite(mm) and mm > 0 for mm in spacing[: min(count, 3)])
    if not usable:
        told = "sform " + str([tuple(rows[i : i + 4]) for i in (0, 4, 8)]) if sform else f"spacing {spacing} mm"
        raise VolumeError(
            f"{path} has a singular geometry ({told}), so no voxel has a place in the patient; "
            "repair its header or export it again from its source."
        )
