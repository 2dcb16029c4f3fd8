"""A DICOM series as a volume: its slices along their normal, and the grid that they make.

Slices are ordered by where they lie and never by their numbers, from low to high along the normal (the cross product
of the directions in which columns and rows are counted), so that the grid is right-handed, as Slicer has it. A gantry
that was tilted leaves a sheared grid, and that is the grid: nothing is resampled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.errors import VolumeError
from ..contract.geometry import Grid
from .files import by_series, files_in, given, headers_of
from .library import understood
from .planes import Plane, planes_of

EVEN = 0.01
"""Share of the distance between slices, and mm, by which one may lie beside its even place: the larger of the two."""

MOST_ROUNDING = 0.1
"""Share of that distance which the digits of written positions may account for."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Series:
    """A series that makes one volume.

    Attributes:
        planes: its slices, K = 0 first.
        grid: I counts columns, J rows, K slices; RAS mm. Sheared where the gantry was tilted.
        headers: the files' attributes without voxels, in the order of the slices; one of a multi-frame file.
        name: modality and number, which tell of no patient.
    """

    planes: tuple[Plane, ...]
    grid: Grid
    headers: tuple[Any, ...]
    name: str

    @property
    def is_multiframe(self) -> bool:
        return self.planes[0].frame is not None

    @property
    def is_tilted(self) -> bool:
        """The slices are stacked at a slant to their normal."""
        return not self.grid.is_orthogonal


def read_series(path: str | os.PathLike[str], cancelled: Callable[[], None] = lambda: None) -> Series:
    """The series that a folder, a ``DICOMDIR`` or a file holds; ``FOLDER#3`` chooses one of several by its number.

    Args:
        cancelled: called at every file; raising from it ends the reading.

    Raises:
        VolumeError: there is none, there are several, or its slices make no volume; or pydicom is missing.
    """
    place, which = given(path)
    with understood(VolumeError, "The DICOM series"):
        return chosen(by_series(headers_of(files_in(place), cancelled)), which, str(place))


def series_of_files(files: Sequence[Path]) -> Series:
    """The series that these files are, all of one.

    Raises:
        VolumeError: they are none.
    """
    with understood(VolumeError, "The DICOM series"):
        return chosen(by_series(headers_of(dict.fromkeys(files))), "", "The series")


def chosen(series: dict[str, list[tuple[Path, Any]]], which: str, place: str) -> Series:
    """One of several series: by number, by UID, or the only one that makes a volume.

    Raises:
        VolumeError: not one, or it makes no volume.
    """
    if not series:
        raise VolumeError(f"{place} holds no DICOM images, only other objects; pass the folder of the slices.")
    if which:
        keys = [uid for uid, images in series.items() if which in (uid, _number(images))]
    else:
        keys = list(series)
        if len(keys) > 1:  # a localiser's pictures or a screenshot make no volume, and are in nobody's way
            keys = [uid for uid, images in series.items() if _may_be_volume(images)] or keys
    if len(keys) == 1:
        return _volume(series[keys[0]])
    listed = "; ".join(_told(uid, images, place, series) for uid, images in list(series.items())[:12])
    more = f"; and {len(series) - 12} more" if len(series) > 12 else ""
    if which and not keys:
        raise VolumeError(f"{place} has no DICOM series {which[:80]}; there are {listed}{more}.")
    raise VolumeError(f"{place} holds {len(series)} DICOM series; choose one: {listed}{more}.")


def _number(images: list[tuple[Path, Any]]) -> str:
    number = images[0][1].get("SeriesNumber")
    return "" if number is None else str(int(number))


def _may_be_volume(images: list[tuple[Path, Any]]) -> bool:
    if "SharedFunctionalGroupsSequence" in images[0][1]:
        return True
    placed = sum("ImagePositionPatient" in header and header.get("SamplesPerPixel", 1) == 1 for _, header in images)
    return len(images) > 1 and placed == len(images)


def _told(uid: str, images: list[tuple[Path, Any]], place: str, series: dict[str, list[tuple[Path, Any]]]) -> str:
    """A series in words that tell of no patient, and how it is chosen."""
    number, header = _number(images), images[0][1]
    alone = number and sum(_number(other) == number for other in series.values()) == 1
    count = sum(int(one.get("NumberOfFrames") or 1) for _, one in images)
    size = f"{header.Columns} × {header.Rows}"
    return f"{place}#{number if alone else uid} ({_modality(header)}, {count} images of {size})"


def _modality(header: Any) -> str:
    word = str(header.get("Modality") or "")
    return word if word.isalnum() and word.isascii() and len(word) <= 16 else "DICOM"


def _volume(images: list[tuple[Path, Any]]) -> Series:
    """Raises VolumeError where the slices make no volume."""
    _require_grey(images)
    multiframe = [header for _, header in images if "PerFrameFunctionalGroupsSequence" in header]
    if multiframe and len(images) > 1:
        raise VolumeError(
            f"The DICOM series holds {len(images)} multi-frame files, each of them a volume; pass one of the files."
        )
    found = [(plane, header) for path, header in images for plane in planes_of(path, header)]
    _require_alike([plane for plane, _ in found])
    first = found[0][0]
    normal = np.cross(first.columns, first.rows)
    normal /= np.linalg.norm(normal)
    found.sort(key=lambda one: float(one[0].position @ normal))
    planes = tuple(plane for plane, _ in found)
    step = _even_step(planes, normal, found[0][1])
    affine = np.eye(4)
    affine[:3] = np.column_stack([first.columns, first.rows, step, planes[0].position])
    grid = Grid((*first.size, len(planes)), LPS_TO_RAS @ affine)
    headers = tuple(multiframe) or tuple(header for _, header in found)
    return Series(planes, grid, headers, f"{_modality(found[0][1])} {_number(images)}".strip())


def _require_grey(images: list[tuple[Path, Any]]) -> None:
    for _, header in images:
        if int(header.get("SamplesPerPixel") or 1) != 1 or "PALETTE" in str(header.get("PhotometricInterpretation")):
            raise VolumeError(
                "The DICOM series is in colours, as screenshots and ultrasound are; pass a series of grey values."
            )


def _require_alike(planes: Sequence[Plane]) -> None:
    """Raise VolumeError unless all slices have one size, spacing and orientation."""
    first = planes[0]
    for plane in planes[1:]:
        if plane.size != first.size:
            raise VolumeError(
                f"The DICOM series mixes sizes: slice {first.number} has {first.size[0]} × {first.size[1]} pixels, "
                f"slice {plane.number} {plane.size[0]} × {plane.size[1]}; pass the slices of one acquisition alone."
            )
        off = np.abs([plane.columns - first.columns, plane.rows - first.rows]).max()
        if off > 1e-3 * np.linalg.norm(first.columns):
            raise VolumeError(
                f"The DICOM series mixes orientations or spacings: slice {plane.number} is turned by "
                f"{_angle(first, plane):.1f}° against slice {first.number} and has pixels of {_mm(plane)} mm beside "
                f"{_mm(first)} mm; pass the slices of one acquisition alone (without its localiser)."
            )


def _angle(one: Plane, other: Plane) -> float:
    """Degrees between two slices, the larger of both directions."""

    def between(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))

    return max(between(one.columns, other.columns), between(one.rows, other.rows))


def _mm(plane: Plane) -> str:
    return f"{np.linalg.norm(plane.columns):.4g} × {np.linalg.norm(plane.rows):.4g}"


def _even_step(planes: Sequence[Plane], normal: np.ndarray, header: Any) -> np.ndarray:
    """Mm in LPS from slice to slice, which is everywhere the same.

    Raises:
        VolumeError: a slice is there twice, one is missing, or they are not evenly spaced; with the place.
    """
    if len(planes) == 1:
        return normal * _thickness(planes[0], header)
    positions = np.array([plane.position for plane in planes])
    along = positions @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    twice = np.flatnonzero(gaps <= max(1e-3, 0.01 * float(gaps.max())))
    if twice.size:
        n = int(twice[0])
        raise VolumeError(
            f"The DICOM series has two slices at one place: numbers {planes[n].number} and {planes[n + 1].number}, "
            f"both at {along[n]:.2f} mm along their normal ({twice.size} such pairs of {len(planes)} slices); pass one "
            "time point, echo or copy alone."
        )
    digits = min(float(max(plane.rounding for plane in planes)), MOST_ROUNDING * usual)
    allowed = max(0.01, EVEN * usual) + 2 * digits
    _require_no_gap(planes, along, usual, allowed)
    step = (positions[-1] - positions[0]) / (len(planes) - 1)
    off = np.linalg.norm(positions - positions[0] - np.outer(np.arange(len(planes)), step), axis=1)
    worst = int(off.argmax())
    if off[worst] > allowed:
        raise VolumeError(
            f"The DICOM series is not evenly spaced: slice {planes[worst].number}, at {along[worst]:.2f} mm along the "
            f"normal, lies {off[worst]:.2f} mm beside the place that an even spacing of {usual:.3g} mm gives it. "
            "Reconstruct it with one spacing, or resample it."
        )
    return step


def _require_no_gap(planes: Sequence[Plane], along: np.ndarray, usual: float, allowed: float) -> None:
    gaps = np.diff(along)
    n = int(np.abs(gaps - usual).argmax())
    if abs(gaps[n] - usual) <= 2 * allowed:
        return
    ends = [f"slice {planes[m].number} at {along[m]:.2f} mm" for m in (n, n + 1)]
    between = f"between {ends[0]} and {ends[1]}"
    times = gaps[n] / usual
    missing = round(times) - 1
    if missing >= 1 and abs(gaps[n] - round(times) * usual) <= 2 * allowed * round(times):
        where = ", ".join(f"{along[n] + (m + 1) * usual:.2f}" for m in range(min(missing, 5)))
        raise VolumeError(
            f"The DICOM series lacks {missing} slice{'s' * (missing > 1)} {between} along the normal, at {where} mm; "
            "copy the series again, with all its slices."
        )
    raise VolumeError(
        f"The DICOM series is not evenly spaced: {gaps[n]:.3g} mm {between} along the normal, {usual:.3g} mm "
        "elsewhere. Reconstruct it with one spacing, or resample it."
    )


def _thickness(plane: Plane, header: Any) -> float:
    """Of a single slice; the size of its pixels where it does not say."""
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        value = header.get(name)
        if value is not None and float(value) > 0:
            return float(value)
    return float(np.linalg.norm(plane.rows))
