"""Sheared volumes in a saved scene, as a gantry that was tilted leaves them.

A node can be sheared, and Slicer shows it where it lies. Its writers and readers of image files straighten the axes
without a word. So a scene is saved with the axes straight, under a transform that shears them back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

STRAIGHT = 1e-5
"""Cosine between two axes up to which a writer has nothing to straighten."""


@contextmanager
def straightened(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Sheared volumes as straight ones under a transform of their own; afterwards they are as they were."""
    changed = []
    try:
        for node in slicer.util.getNodesByClass("vtkMRMLVolumeNode", scene):
            affine = _affineOf(node)
            if not _isStraight(affine):
                changed.append((node, affine, node.GetTransformNodeID(), _straighten(scene, node, affine)))
        yield
    finally:
        for node, affine, parent, transform in changed:
            node.SetAndObserveTransformNodeID(parent)
            node.SetIJKToRASMatrix(_matrix(affine))
            for one in (transform.GetStorageNode(), transform):
                if one is not None:
                    scene.RemoveNode(one)


def _straighten(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLVolumeNode, affine: np.ndarray) -> Any:
    """Give a node straight axes, and return the transform that shears them."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    turned, triangle = np.linalg.qr(affine[:3, :3])
    straight = affine.copy()
    straight[:3, :3] = turned * np.sign(np.diag(triangle)) * lengths
    transform = slicer.vtkMRMLLinearTransformNode()
    transform.SetName(f"{node.GetName()} shear")
    transform.SetMatrixTransformToParent(_matrix(affine @ np.linalg.inv(straight)))
    scene.AddNode(transform)
    transform.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    node.SetIJKToRASMatrix(_matrix(straight))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def _isStraight(affine: np.ndarray) -> bool:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < STRAIGHT)


def _affineOf(node: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _matrix(affine: np.ndarray) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    slicer.util.updateVTKMatrixFromArray(matrix, affine)
    return matrix
