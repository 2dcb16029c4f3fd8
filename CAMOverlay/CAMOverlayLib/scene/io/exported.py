"""What left the scene for a computation, so that the result is put on nothing else when it comes back later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer

from ...contract.errors import PlacementError
from ...contract.pieces import Pieces, at_once
from ...contract.target import VolumeFile
from .volumes import affineFromNode, fileFor, sameType, sameVoxels, writeVoxels


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
        exported = cls.planned(nodes, folder, outputVolume)
        at_once(exported.writing())
        return exported

    @classmethod
    def planned(
        cls,
        nodes: Sequence[slicer.vtkMRMLScalarVolumeNode],
        folder: str,
        outputVolume: slicer.vtkMRMLScalarVolumeNode | None = None,
    ) -> ExportedVolumes:
        """The same without the voxels, which :meth:`writing` writes; raises the VolumeErrors of
        :func:`exportVolume`."""
        files = tuple(fileFor(node, folder, f"channel-{number}") for number, node in enumerate(nodes))
        return cls(tuple(nodes), files, outputVolume)

    def writing(self) -> Pieces[None]:
        """Write the voxels, in pieces.

        Raises:
            PlacementError: a volume was removed or got another size meanwhile.
            OutputError: a file cannot be written.
        """
        for node, file in zip(self.nodes, self.files):
            if not _inScene(node):
                raise _removed(file)
            yield from writeVoxels(node, file)

    def requireUnchanged(self) -> None:
        """Raise unless every node is still in the scene with the voxels and the geometry that were written.

        Names, display and parent transforms may change. The files must still be there.

        Raises:
            PlacementError: what is different; a result would show something that the volume no longer is.
        """
        at_once(self.comparing())

    def comparing(self) -> Pieces[None]:
        """:meth:`requireUnchanged`, in pieces. What changes while it compares is compared again."""
        for _ in range(3):
            self.requireInPlace()
            stamps = self._stamps()
            for node, file in zip(self.nodes, self.files):
                if not (yield from sameVoxels(node, file)):
                    self.requireInPlace()  # which knows better words where it was removed
                    raise _edited(file)
            if self._stamps() == stamps:
                self.requireInPlace()
                return
        raise _edited(self.files[0])

    def requireInPlace(self) -> None:
        """Raise unless every node is in the scene, where it was, with as many voxels of the same type;
        their values are not looked at."""
        for node, file in zip(self.nodes, self.files):
            if not _inScene(node):
                raise _removed(file)
            if not np.allclose(affineFromNode(node), file.affine, rtol=0, atol=1e-6):
                raise PlacementError(
                    f"The volume '{file.name}' was moved or its geometry edited during the run. Apply again."
                )
            if not sameType(node, file):
                raise _edited(file)
        if self.outputVolume is not None and not _inScene(self.outputVolume):
            raise PlacementError("The output volume was removed during the run. Choose another one and apply again.")

    def _stamps(self) -> list[int]:
        """Times of change of the images; who has none is found by the comparison."""
        return [node.GetImageData().GetMTime() if node.GetImageData() is not None else 0 for node in self.nodes]


def _removed(file: VolumeFile) -> PlacementError:
    return PlacementError(
        f"The volume '{file.name}' was removed from the scene during the run, so its heatmap was dropped."
    )


def _edited(file: VolumeFile) -> PlacementError:
    return PlacementError(
        f"The volume '{file.name}' was edited during the run, so its heatmap was dropped. Apply again."
    )


def _inScene(node: slicer.vtkMRMLNode) -> bool:
    # By the object, not its ID: a scene that is loaded meanwhile may use the ID for something else.
    return bool(node.GetScene() is not None and node.GetScene().IsNodePresent(node))
