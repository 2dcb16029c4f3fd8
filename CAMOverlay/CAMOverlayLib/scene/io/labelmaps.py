"""A label map as Slicer's segments keep it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support


def orientedLabelmap(labels: np.ndarray, origin: Sequence[int], affine: np.ndarray) -> slicer.vtkOrientedImageData:
    """Part of a volume's grid with a label in every voxel.

    Args:
        labels: bytes, I×J×K, of a box of the grid.
        origin: voxel (I, J, K) at which the box begins.
        affine: IJKToRAS of the grid, 4×4.
    """
    labelmap = slicer.vtkOrientedImageData()
    ends = zip(origin, labels.shape, strict=True)
    labelmap.SetExtent(*(end for start, size in ends for end in (start, start + size - 1)))
    matrix = vtk.vtkMatrix4x4()
    slicer.util.updateVTKMatrixFromArray(matrix, affine)
    labelmap.SetImageToWorldMatrix(matrix)
    voxels = np.ascontiguousarray(labels.T)  # K, J, I as VTK has it in memory
    labelmap.GetPointData().SetScalars(numpy_support.numpy_to_vtk(voxels.ravel(), deep=True))
    return labelmap
