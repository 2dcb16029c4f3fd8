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

from ..errors import VolumeError
from .grid import Grid
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


def grid_of(picture: Volume) -> Grid:
    return Grid(picture.shape, picture.affine)


def picture_writers(pictures: Sequence[Volume], channels: int | None):
    """Ways to write the pictures of one slice (one volume a channel) as files, the likeliest first.

    A colour picture of bytes is a PNG to the chains that read such; anything else is a flat NIfTI, which keeps its
    millimetres; last comes a volume of one slice, for chains that squeeze it themselves.

    Returns:
        functions from a folder to the files; whether the chain gets them without a third axis; and whether the files
        carry the picture's geometry.
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
            Image.fromarray(np.ascontiguousarray(np.swapaxes(array, 0, 1))).save(files[-1], compress_level=0)
        return files

    def nifti(thin: bool):
        def write(folder: Path) -> list[Path]:
            files = []
            for number, (array, picture) in enumerate(zip(arrays, pictures)):
                files.append(folder / f"channel_{number}.nii")
                values = array[:, :, None] if thin else array
                nibabel.save(nibabel.Nifti1Image(_storable(values), picture.affine), files[-1])
            return files

        return write

    ways = [(nifti(False), True, True), (nifti(True), False, True)]
    if all(a.dtype == np.uint8 for a in arrays) and _has_pillow():
        ways.insert(0 if colours or grey_as_colour else 1, (png, True, False))
    return ways


def _storable(array: np.ndarray) -> np.ndarray:
    if array.dtype == bool:
        return array.astype(np.uint8)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _has_pillow() -> bool:
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        return False
    return True
