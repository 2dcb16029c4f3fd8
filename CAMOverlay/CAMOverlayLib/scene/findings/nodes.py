"""Nodes that hang on an overlay by a reference: found again, made once."""

from __future__ import annotations

from typing import Any

import slicer


def hanging(overlayNode: slicer.vtkMRMLScalarVolumeNode, role: str) -> Any:
    """The node that an overlay refers to, or None."""
    return overlayNode.GetNodeReference(role)


def hangingOrNew(overlayNode: slicer.vtkMRMLScalarVolumeNode, role: str, className: str, what: str) -> Any:
    """The node that an overlay refers to; one of this class named ``OVERLAY - WHAT`` is made where there is none."""
    node = hanging(overlayNode, role)
    if node is None:
        scene = overlayNode.GetScene()
        node = scene.AddNewNodeByClass(className, scene.GenerateUniqueName(f"{overlayNode.GetName()} - {what}"))
        overlayNode.SetNodeReferenceID(role, node.GetID())
    return node
