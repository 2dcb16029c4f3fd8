"""What a result was asked of, in the words of the scene: files that the nodes came from, and the node of a mask.

The computation knows array files in a folder that is gone when it is done. What stays is written into the result, so
that the overlay says how to compute it again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import slicer

from ..contract.request import Result
from ..contract.target import StructureFile, TargetSpec, VolumeFile
from .structure_files import nodesIn


def withNodes(
    result: Result, nodes: Sequence[slicer.vtkMRMLVolumeNode], settings: Mapping[str, Any], python: str = ""
) -> Result:
    """A result that says which files and nodes it was asked of; one that says so already is left as it is.

    Args:
        nodes: the volumes that were explained.
        settings: as of ``OverlayLogic.start``; ``mask``, ``segment`` and ``label`` are looked at.
        python: that computed, where one was named.
    """
    asked = result.provenance
    if asked.door:
        return result
    mask, target = settings.get("mask"), asked.target
    named = hasattr(mask, "GetName")
    if isinstance(target, TargetSpec) and isinstance(target.mask, VolumeFile):
        target = replace(target, mask=replace(target.mask, path=""))
    asked = replace(
        asked,
        door="scene",
        target=target,
        volumes=tuple(map(fileOf, nodes)),
        mask_node=mask.GetName() if named else "",
        segment=str(settings.get("segment") or "") if named else "",
        label=settings.get("label") if named else None,
        options=replace(asked.options, structures=_files(asked.options.structures)),
        python=python,
        structure_nodes=tuple(node.GetName() for node in nodesIn(settings.get("structures"))),
    )
    return replace(result, provenance=asked)


def _files(structures: Sequence[StructureFile | str]) -> tuple[StructureFile | str, ...]:
    """Those that are files of the user's: masks of nodes lay in the run's folder."""
    return tuple(one for one in structures if not isinstance(StructureFile.of(one).file, VolumeFile))


def fileOf(node: slicer.vtkMRMLVolumeNode) -> str:
    """The one image file that a volume was loaded from and still is, by its absolute path; else nothing."""
    storage = node.GetStorageNode()
    if storage is None or storage.GetNumberOfFileNames() > 0 or node.GetModifiedSinceRead():
        return ""  # a series of files, or no longer what is in the file
    path = storage.GetFullNameFromFileName() or ""
    return os.path.abspath(path) if os.path.isfile(path) else ""
