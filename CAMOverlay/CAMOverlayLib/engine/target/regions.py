"""Places in the patient found again on the grid of a network's output: masks, voxels and points."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import Tensor

from ...contract.errors import NotSeenError, TargetError, reason
from ...contract.geometry import Grid, as_3d
from ...contract.target import VolumeFile
from ..geometry.resample import activation_grid
from ..geometry.volume import header_problem


@dataclass(frozen=True)
class TargetRegions:
    """Knows where the network's input lies in the patient.

    Attributes:
        volume: grid of the original volume, in which voxels are asked for.
        network_input: grid of what went into the network.
        affine_holds: the second follows from the first by the affines alone; where a step warped the voxels it does
            not, and nobody can say which voxel of the input a place became.
        masks: those that were read, by what names them; shared by the pictures of one volume.
    """

    volume: Grid
    network_input: Grid
    affine_holds: bool = True
    masks: dict[VolumeFile | str, tuple[np.ndarray, np.ndarray, str]] = field(default_factory=dict)

    def of_mask(self, mask: VolumeFile | str, shape: tuple[int, ...]) -> Tensor:
        """Bool, on an output grid of this shape: what of the mask (anything but 0) the network saw.

        Every output voxel asks the mask voxel that its centre lies in, so the mask may be on any grid.

        Raises:
            TargetError: it cannot be read.
            NotSeenError: nothing of it was seen.
        """
        self._require_affine()
        array, affine, name = self._read(mask)
        whole = as_3d(shape)
        to_mask = Grid(array.shape, affine).index_from(activation_grid(whole, self.network_input))
        found = np.zeros(whole, dtype=bool)
        jk = np.stack(np.meshgrid(*map(np.arange, whole[1:]), indexing="ij"), -1)
        for i in range(whole[0]):  # a slab at a time: indices take twelve times the memory of the mask
            index = np.rint(jk @ to_mask[:3, 1:3].T + (to_mask[:3, 0] * i + to_mask[:3, 3])).astype(np.int64)
            inside = ((index >= 0) & (index < array.shape)).all(-1)
            found[i][inside] = array[tuple(index[inside].T)] != 0
        if not found.any():
            raise NotSeenError(
                f"Nothing of mask '{name}' lies where the network looked ({np.count_nonzero(array)} voxels are set). "
                "Check that the mask belongs to this volume, and that the preprocessing does not crop it away."
            )
        return torch.from_numpy(found).view(shape)

    def _read(self, mask: VolumeFile | str) -> tuple[np.ndarray, np.ndarray, str]:
        if mask not in self.masks:
            self.masks[mask] = read_mask(mask)
        return self.masks[mask]

    def of_voxel(self, voxel: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Tensor, str]:
        """The output voxel that holds the centre of a voxel (I, J, K) of the original volume, and in words.

        Raises:
            TargetError: outside the volume.
            NotSeenError: outside what the network saw of it.
        """
        if any(not 0 <= v < n for v, n in zip(voxel, self.volume.shape, strict=True)):
            raise TargetError(f"Voxel {tuple(voxel)} is outside the volume, whose shape is {self.volume.shape}.")
        return self._of(self.volume.affine @ [*voxel, 1], shape, f"voxel {tuple(voxel)}")

    def of_point(self, ras: tuple[float, ...], shape: tuple[int, ...]) -> tuple[Tensor, str]:
        """The output voxel that holds a point in RAS mm, and in words.

        Raises:
            NotSeenError: outside what the network saw.
        """
        return self._of(np.array([*ras, 1.0]), shape, "RAS (" + ", ".join(f"{x:.1f}" for x in ras) + ") mm")

    def _of(self, point: np.ndarray, shape: tuple[int, ...], words: str) -> tuple[Tensor, str]:
        self._require_affine()
        if not np.isfinite(point).all():
            raise TargetError(f"{words[0].upper()}{words[1:]} is not a place: a coordinate is NaN or infinite.")
        whole = as_3d(shape)
        output = activation_grid(whole, self.network_input)
        index = tuple(int(n) for n in np.rint(np.linalg.inv(output.affine) @ point)[:3])
        if any(not 0 <= i < n for i, n in zip(index, whole, strict=True)):
            raise NotSeenError(
                f"The network did not see {words}: its input there is cropped away. Choose a place inside the field "
                "of view."
            )
        found = torch.zeros(whole, dtype=torch.bool)
        found[index] = True
        return found.view(shape), f" at {words}, which is voxel {index} of the output"

    def _require_affine(self) -> None:
        if not self.affine_holds:
            raise TargetError(
                "The preprocessing warps the voxels, so a place in the volume cannot be found in the network's input. "
                "Ask for a class only."
            )


def read_mask(mask: VolumeFile | str, kind: str = "Mask") -> tuple[np.ndarray, np.ndarray, str]:
    """Voxels, affine and name, of an exported array file or of an image file.

    Args:
        kind: what it is called in a sentence.

    Raises:
        TargetError: it cannot be read, is not 3-D, holds colours, or is empty.
    """
    path = mask.path if isinstance(mask, VolumeFile) else mask
    try:
        if isinstance(mask, VolumeFile) and path.endswith(".npy"):
            array, affine, name = np.load(path, mmap_mode="r", allow_pickle=False), np.array(mask.affine), mask.name
        else:
            image = nibabel.load(Path(path).expanduser())
            _require_plausible(image, path, kind)
            array, affine, name = np.asarray(image.dataobj), image.affine, Path(path).name
    except TargetError:
        raise
    except Exception as error:  # nibabel raises many kinds
        raise TargetError(
            f"{kind} '{path}' cannot be read ({reason(error)}). Give an image file, such as .nii.gz."
        ) from error
    if array.ndim != 3:
        raise TargetError(f"{kind} '{name}' is {array.ndim}-D with shape {array.shape}; a 3-D label map is needed.")
    if not array.any():
        raise TargetError(f"{kind} '{name}' is empty: every voxel is 0. Draw a region first.")
    return array, affine, name


def _require_plausible(image: Any, path: str, kind: str) -> None:
    """Nothing is allocated for a header that promises what its file cannot hold."""
    dtype = image.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "biuf":
        raise TargetError(
            f"{kind} '{path}' holds colours or compound voxels ({dtype}); a label map of numbers is needed."
        )
    if damage := header_problem(image, Path(path).expanduser(), f"{kind} '{path}'"):
        raise TargetError(damage)
