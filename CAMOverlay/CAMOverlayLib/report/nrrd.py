"""A heatmap as NRRD, the format of Slicer's own files: http://teem.sourceforge.net/nrrd/format.html."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def write_nrrd(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write I×J×K voxels with their affine (4×4, to RAS mm), gzip within the file.

    The space is left-posterior-superior, as Slicer and ITK write it: R and A change their signs.
    """
    to_lps = np.diag([-1.0, -1.0, 1.0])
    directions, origin = to_lps @ np.asarray(affine)[:3, :3], to_lps @ np.asarray(affine)[:3, 3]
    voxels = np.asarray(array, dtype="<f4")
    header = (
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        "# http://teem.sourceforge.net/nrrd/format.html",
        "type: float",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, voxels.shape))}",
        "space directions: " + " ".join(_vector(directions[:, axis]) for axis in range(3)),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(origin)}",
    )
    with path.open("wb") as file:
        file.write("\n".join(header).encode("ascii") + b"\n\n")
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=3, mtime=0) as packed:
            for plane in range(voxels.shape[2]):  # I fastest
                packed.write(voxels[:, :, plane].tobytes(order="F"))


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"
