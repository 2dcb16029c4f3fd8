"""What left the scene for a computation, so that the result is put on nothing else when it comes back later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer

from ..errors import PlacementError
from ..request import VolumeFile
from .volumes import affineFromNode, exportVolume, voxelsOf


@dataclass(frozen=True)
class ExportedVolumes:
    """Volume nodes and the files that their voxels and geometries were written to.

    Args:
        nodes: the volumes that are explained.
        files: one a node, in the same order.
        outputVolume: node that the result will overwrite; None if there will be a new one.
    """

    nodes: tuple[slicer.vtkMRMLScalarVolumeNode, ...]
    files: tuple[VolumeFile, ...]
    outputVolume: slicer.vtkMRMLScalarVolumeNode | None = None

    @classmethod
    def write(
        cls,
        nodes: Sequence[slicer.vtkMRMLScalarVolumeNode],
        folder: str,
        outputVolume: slicer.vtkMRMLScalarVolumeNode | None = None,
    ) -> ExportedVolumes:
        """Write the volumes to ``folder``; raises what :func:`exportVolume` raises."""
        files = tuple(exportVolume(node, folder, f"channel-{number}") for number, node in enumerate(nodes))
        return cls(tuple(nodes), files, outputVolume)

    def requireUnchanged(self) -> None:
        """Raise unless every node is still in the scene with the voxels and the geometry that were written.

        Names, display and parent transforms may change. The files must still be there.

        Raises:
            PlacementError: what is different; a result would show something that the volume no longer is.
        """
        for node, file in zip(self.nodes, self.files):
            what = f"The volume '{file.name}'"
            if not _inScene(node):
                raise PlacementError(f"{what} was removed from the scene during the run, so its heatmap was dropped.")
            if not np.allclose(affineFromNode(node), file.affine, rtol=0, atol=1e-6):
                raise PlacementError(f"{what} was moved or its geometry edited during the run. Apply again.")
            if not _sameVoxels(node, file):
                raise PlacementError(f"{what} was edited during the run, so its heatmap was dropped. Apply again.")
        if self.outputVolume is not None and not _inScene(self.outputVolume):
            raise PlacementError("The output volume was removed during the run. Choose another one and apply again.")


def _inScene(node: slicer.vtkMRMLNode) -> bool:
    # By the object, not its ID: a scene that is loaded meanwhile may use the ID for something else.
    return bool(node.GetScene() is not None and node.GetScene().IsNodePresent(node))


def _sameVoxels(node: slicer.vtkMRMLScalarVolumeNode, file: VolumeFile) -> bool:
    """Whether the voxels are those in the file. Every one is compared: who edits an array need not say so, and reading
    a file that was just written costs less than a tenth of a second for a hundred megabytes."""
    if node.GetImageData() is None or node.GetImageData().GetPointData().GetScalars() is None:
        return False
    now, then = voxelsOf(node), np.load(file.path, mmap_mode="r")
    if now.shape != then.shape or now.dtype != then.dtype:
        return False
    # As bytes, so that NaN equals itself; a slice at a time, so that comparing needs no memory of the volume's size.
    return all(now[:, :, k].tobytes("F") == then[:, :, k].tobytes("F") for k in range(now.shape[2]))
