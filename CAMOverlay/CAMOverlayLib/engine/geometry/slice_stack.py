"""A volume as a stack of pictures, for 2-D networks whose chain reads picture files.

Pictures are cut as a radiologist sees them and as they are exported for training: the first axis runs to the right of
the picture, the second one down. A volume of one slice is taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from ...contract.errors import OutputError, VolumeError
from .volume import Volume

ORIENTATIONS = {"axial": ("L", "P", "S"), "coronal": ("L", "I", "A"), "sagittal": ("P", "I", "L")}
"""Where the picture's axes and the stack point: axial pictures have the patient's left on the right, front on top."""


@dataclass(frozen=True)
class Stack:
    """A volume turned so that its third axis counts pictures.

    Attributes:
        volume: its array is a view of the volume's own.
        to_stack: 4×4 from voxel index of the volume to voxel index of the stack.
        orientation: a key of :data:`ORIENTATIONS`, or ``""`` where it was taken as it is.
    """

    volume: Volume
    to_stack: np.ndarray
    orientation: str
    _turn: np.ndarray

    def __len__(self) -> int:
        return self.volume.shape[2]

    def picture(self, k: int) -> Volume:
        """Slice k, I×J×1 (×C), where it lies in the patient."""
        shift = np.eye(4)
        shift[2, 3] = k
        array = self.volume.array[:, :, k : k + 1]
        return Volume(array, self.volume.affine @ shift, f"{self.volume.name}, slice {k + 1}")

    def view(self, array: np.ndarray) -> np.ndarray:
        """An array on the volume's grid, turned like the stack: writing to it writes there."""
        return apply_orientation(array, self._turn)


def cut(volume: Volume, orientation: str | None) -> Stack:
    """The volume as a stack of slices.

    Args:
        orientation: None takes a volume of one slice as it is, and cuts any other axially.

    Raises:
        VolumeError: no such orientation.
    """
    if orientation is not None and orientation not in ORIENTATIONS:
        raise VolumeError(f"There are no '{orientation}' slices. Use {', '.join(ORIENTATIONS)}.")
    thin = [axis for axis, n in enumerate(volume.shape) if n == 1]
    start = io_orientation(volume.affine)
    if orientation is None and thin == [2]:
        turn = np.array([[0, 1], [1, 1], [2, 1]], dtype=float)
    else:
        turn = ornt_transform(start, axcodes2ornt(ORIENTATIONS[orientation or _thinnest(volume, thin)]))
        orientation = orientation or _thinnest(volume, thin)
    array = apply_orientation(volume.array, turn)
    to_volume = inv_ornt_aff(turn, volume.shape)
    turned = Volume(array, volume.affine @ to_volume, volume.name)
    return Stack(turned, np.linalg.inv(to_volume), orientation or "", turn)


def _thinnest(volume: Volume, thin: list[int]) -> str:
    """The orientation whose slices lie across the volume's only axis of one voxel; axial without such."""
    if len(thin) != 1:
        return "axial"
    letter = nibabel.aff2axcodes(volume.affine)[thin[0]]
    return {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}.get(letter, "sagittal")


def picture_writers(pictures: Sequence[Volume], channels: int | None):
    """Ways to write the pictures of one slice (one volume per channel) as files, the likeliest first.

    A colour picture of bytes is a PNG to the chains that read such; anything else is a flat NIfTI, which keeps its
    millimetres; last comes a volume of one slice, for chains that squeeze it themselves.

    Returns:
        functions from a folder to the files, or to the volumes that are to be in such files; whether the chain gets
        them without a third axis; and the affine (4×4) that the files carry, in a world of their own.
    """
    colours = len(pictures) == 1 and pictures[0].components > 1
    grey_as_colour = len(pictures) == 1 and not colours and channels == 3
    arrays = [p.array[:, :, 0] for p in pictures]
    if grey_as_colour:
        arrays = [np.repeat(arrays[0][..., None], 3, axis=-1)]

    def png(folder: Path) -> list[Path]:
        from PIL import Image

        files = []
        for number, array in enumerate(arrays):
            files.append(folder / f"channel_{number}.png")
            try:
                Image.fromarray(np.ascontiguousarray(np.swapaxes(array, 0, 1))).save(files[-1], compress_level=0)
            except OSError as error:
                raise OutputError(
                    f"Cannot write '{files[-1]}': {error.strerror or error}. Choose another folder."
                ) from error
        return files

    def nifti(thin: bool):
        def name(folder: Path) -> dict[Path, Volume]:
            files = {}
            for number, (array, picture) in enumerate(zip(arrays, pictures)):
                values = array[:, :, None] if thin else array
                affine = picture.affine if thin else in_plane(picture.affine)
                files[folder / f"channel_{number}.nii"] = Volume(values, affine, picture.name)
            return files

        return name

    affine = pictures[0].affine
    plans = [(nifti(False), True, in_plane(affine)), (nifti(True), False, affine)]
    if all(a.dtype == np.uint8 for a in arrays) and _has_pillow():
        plans.insert(0 if colours or grey_as_colour else 1, (png, True, np.eye(4)))
    return plans


def in_plane(affine: np.ndarray) -> np.ndarray:
    """The affine for a flat file of a slice: 4×4, of which a 2-D chain reads the corner of the first two axes.

    That of an axial slice is that corner. Of a coronal, sagittal or tilted slice the corner is a shadow of the slice:
    ``Spacing`` would take a spacing for a shorter one, or for none. Such a slice gets a plane of its own, in which its
    axes point the way that they do in the patient.
    """
    columns = affine[:3, :2]
    spacing = np.linalg.norm(columns, axis=0)
    if np.allclose(np.linalg.norm(columns[:2], axis=0), spacing, rtol=1e-4):
        return affine
    signs = np.sign(columns[np.abs(columns).argmax(0), [0, 1]])
    return np.diag([*(signs * spacing), np.linalg.norm(affine[:3, 2]), 1.0])


def _has_pillow() -> bool:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True
