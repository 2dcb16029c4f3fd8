"""What was written, read from the disk again and held against the series: every frame's place, source and values.

Nothing here comes from what wrote the files: positions, orientation and spacing are taken from their functional groups,
and the series is read anew from its own files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.errors import PlacementError
from .library import highdicom, pydicom, understood
from .planes import Plane, planes_of
from .series import Series
from .voxels import read_voxels

MILLIMETRES = 0.001
"""By which a corner of a frame may lie beside that of its slice: what is left of 16 characters of a decimal string."""

VALUES = 1e-5
"""Share of the range of values by which a volume and its series may differ: one may keep 32 bits of what the other has
in 64."""


@dataclass(frozen=True)
class Placed:
    """What was found in a file.

    Attributes:
        frames: that it holds, each on the slice it refers to.
        millimetres: the largest distance of any frame's corner from that of its slice.
    """

    frames: int
    millimetres: float


def check_parametric_map(file: Path, series: Series, heat: np.ndarray) -> Placed:
    """Hold a Parametric Map against the series: a frame on every slice, with the heat of that slice to the last bit.

    Raises:
        PlacementError: it is not so.
    """
    with understood(PlacementError, f"'{file.name}', read back,"):
        written = _open(file)
        placed, where = _placed(written, file, series)
        if len(set(where)) != len(series.planes) or len(where) != len(series.planes):
            raise _wrong(file, f"{len(where)} frames lie on {len(set(where))} of {len(series.planes)} slices")
        stored = written.pixel_array.reshape(len(where), written.Rows, written.Columns)
        for frame, k in enumerate(where):
            mapping = _group(written, frame, "RealWorldValueMappingSequence")
            values = stored[frame] * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
            if not np.array_equal(values, np.asarray(heat[:, :, k].T, np.float32).astype(np.float64)):
                raise _wrong(file, f"frame {frame + 1} has other values than the heatmap on slice {k}")
    return placed


def check_segmentation(file: Path, series: Series, labels: np.ndarray, names: dict[int, str]) -> Placed:
    """Hold a Segmentation against the series: the voxels of every segment, in the slices that the frames refer to.

    Raises:
        PlacementError: it is not so.
    """
    values = sorted(names)
    with understood(PlacementError, f"'{file.name}', read back,"):
        written = _open(file)
        placed, where = _placed(written, file, series)
        found = np.zeros((len(values), len(series.planes)), dtype=bool)
        stored = written.pixel_array.reshape(len(where), written.Rows, written.Columns)
        for frame, k in enumerate(where):
            segment = int(_group(written, frame, "SegmentIdentificationSequence").ReferencedSegmentNumber) - 1
            pixels = stored[frame] != 0
            if found[segment, k] or not np.array_equal(pixels, values[segment] == labels[:, :, k].T):
                raise _wrong(file, f"frame {frame + 1} is not segment {segment + 1} on slice {k}")
            found[segment, k] = True
        for segment, value in enumerate(values):
            for missing in np.flatnonzero(~found[segment]):
                if (labels[:, :, missing] == value).any():
                    raise _wrong(file, f"segment {segment + 1} lacks its frame on slice {missing}")
    return placed


def check_picture(file: Path, series: Series, pixels: np.ndarray) -> Placed:
    """Hold a Secondary Capture against the picture, and its references against the series.

    Raises:
        PlacementError: it is not so.
    """
    with understood(PlacementError, f"'{file.name}', read back,"):
        written = pydicom().dcmread(file)
        if not np.array_equal(written.pixel_array, pixels[..., :3]):
            raise _wrong(file, "its pixels are not those of the picture")
        named = {str(item.ReferencedSOPInstanceUID) for item in written.SourceImageSequence}
        if named != {plane.uid for plane in series.planes} or not _same_study(written, series):
            raise _wrong(file, "it refers to other images than those of the series")
    return Placed(1, 0.0)


def require_same_voxels(series: Series, voxels: np.ndarray, cancelled: Callable[[], None] = lambda: None) -> bool:
    """Hold a volume against the voxels of the series.

    Args:
        voxels: I×J×K of what was explained.

    Returns:
        whether the volume counts its slices from the other end.

    Raises:
        PlacementError: the volume is not the series: edited, cropped or resampled.
        VolumeError: the series cannot be read.
    """
    own = read_voxels(series, cancelled).T
    if own.shape != voxels.shape:
        raise PlacementError(
            f"The volume has {' × '.join(map(str, voxels.shape))} voxels and its DICOM series "
            f"{' × '.join(map(str, own.shape))}; explain the series itself, not a cropped or resampled copy."
        )
    for turned in (False, True):
        there = voxels[:, :, ::-1] if turned else voxels
        if all(_alike(own[:, :, k], there[:, :, k]) for k in range(own.shape[2])):
            return turned
    raise PlacementError(
        "The volume's voxels are not those of its DICOM series, so what was found in it cannot be said of the series; "
        "load the series again, and explain that."
    )


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind in "iu" and other.dtype.kind in "iu":
        return bool(np.array_equal(one, other))
    allowed = VALUES * max(float(np.ptp(one.astype(float))), 1e-9)
    return bool(np.abs(one.astype(float) - other.astype(float)).max() <= allowed)


# Frames --------------------------------------------------------------------------------------------------------------


def _open(file: Path) -> Any:
    return highdicom().imread(file)


def _placed(written: Any, file: Path, series: Series) -> tuple[Placed, list[int]]:
    """How well the frames lie, and the slice (K) of each.

    Raises:
        PlacementError: a frame refers to no slice of the series, or lies beside it.
    """
    if not _same_study(written, series):
        raise _wrong(file, "it belongs to another study, or has another frame of reference")
    slices = {(plane.uid, plane.frame): k for k, plane in enumerate(series.planes)}
    where, worst = [], 0.0
    for number, plane in enumerate(planes_of(file, written)):
        k = slices.get(_source(written, number, series.is_multiframe))
        if k is None:
            raise _wrong(file, f"frame {number + 1} refers to no slice of the series")
        apart = _apart(plane, series.planes[k])
        if not apart <= MILLIMETRES:
            raise _wrong(file, f"frame {number + 1} lies {apart:.3f} mm beside the slice that it refers to")
        worst = max(worst, apart)
        where.append(k)
    return Placed(len(where), worst), where


def _apart(one: Plane, other: Plane) -> float:
    """Mm between corners, infinite where the frames have not as many pixels."""
    if one.size != other.size:
        return float("inf")
    return float(np.linalg.norm(one.corners() - other.corners(), axis=1).max())


def _source(written: Any, frame: int, multiframe: bool) -> tuple[str, int | None]:
    """The file and frame that a frame says it was derived from."""
    for derivation in _groups(written, frame, "DerivationImageSequence"):
        for source in derivation.get("SourceImageSequence") or ():
            named = source.get("ReferencedFrameNumber")
            number = int(named[0] if isinstance(named, (list, tuple)) or hasattr(named, "append") else named or 1)
            return str(source.ReferencedSOPInstanceUID), number - 1 if multiframe else None
    return "", None


def _groups(written: Any, frame: int, macro: str) -> Iterator[Any]:
    for group in (written.PerFrameFunctionalGroupsSequence[frame], written.SharedFunctionalGroupsSequence[0]):
        yield from group.get(macro) or ()


def _group(written: Any, frame: int, macro: str) -> Any:
    return next(_groups(written, frame, macro))


def _same_study(written: Any, series: Series) -> bool:
    names = ["StudyInstanceUID", "PatientID"]
    names += ["FrameOfReferenceUID"] if "FrameOfReferenceUID" in written else []
    return all(str(written.get(name) or "") == str(series.headers[0].get(name) or "") for name in names)


def _wrong(file: Path, what: str) -> PlacementError:
    return PlacementError(
        f"'{file.name}' was written, read back and found wrong: {what}. Nothing of it was kept; please report it."
    )
