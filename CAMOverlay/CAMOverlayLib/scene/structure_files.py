"""Structures of the scene for the computation: segmentation and label map nodes as files in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..contract.errors import TargetError
from ..contract.target import StructureFile
from ..reading.structures import Structure
from .findings.structures import eachMask
from .io.volumes import affineFromNode, writeArray

OCCLUDED_ROLE = "CAMOverlay.Occluded"
"""Node references from the overlay to the segmentations and label maps whose structures were taken out of the image."""


@dataclass(frozen=True)
class StructuresOf:
    """The structures of a node on a volume's grid.

    Attributes:
        node: segmentation or label map.
        structures: what of it lies in the volume, each within its box.
    """

    node: Any
    structures: tuple[Structure, ...]


def eachStructure(node: Any, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Iterator[Structure]:
    """Every structure of a segmentation or label map, of any grid and under any transform, on a volume's grid.

    Raises:
        TargetError: neither a segmentation nor a label map.
    """
    for name, mask in eachMask(node, volumeNode):
        yield Structure.of(name, mask)


def structureFiles(
    given: Sequence[Any] | Any, inputVolume: slicer.vtkMRMLScalarVolumeNode, folder: str | Path
) -> tuple[StructureFile | str, ...]:
    """What a request takes as structures, out of nodes of the scene and files.

    Args:
        given: segmentation or label map nodes, :class:`StructuresOf`, paths or :class:`StructureFile`; one or several.
        folder: where the masks of nodes are written, one file for each structure.

    Raises:
        TargetError: nothing of a node lies in the volume, or it is neither a segmentation nor a label map.
        OutputError: a mask cannot be written.
    """
    files: list[Any] = []
    for one in _several(given):
        if _isFile(one):
            files.append(one)
            continue
        found = one if isinstance(one, StructuresOf) else StructuresOf(one, tuple(eachStructure(one, inputVolume)))
        if not found.structures:
            raise TargetError(
                f"No structure of '{found.node.GetName()}' lies in the volume '{inputVolume.GetName()}'. Choose a "
                "segmentation that belongs to it, and check its transform."
            )
        files += [
            _written(structure, inputVolume, Path(folder) / f"structure-{len(files) + number}.npy")
            for number, structure in enumerate(found.structures)
        ]
    return tuple(files)


def nodesIn(given: Sequence[Any] | Any) -> list[Any]:
    """The nodes among what was given as structures."""
    return [one.node if isinstance(one, StructuresOf) else one for one in _several(given) if not _isFile(one)]


def setOccluded(overlayNode: slicer.vtkMRMLScalarVolumeNode, nodes: Sequence[Any]) -> None:
    """Note on an overlay whose structures its result was computed without."""
    overlayNode.RemoveNodeReferenceIDs(OCCLUDED_ROLE)
    for node in nodes:
        if node.GetScene() is overlayNode.GetScene():  # it may have left meanwhile
            overlayNode.AddNodeReferenceID(OCCLUDED_ROLE, node.GetID())


def isOccluded(overlayNode: slicer.vtkMRMLScalarVolumeNode, node: Any) -> bool:
    """Whether the overlay's result says what the answer is without the structures of this node."""
    count = overlayNode.GetNumberOfNodeReferences(OCCLUDED_ROLE)
    return any(overlayNode.GetNthNodeReference(OCCLUDED_ROLE, n) is node for n in range(count))


def _several(given: Any) -> Sequence[Any]:
    return given if isinstance(given, (list, tuple)) else () if given is None else (given,)


def _isFile(given: Any) -> bool:
    return not hasattr(given, "IsA") and not isinstance(given, StructuresOf)


def _written(structure: Structure, inputVolume: slicer.vtkMRMLScalarVolumeNode, path: Path) -> StructureFile:
    """A structure as a file: its box of the volume's grid, where it lies in the volume's own space."""
    affine = affineFromNode(inputVolume)
    affine[:, 3] = affine @ [*(one.start for one in structure.box), 1]
    return StructureFile(writeArray(structure.inside.astype(np.uint8), affine, path, structure.name))
