"""The input volume on the computation's side of the border: read, checked, and written as the NIfTI a bundle loads.

Arrays are I×J×K, affines map voxel indices to RAS millimetres.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from ...contract.errors import OutputError, VolumeError, reason
from ...contract.geometry import Grid, affine_rows
from ...contract.on_cores import on_cores
from ...contract.packed import Packed, write_gz
from ...contract.target import VolumeFile
from .unnamed_file import name_file


@dataclass(frozen=True)
class Volume:
    """Voxels and where they are: ``array`` is I×J×K, or I×J×K×C of a colour image; ``affine`` is 4×4 float64 from
    voxel index to RAS mm. ``notes`` are what the user should know of how it was read."""

    array: np.ndarray
    affine: np.ndarray
    name: str
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial, (I, J, K)."""
        return tuple(int(n) for n in self.array.shape[:3])

    @property
    def components(self) -> int:
        """Numbers a voxel: 3 or 4 of a colour image."""
        return int(self.array.shape[3]) if self.array.ndim == 4 else 1

    @cached_property
    def voxel_hash(self) -> str:
        """Hash of voxels, type, shape and affine; the array is read once, as it lies in memory."""
        digest = _digest()
        digest.update(f"{self.array.dtype} {self.array.shape} {self.array.flags.f_contiguous}".encode())
        digest.update(np.ascontiguousarray(self.affine).tobytes())
        in_order = self.array.T if self.array.flags.f_contiguous else np.ascontiguousarray(self.array)
        for part in _hashes(in_order.reshape(-1).view(np.uint8)):
            digest.update(part)
        return digest.hexdigest()

    @property
    def grid(self) -> Grid:
        return Grid(self.shape, self.affine)


def native(array: np.ndarray) -> np.ndarray:
    """The array in a type that torch knows: in this machine's order of bytes, and of at most eight of them."""
    kind = array.dtype.newbyteorder("=")
    if kind.kind == "f" and kind.itemsize > 8:
        kind = np.dtype(np.float64)
    return array if array.dtype == kind else array.astype(kind)


def forms_note(image: nibabel.Nifti1Image, name: str) -> tuple[str, ...]:
    """Which geometry of a NIfTI file was taken, where its sform and its qform say different ones."""
    header = image.header
    if not hasattr(header, "get_sform"):
        return ()
    (sform, coded), (qform, other) = header.get_sform(coded=True), header.get_qform(coded=True)
    if not coded or not other or sform is None or qform is None:
        return ()
    taken, other = Grid(image.shape[:3], sform), Grid(image.shape[:3], qform)
    if other.is_near(taken, share=0.1):
        return ()
    return (
        f"The sform and the qform of '{name}' place it up to {taken.apart(other):.1f} mm apart; the sform was taken, "
        "as MONAI does in training.",
    )


def _hashes(data: np.ndarray, size: int = 16 << 20) -> list[bytes]:
    """Hashes of bytes, part by part and several at a time: one after the other, a gigabyte takes more than a second."""
    parts = [data[start : start + size] for start in range(0, data.size, size)]
    return on_cores(lambda part: _digest(part.data).digest(), parts)


def _digest(data: Any = b"") -> Any:
    """Of SHA-1, which processors have built in; it tells volumes apart, and keeps nobody out."""
    return hashlib.sha1(data, usedforsecurity=False)


def read_volume(file: VolumeFile) -> Volume:
    """The volume in an exported array file, checked.

    Raises:
        VolumeError: unreadable, not 3-D, of zero size, NaN or infinite voxels, or a singular geometry.
    """
    try:
        # Mapped privately: nothing can reach the file, and torch takes it without a warning about read-only memory.
        array = np.load(file.path, mmap_mode="c", allow_pickle=False)
    except Exception as error:  # of a damaged header NumPy raises what its parser does
        raise VolumeError(
            f"The exported volume '{file.path}' cannot be read ({reason(error)}). Export it again."
        ) from error
    volume = Volume(native(array), matrix(file.affine, file.name), file.name)
    check_volume(volume)
    return volume


def matrix(affine: Any, name: str) -> np.ndarray:
    """An affine as float64.

    Raises:
        VolumeError: it does not consist of numbers, or its rows differ in length.
    """
    try:
        return np.array(affine, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise VolumeError(
            f"The affine of '{name}' is not a 4×4 matrix of numbers ({error}). Correct its geometry."
        ) from error


PACKED = {".bz2": 50_000, ".zst": 50_000}
DEFLATE = 1100
"""Bytes that one compressed byte can stand for at most."""


def header_problem(image: Any, path: Path | str, called: str) -> str:
    """That a header promises more than its file can hold, in a sentence; empty where it does not. Asked before anything
    is allocated for it."""
    promised = math.prod(int(n) for n in image.shape) * image.get_data_dtype().itemsize
    held = max(1, os.path.getsize(path)) * PACKED.get(Path(path).suffix.lower(), DEFLATE)
    if promised <= held:
        return ""
    return f"{called} is damaged: its header promises {promised / 1e9:.1f} GB, which its file cannot hold. Export it again."  # noqa: E501


def check_volume(volume: Volume) -> None:
    """Refuse what no network could be asked about.

    Raises:
        VolumeError: not 3-D, zero size, not numeric, NaN or infinite voxels, singular or non-finite affine.
    """
    array, affine, name = volume.array, volume.affine, volume.name
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[3] in (3, 4)):
        raise VolumeError(
            f"Volume '{name}' is {array.ndim}-D with shape {array.shape}; one 3-D volume, or a colour image of 3 or "
            "4 components, is needed. Extract a single frame or channel first."
        )
    if 0 in array.shape:
        raise VolumeError(f"Volume '{name}' has no voxels (shape {array.shape}). Load it again or crop it less.")
    if array.dtype.kind not in "biuf":
        raise VolumeError(f"Volume '{name}' has voxels of type {array.dtype}; integer or real numbers are needed.")
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise VolumeError(
            f"Volume '{name}' has a geometry that is not a finite 4×4 matrix: {affine.tolist()}. Correct its header."
        )
    if not volume.grid.is_usable:
        raise VolumeError(
            f"Volume '{name}' has a singular geometry: its axes are {affine[:3, :3].T.tolist()} mm per voxel. "
            "Correct spacing and directions in its header."
        )
    if array.dtype.kind == "f" and not _all_finite(array):
        bad = np.argwhere(~np.isfinite(array))
        first = tuple(int(i) for i in bad[0])
        raise VolumeError(
            f"Volume '{name}' has {len(bad)} voxels that are NaN or infinite, the first at {first}. "
            "Replace them (for example with 0) before explaining."
        )


def _all_finite(array: np.ndarray) -> bool:
    # One slab at a time, so that checking needs no mask as large as the volume.
    return all(np.isfinite(array[:, :, k]).all() for k in range(array.shape[2]))


def as_nifti(volume: Volume) -> nibabel.Nifti1Image:
    """A volume as a NIfTI image, voxel type kept where NIfTI has it.

    The sform carries the affine, shear included; the qform can only say rotations and is set where that is all.
    """
    array = volume.array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:  # not a NIfTI type
        array = array.astype(np.float32)
    image = nibabel.Nifti1Image(array, volume.affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(volume.affine, code="scanner")
    if volume.grid.is_orthogonal:
        image.set_qform(volume.affine, code="scanner")
    else:
        image.set_qform(None, code=0)
    return image


def as_read(image: nibabel.Nifti1Image, voxels: np.ndarray) -> nibabel.Nifti1Image:
    """What nibabel would read of an image from :func:`as_nifti` if it were written to a file: the header with all that
    writing puts in, and rounds to the bits of a file, but with these voxels."""
    header = type(image.header).from_fileobj(io.BytesIO(_bytes(_written(image))))
    read = nibabel.Nifti1Image(voxels, None, header)  # without an affine the header stays as it is
    read._affine = header.get_best_affine()
    return read


def _written(image: nibabel.Nifti1Image) -> Any:
    """The header as it is written: the voxels go into the file as they are."""
    header = image.header.copy()
    header.set_slope_inter(1, 0)
    return header


def _bytes(header: Any) -> bytes:
    """All of a file that comes before its voxels."""
    file = io.BytesIO()
    header.write_to(file)
    return file.getvalue().ljust(header.get_data_offset(), b"\0")


def write_nifti(volume: Volume, path: Path | str) -> Path:
    """Write a volume as NIfTI (see :func:`as_nifti`), for the bundle's own ``LoadImage`` or for the user.

    Raises:
        OutputError: the file cannot be written.
    """
    if str(path).endswith(".nii.gz"):
        write_packed(volume, path)
    else:
        with _writable(path):
            nibabel.save(as_nifti(volume), path)
    return Path(path)


def write_packed(volume: Volume, path: Path | str) -> Packed:
    """The same as ``.nii.gz``; what comes back is where its voxels are in the file.

    Raises:
        OutputError: the file cannot be written.
    """
    image = as_nifti(volume)
    with _writable(path):
        return write_gz(path, _bytes(_written(image)), np.asfortranarray(image.dataobj))


@contextmanager
def _writable(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"Cannot write '{path}': {error.strerror or error}. Choose another folder.") from error


def _write_npy(array: np.ndarray, path: Path | str) -> None:
    """As ``np.save``, which does not say why a file cannot grow."""
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.T.reshape(-1).view(np.uint8).data)


def save_array(array: np.ndarray, affine: np.ndarray, name: str, path: Path | str) -> VolumeFile:
    """Write an array file as Slicer can map it (Fortran order) and say where it is. Of an array of :func:`.zeros_for`
    only the name is missing.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        if not name_file(array, path):
            _write_npy(np.asfortranarray(array), path)
    except OSError as error:
        raise OutputError(f"Cannot write '{path}': {error.strerror or error}. Free some disk space.") from error
    return VolumeFile(str(path), affine_rows(affine), name)
