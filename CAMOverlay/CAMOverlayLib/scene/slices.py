"""Slices of a volume with its overlay, blended by Slicer's own slice pipeline, without a window.

The pipeline runs in a scene of its own, which shares the voxels with the user's scene and copies what decides how
they look. The user's nodes, views, undo history and modified flags see nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from .core import drawableImage
from .volumes import affineFromNode, setNodeAffine, worldFromIJK

ORIENTATIONS = ("Axial", "Coronal", "Sagittal")

AXES = {"Axial": (0, 1, 2), "Coronal": (0, 2, 1), "Sagittal": (1, 2, 0)}
"""RAS axis across, RAS axis upwards, RAS axis through the slice, of each orientation."""


@dataclass(frozen=True)
class Slice:
    """One rendered slice.

    Attributes:
        orientation: ``Axial``, ``Coronal`` or ``Sagittal``.
        pixels: RGB in [0, 1], height × width × 3, first row on top.
        rasFromPixel: 4×4, from (column, row, 0, 1) to world RAS mm.
    """

    orientation: str
    pixels: np.ndarray
    rasFromPixel: np.ndarray

    def pixelOf(self, ras: np.ndarray) -> tuple[float, float]:
        """Column and row of a point in world RAS mm, perpendicularly projected on the slice."""
        column, row, _, _ = np.linalg.inv(self.rasFromPixel) @ [*ras, 1]
        return float(column), float(row)

    @property
    def letters(self) -> dict[str, str]:
        """Anatomical direction at the ``left``, ``right``, ``top`` and ``bottom`` edge, from the slice's geometry."""
        right, down = directionLetter(self.rasFromPixel[:3, 0]), directionLetter(self.rasFromPixel[:3, 1])
        opposite = dict(zip("RLAPSI", "LRPAIS"))
        return {"left": opposite[right], "right": right, "top": opposite[down], "bottom": down}


def directionLetter(direction: np.ndarray) -> str:
    """R, L, A, P, S or I: the anatomical direction nearest to a vector in RAS."""
    axis = int(np.argmax(np.abs(direction)))
    return ("RAS" if direction[axis] > 0 else "LPI")[axis]


class SliceRenderer:
    """Renders slices through a volume and its overlay.

    Example::

        renderer = SliceRenderer(inputVolume, overlayNode, opacity=0.5)
        axial = renderer.render("Axial", through=peak, pixelsPerMm=2)
    """

    def __init__(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        overlayNode: slicer.vtkMRMLScalarVolumeNode | None = None,
        opacity: float = 0.5,
    ) -> None:
        self.bounds = worldBounds(inputVolume)
        self._scene = slicer.vtkMRMLScene()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self._scene)
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLScene(self._scene)
        self._view = self._logic.AddSliceNode("Picture")
        self._view.SetSliceResolutionMode(slicer.vtkMRMLSliceNode.SliceResolutionMatch2DView)
        composite = self._logic.GetSliceCompositeNode()
        composite.SetCompositing(slicer.vtkMRMLSliceCompositeNode.Alpha)
        composite.SetBackgroundVolumeID(self._copy(inputVolume).GetID())
        if overlayNode is not None:
            composite.SetForegroundVolumeID(self._copy(overlayNode).GetID())
            composite.SetForegroundOpacity(opacity)

    def size(self, orientation: str, pixelsPerMm: float) -> tuple[int, int]:
        """Width and height in pixels of a slice that shows the whole volume."""
        across, up, _ = AXES[orientation]
        extent = (self.bounds[1] - self.bounds[0]) * pixelsPerMm
        return max(round(extent[across]), 1), max(round(extent[up]), 1)

    def render(
        self, orientation: str, through: np.ndarray, pixelsPerMm: float, size: tuple[int, int] | None = None
    ) -> Slice:
        """The slice of an orientation through a point in world RAS mm, of the whole volume, with square pixels."""
        width, height = size or self.size(orientation, pixelsPerMm)
        depth = AXES[orientation][2]
        center = self.bounds.mean(axis=0)
        center[depth] = through[depth]
        view = self._view
        unfinished = view.StartModify()
        view.SetOrientation(orientation)
        view.SetDimensions(width, height, 1)
        view.SetFieldOfView(width / pixelsPerMm, height / pixelsPerMm, 1 / pixelsPerMm)
        view.SetXYZOrigin(0, 0, 0)
        sliceToRAS = view.GetSliceToRAS()
        # Slicer puts this point between the middle pixels of an even row, and half a pixel past the middle one of an
        # odd row. Half a pixel back, the outer edges of the first and the last pixel are the volume's own edges.
        axes = slicer.util.arrayFromVTKMatrix(sliceToRAS)[:3, :2]
        center += axes.sum(axis=1) * 0.5 / pixelsPerMm
        for row in range(3):
            sliceToRAS.SetElement(row, 3, center[row])
        view.UpdateMatrices()
        view.EndModify(unfinished)

        blend = self._logic.GetBlend()
        blend.Update()
        output = blend.GetOutput()
        columns, rows, _ = output.GetDimensions()
        rgba = numpy_support.vtk_to_numpy(output.GetPointData().GetScalars()).reshape(rows, columns, -1)[::-1] / 255.0
        flip = np.array([[1, 0, 0, 0], [0, -1, 0, rows - 1], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=float)
        rasFromPixel = slicer.util.arrayFromVTKMatrix(view.GetXYToRAS()) @ flip
        return Slice(orientation, (rgba[..., :3] * rgba[..., 3:]).astype(np.float32), rasFromPixel)

    def _copy(self, node: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLScalarVolumeNode:
        """The node's twin in the renderer's scene: same voxels in memory, same look, same place in the world."""
        colours = node.GetImageData().GetNumberOfScalarComponents() > 1
        twin = (slicer.vtkMRMLVectorVolumeNode if colours else slicer.vtkMRMLScalarVolumeNode)()
        setNodeAffine(twin, affineFromNode(node))
        image = drawableImage(node.GetImageData())
        twin.SetAndObserveImageData(_withoutAlpha(image))
        self._scene.AddNode(twin)
        display = (slicer.vtkMRMLVectorVolumeDisplayNode if colours else slicer.vtkMRMLScalarVolumeDisplayNode)()
        original = node.GetDisplayNode()
        if original is not None and original.IsA(display.GetClassName()):
            display.CopyContent(original)
            if image is node.GetImageData() or not original.GetAutoWindowLevel():
                display.SetAutoWindowLevel(False)  # as it is now; and no histogram of the whole volume
        self._scene.AddNode(display)
        colorNode = original.GetColorNode() if original is not None else None
        if colorNode is not None:
            display.SetAndObserveColorNodeID(self._scene.CopyNode(colorNode).GetID())
        twin.SetAndObserveDisplayNodeID(display.GetID())
        parent = node.GetParentTransformNode()
        if parent is not None:
            twin.SetAndObserveTransformNodeID(self._copyTransform(parent).GetID())
        return twin

    def _copyTransform(self, parent: slicer.vtkMRMLTransformNode) -> slicer.vtkMRMLTransformNode:
        if parent.IsTransformToWorldLinear():
            matrix = vtk.vtkMatrix4x4()
            parent.GetMatrixTransformToWorld(matrix)
            transform = slicer.vtkMRMLLinearTransformNode()
            transform.SetMatrixTransformToParent(matrix)
        else:
            toWorld = vtk.vtkGeneralTransform()
            parent.GetTransformToWorld(toWorld)
            transform = slicer.vtkMRMLTransformNode()
            transform.SetAndObserveTransformToParent(toWorld)
        return self._scene.AddNode(transform)


def _withoutAlpha(image: vtk.vtkImageData) -> vtk.vtkImageData:
    """The first three of four components, as the slice pipeline cannot blend four; any other image as it is."""
    if image.GetNumberOfScalarComponents() < 4:
        return image
    first = vtk.vtkImageExtractComponents()
    first.SetInputData(image)
    first.SetComponents(0, 1, 2)
    first.Update()
    return first.GetOutput()


def orientationsOf(volumeNode: slicer.vtkMRMLVolumeNode) -> tuple[str, ...]:
    """The orientations in which there is something to see: of a volume of one slice the one that shows its face."""
    thin = [axis for axis, size in enumerate(volumeNode.GetImageData().GetDimensions()) if size == 1]
    if len(thin) != 1:
        return ORIENTATIONS
    beside = [0.0, 0.0, 0.0]
    beside[thin[0]] = 1.0
    normal = np.abs(worldFromIJK(volumeNode, tuple(beside)) - worldFromIJK(volumeNode, (0.0, 0.0, 0.0)))
    return tuple(name for name in ORIENTATIONS if AXES[name][2] == int(np.argmax(normal)))


def worldBounds(volumeNode: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Smallest and largest world RAS of the volume's voxels including their outer halves, 2×3 in mm."""
    size = volumeNode.GetImageData().GetDimensions()
    corners = [
        worldFromIJK(volumeNode, (i, j, k))
        for i in (-0.5, size[0] - 0.5)
        for j in (-0.5, size[1] - 0.5)
        for k in (-0.5, size[2] - 0.5)
    ]
    return np.array([np.min(corners, axis=0), np.max(corners, axis=0)])
