"""The voxels of a series, in the values that are meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..contract.errors import VolumeError
from .library import pydicom, quietly
from .planes import Plane
from .series import Series


def read_voxels(series: Series, cancelled: Callable[[], None] = lambda: None) -> np.ndarray:
    """Every voxel, K×J×I as Slicer has them, contiguous: stored values times slope plus intercept (PS3.3 C.11.1).

    Integers stay integers where slope and intercept are; elsewhere it is float32.

    Args:
        cancelled: called at every slice; raising from it ends the reading.

    Raises:
        VolumeError: a file is damaged, or compressed in a way that nothing here decodes.
    """
    stored = None
    with quietly():
        whole = _decoded(series.planes[0]) if series.is_multiframe else None
        for k, plane in enumerate(series.planes):
            cancelled()
            pixels = _decoded(plane) if whole is None else whole.reshape(-1, *whole.shape[-2:])[plane.frame]
            if pixels.shape != plane.size[::-1]:
                raise _damaged(plane)
            if stored is None:
                stored = np.empty((len(series.planes), *pixels.shape), pixels.dtype)
            elif not np.can_cast(pixels.dtype, stored.dtype):
                stored = stored.astype(np.promote_types(pixels.dtype, stored.dtype))
            stored[k] = pixels
    assert stored is not None  # there is a slice
    return _rescaled(stored, series.planes)


def _decoded(plane: Plane) -> np.ndarray:
    """The stored values of a file."""
    library, data = pydicom(), None
    try:
        data = library.dcmread(plane.file, force=True)
        pixels = data.pixel_array
        return library.pixels.apply_modality_lut(pixels, data) if "ModalityLUTSequence" in data else pixels
    except MemoryError:
        raise
    except Exception:  # of many kinds; its words may quote the file  # noqa: BLE001
        raise (_not_decoded(plane, data) if _is_compressed(data) else _damaged(plane)) from None


def _is_compressed(data: Any) -> bool:
    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    return bool(syntax is not None and syntax.is_transfer_syntax and not syntax.is_private and syntax.is_compressed)


def _not_decoded(plane: Plane, data: Any) -> VolumeError:
    syntax = data.file_meta.TransferSyntaxUID
    return VolumeError(
        f"Slice {plane.number} of the DICOM series is compressed ({syntax.name}) and cannot be decoded here; it is "
        "damaged, or a decoder is missing. Install one (pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg), "
        "or decompress the series, for example with gdcmconv --raw or dcmdjpeg."
    )


def _damaged(plane: Plane) -> VolumeError:
    return VolumeError(f"Slice {plane.number} of the DICOM series is damaged or cut short; copy the series again.")


def _rescaled(stored: np.ndarray, planes: tuple[Plane, ...]) -> np.ndarray:
    slopes = np.array([plane.slope for plane in planes])
    intercepts = np.array([plane.intercept for plane in planes])
    if stored.dtype.kind == "f" or ((slopes == 1).all() and (intercepts == 0).all()):
        kept = stored
    elif (slopes == np.round(slopes)).all() and (intercepts == np.round(intercepts)).all():
        kept = _whole_numbers(stored, slopes, intercepts)
    else:
        kept = np.empty(stored.shape, np.float32)
        for k, plane in enumerate(stored):
            kept[k] = plane * slopes[k] + intercepts[k]
    if kept.dtype.kind == "f" and not np.isfinite(kept).all():
        raise VolumeError("The DICOM series has voxels that are NaN or infinite; export it again from its source.")
    return kept


def _whole_numbers(stored: np.ndarray, slopes: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
    """In the smallest integers from 16 bits on that hold them all."""
    ends = [
        np.array([plane.min(), plane.max()], dtype=np.int64) * int(slope) + int(intercept)
        for plane, slope, intercept in zip(stored, slopes, intercepts, strict=True)
    ]
    low, high = int(np.min(ends)), int(np.max(ends))
    kind = next((k for k in (np.int16, np.int32) if np.iinfo(k).min <= low and high <= np.iinfo(k).max), np.float64)
    kept = np.empty(stored.shape, kind)
    for k, plane in enumerate(stored):
        kept[k] = plane.astype(np.int64) * int(slopes[k]) + int(intercepts[k])
    return kept
