"""The geometry that an NRRD or MetaImage file tells in its header, which is text, voxels in the order of the file.

Slicer's reader makes a right-handed grid of every file. That it turned an axis over shows only beside the file's own
words, and nibabel knows neither of these formats.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

MOST_BYTES = 16 << 20
"""Longest header that is read; segmentations that Slicer saved have some kilobytes a segment."""

NRRD_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
}
"""From the axes of a named space to RAS. Any other is left, posterior, superior to the readers, also one not named."""

LPS = (-1, -1, 1)
AXES = (2, 3)


def headerAffine(path: Path) -> np.ndarray | None:
    """4×4, voxel of the file → RAS mm; None where the file is of another kind, or does not say."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start == b"NRRD":
                affine = _nrrdAffine(_fields(file, ":", ""))
            elif path.suffix.lower() in (".mha", ".mhd"):
                affine = _metaAffine(_fields(file, "=", "elementdatafile"))
            else:
                return None
    except (OSError, ValueError, IndexError, KeyError):  # the reader that made the node knows better what it means
        return None
    return affine if np.isfinite(affine).all() else None


def _fields(file, separator: str, last: str) -> dict[str, str]:
    """The lines of a header by their names in small letters, up to an empty line or the field that is its last."""
    fields: dict[str, str] = {}
    left = MOST_BYTES
    while left > 0 and (line := file.readline(left)):
        left -= len(line)
        text = line.decode("latin-1").strip()
        if not text and not last:
            break
        name, found, value = text.partition(separator)
        if found and not value.startswith("="):  # in NRRD "name:=value" is a remark of whoever wrote it
            name = name.strip().lower()
            fields[name] = value.strip()
            if name == last:
                break
    return fields


def _nrrdAffine(fields: dict[str, str]) -> np.ndarray:
    vectors = [_numbers(inner) for inner in re.findall(r"\(([^)]*)\)", fields["space directions"])]
    origin = _numbers(fields.get("space origin", "").strip("()")) or [0.0] * len(vectors)
    space = fields.get("space", "").lower().removesuffix("-time")
    return _affine(vectors, origin, NRRD_SPACES.get(space, LPS))


def _metaAffine(fields: dict[str, str]) -> np.ndarray:
    def first(*names: str) -> list[float]:
        return next((_numbers(fields[name]) for name in names if name in fields), [])

    count = int(fields["ndims"])
    if count not in AXES:
        raise ValueError(f"{count} axes")
    axes = np.reshape(first("transformmatrix", "rotation", "orientation") or np.eye(count).ravel(), (count, count))
    spacing = first("elementspacing", "elementsize") or [1.0] * count
    origin = first("offset", "position", "origin") or [0.0] * count
    return _affine([axis * length for axis, length in zip(axes, spacing, strict=True)], origin, LPS)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.replace(",", " ").split()]


def _affine(vectors, origin, toRAS: tuple[int, int, int]) -> np.ndarray:
    """Of a flat image's axes, which say nothing of the third, those of one slice.

    Raises:
        ValueError: these are no axes of an image in space.
    """
    affine, count = np.eye(4), len(vectors)
    if count not in AXES or {len(vector) for vector in vectors} | {len(origin)} != {count}:
        raise ValueError(f"{count} axes")
    affine[:count, :count] = np.transpose(vectors)
    affine[:count, 3] = origin
    return np.diag([*toRAS, 1.0]) @ affine
