"""Where each image of a DICOM file lies in the patient: of single slices, and of every frame of a multi-frame file.

Pixels count from 0: ``position`` is the middle of the pixel in the first row and column, ``columns`` leads from one
column to the next, ``rows`` from one row to the next (PS3.3 C.7.6.2.1.1). All in LPS mm, as DICOM has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.errors import VolumeError


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice.

    Attributes:
        file, frame: where its pixels are; frame None of a file that holds one image.
        uid: SOP Instance UID of the file.
        number: Instance Number, or the number of the frame from 1: what a viewer calls the slice.
        size: columns, rows.
        position, columns, rows: mm in LPS; the last two from one pixel to the next.
        rounding: mm by which ``position`` may be off because it was written with few digits.
        slope, intercept: from stored values to those that are meant.
    """

    file: Path
    frame: int | None
    uid: str
    number: int
    size: tuple[int, int]
    position: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    rounding: float
    slope: float
    intercept: float

    def corners(self) -> np.ndarray:
        """4×3, LPS mm: the middles of the pixels in the corners."""
        last = [(i, j) for j in (0, self.size[1] - 1) for i in (0, self.size[0] - 1)]
        return np.array([self.position + i * self.columns + j * self.rows for i, j in last])


def planes_of(file: Path, header: Any) -> list[Plane]:
    """Every image of a file, in its order.

    Raises:
        VolumeError: it does not say where they lie.
    """
    groups = header.get("PerFrameFunctionalGroupsSequence")
    count = int(header.get("NumberOfFrames") or 1)
    if groups is None:
        if count > 1:
            raise VolumeError(
                f"The DICOM file holds {count} frames and does not say where each lies (no functional groups), as "
                "films and projections do; export it as an enhanced multi-frame image, or as slices."
            )
        return [_plane(file, header, None, lambda name, macro: header.get(name))]
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]

    def frame(number: int) -> Plane:
        def value(name: str, macro: str) -> Any:
            for group in (groups[number], shared):
                if (found := group.get(macro)) and (inner := found[0].get(name)) is not None:
                    return inner
            return None

        return _plane(file, header, number, value)

    return [frame(number) for number in range(len(groups))]


def _plane(file: Path, header: Any, frame: int | None, value: Any) -> Plane:
    position = value("ImagePositionPatient", "PlanePositionSequence")
    cosines = value("ImageOrientationPatient", "PlaneOrientationSequence")
    spacing = value("PixelSpacing", "PixelMeasuresSequence")
    number = int(header.get("InstanceNumber") or 0) if frame is None else frame + 1
    if not (_numbers(position, 3) and _numbers(cosines, 6) and _numbers(spacing, 2)):
        raise VolumeError(
            f"Slice {number} of the DICOM series does not say where it lies in the patient (position, orientation and "
            "spacing); pass a series of slices, or convert it to NIfTI or NRRD with its geometry."
        )
    along, down = np.array(cosines[:3], dtype=float), np.array(cosines[3:], dtype=float)
    millimetres = [float(mm) for mm in spacing]  # first between rows
    if min(millimetres) <= 0 or not _is_square(along, down):
        raise VolumeError(
            f"Slice {number} of the DICOM series has an impossible geometry (spacing {millimetres} mm, direction "
            f"cosines {[round(float(x), 4) for x in cosines]}); export it again from its source."
        )
    slope, intercept = (
        value(name, "PixelValueTransformationSequence") for name in ("RescaleSlope", "RescaleIntercept")
    )
    return Plane(
        file,
        frame,
        str(header.get("SOPInstanceUID", "")),
        number,
        (int(header.Columns), int(header.Rows)),
        np.array(position, dtype=float),
        along * millimetres[1],
        down * millimetres[0],
        _rounding(position),
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
    )


def _numbers(values: Any, count: int) -> bool:
    try:
        return len(values) == count and bool(np.isfinite(np.array(values, dtype=float)).all())
    except (TypeError, ValueError):
        return False


def _is_square(along: np.ndarray, down: np.ndarray) -> bool:
    """Two unit vectors, perpendicular as far as their digits go."""
    return bool(abs(along @ along - 1) < 1e-2 and abs(down @ down - 1) < 1e-2 and abs(along @ down) < 1e-3)


def _rounding(position: Any) -> float:
    """Half of the last digit in which a position is written, along the diagonal; 0 where that is not known."""
    halves = []
    for number in position:
        text = str(getattr(number, "original_string", "") or "")
        if "e" in text.lower() or not text:
            return 0.0
        halves.append(0.5 * 10.0 ** -len(text.partition(".")[2].strip()))
    return float(np.linalg.norm(halves))
