"""Slices of a volume with its overlay, blended by Slicer's own slice pipeline, without a window.

The pipeline runs in a scene of its own, which shares the voxels with the user's scene and copies what decides how
they look. The user's nodes, views, undo history and modified flags see nothing of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from ..core import drawableImage
from ..io.volumes import affineFromNode, setNodeAffine, worldFromIJK

ORIENTATIONS = ("Axial", "Coronal", "Sagittal")

AXES = {"Axial": (0, 1, 2), "Coronal": (0, 2, 1), "Sagittal": (1, 2, 0)}
"""RAS axis across, RAS axis upwards, RAS axis through the slice, of each orientation."""
PICTURE_FILES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif")


OBLIQUE = 3.0
"""Degrees by which a volume's axes may be off the patient's and still be cut along the patient's."""
SECOND_LETTER = 0.34
"""Share of a direction that earns a letter of its own: an edge 20° off the patient's right towards the front is
``RA``."""


@dataclass(frozen=True)
class Plane:
    """Where to cut a volume, and how the slice lies on the page. All vectors are unit vectors in world RAS.

    Attributes:
        name: ``Axial``, ``Coronal`` or ``Sagittal``: what it is, or comes nearest to; ``Photo`` of a picture that is
            of no patient, as far as its geometry says.
        across, up: where the right and the upper edge of the slice point; they are perpendicular.
        axis: the volume's own axis (0, 1, 2 for I, J, K) that counts such slices, None where it is cut along the
            patient's.
    """

    name: str
    across: tuple[float, float, float]
    up: tuple[float, float, float]
    axis: int | None = None

    @property
    def normal(self) -> np.ndarray:
        return np.cross(self.across, self.up)

    @property
    def isPhoto(self) -> bool:
        return self.name == "Photo"


PATIENT = {
    "Axial": Plane("Axial", (-1, 0, 0), (0, 1, 0)),
    "Coronal": Plane("Coronal", (-1, 0, 0), (0, 0, 1)),
    "Sagittal": Plane("Sagittal", (0, -1, 0), (0, 0, 1)),
}
"""The patient's planes as Slicer shows them: the patient's right on the left of the page, in sagittal ones the
front."""


@dataclass(frozen=True)
class Slice:
    """One rendered slice.

    Attributes:
        plane: where the volume was cut.
        pixels: RGB in [0, 1], height × width × 3, first row on top.
        rasFromPixel: 4×4, from (column, row, 0, 1) to world RAS mm.
    """

    plane: Plane
    pixels: np.ndarray
    rasFromPixel: np.ndarray

    @property
    def orientation(self) -> str:
        """``Axial``, ``Coronal`` or ``Sagittal``: the patient's plane that it is, or comes nearest to."""
        return self.plane.name

    def pixelOf(self, ras: np.ndarray) -> tuple[float, float]:
        """Column and row of a point in world RAS mm, perpendicularly projected on the slice."""
        column, row, _, _ = np.linalg.inv(self.rasFromPixel) @ [*ras, 1]
        return float(column), float(row)

    @property
    def letters(self) -> dict[str, str]:
        """Anatomical direction at the ``left``, ``right``, ``top`` and ``bottom`` edge, from the slice's geometry; none
        where it is of no patient. Where an edge lies between two directions it has both letters, the nearer one
        first."""
        if self.plane.isPhoto:
            return {}
        right, down = self.rasFromPixel[:3, 0], self.rasFromPixel[:3, 1]
        edges = {"left": -right, "right": right, "top": -down, "bottom": down}
        return {edge: directionLetters(direction) for edge, direction in edges.items()}


def directionLetters(direction: np.ndarray) -> str:
    """``R``, ``L``, ``A``, ``P``, ``S``, ``I`` or several of them: where a vector in RAS points, its largest part
    first."""
    unit = np.asarray(direction, dtype=float) / np.linalg.norm(direction)
    order = sorted(range(3), key=lambda axis: -abs(unit[axis]))
    said = [axis for place, axis in enumerate(order) if place == 0 or abs(unit[axis]) >= SECOND_LETTER]
    return "".join(("RAS" if unit[axis] > 0 else "LPI")[axis] for axis in said)


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
        self._corners = worldCorners(inputVolume)
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

    def extent(self, plane: Plane | str) -> np.ndarray:
        """Width and height in mm of a slice that shows the whole volume."""
        across, up = self._bounds(_plane(plane))[:2]
        return np.array([across[1] - across[0], up[1] - up[0]])

    def size(self, plane: Plane | str, pixelsPerMm: float) -> tuple[int, int]:
        """Width and height in pixels of a slice that shows the whole volume."""
        across, up = self.extent(plane) * pixelsPerMm
        return max(round(across), 1), max(round(up), 1)

    def _bounds(self, plane: Plane) -> np.ndarray:
        """Smallest and largest position of the volume's corners across, upwards and through a plane: 3×2 in mm."""
        positions = self._corners @ np.array([plane.across, plane.up, plane.normal]).T
        return np.stack([positions.min(axis=0), positions.max(axis=0)], axis=1)

    def render(
        self, plane: Plane | str, through: np.ndarray, pixelsPerMm: float, size: tuple[int, int] | None = None
    ) -> Slice:
        """The slice of a plane (or of the patient's plane of that name) through a point in world RAS mm, of the whole
        volume, with square pixels."""
        plane = _plane(plane)
        width, height = size or self.size(plane, pixelsPerMm)
        directions = np.array([plane.across, plane.up, plane.normal], dtype=float)
        middle = self._bounds(plane).mean(axis=1)
        middle[2] = directions[2] @ through
        center = middle @ directions
        view = self._view
        unfinished = view.StartModify()
        for column, direction in enumerate(directions):
            for row in range(3):
                view.GetSliceToRAS().SetElement(row, column, direction[row])
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
        return Slice(plane, (rgba[..., :3] * rgba[..., 3:]).astype(np.float32), rasFromPixel)

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


def planesOf(volumeNode: slicer.vtkMRMLVolumeNode, flat: bool = False) -> tuple[Plane, ...]:
    """Where to cut a volume so that its slices show what is in them.

    The patient's three planes where the volume's axes follow them; else the volume's own, each turned on the page as
    the
    patient's plane that it is nearest to. Where there is one slice only, the one that shows its face; where it is a
    picture of no patient, as its file has it.

    Args:
        flat: the network sees slices of the volume, so that those are shown even where they are a little oblique.
    """
    if isPhoto(volumeNode):
        directions = _directions(volumeNode)
        return (Plane("Photo", tuple(directions[:, 0]), tuple(-directions[:, 1]), 2),)
    names = orientationsOf(volumeNode)
    parent = volumeNode.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        return tuple(PATIENT[name] for name in names)  # its planes are bent
    directions = _directions(volumeNode)
    matches = _nearest(directions)
    off = max(np.degrees(np.arccos(min(1.0, abs(directions[ras, axis])))) for axis, ras in enumerate(matches))
    if off <= (0.1 if flat else OBLIQUE):
        return tuple(PATIENT[name] for name in names)
    thin = [axis for axis, size in enumerate(volumeNode.GetImageData().GetDimensions()) if size == 1]
    own = (_ownPlane(directions, matches, name) for name in ORIENTATIONS)
    return tuple(plane for plane in own if len(thin) != 1 or plane.axis == thin[0])


def _ownPlane(directions: np.ndarray, matches: tuple[int, ...], name: str) -> Plane:
    """The volume's own plane that is nearest to one of the patient's, turned on the page like that one."""
    like, (across, up, through) = PATIENT[name], AXES[name]
    x, y = directions[:, matches.index(across)], directions[:, matches.index(up)]
    x, y = x * np.sign(x @ like.across), y * np.sign(y @ like.up)
    y = y - (y @ x) * x  # of a sheared volume, within the plane
    return Plane(name, tuple(x), tuple(y / np.linalg.norm(y)), matches.index(through))


def _directions(volumeNode: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """3×3: where the volume's axes point in the world, as unit columns."""
    origin = worldFromIJK(volumeNode, (0.0, 0.0, 0.0))
    columns = np.array([worldFromIJK(volumeNode, tuple(step)) - origin for step in np.eye(3)]).T
    return columns / np.linalg.norm(columns, axis=0)


def _nearest(directions: np.ndarray) -> tuple[int, ...]:
    """For each axis of the volume the RAS axis that it stands for: each one once, the best of all ways to pair them."""
    pairs = permutations(range(3))
    return max(pairs, key=lambda ras: sum(abs(directions[r, axis]) for axis, r in enumerate(ras)))


def isPhoto(volumeNode: slicer.vtkMRMLVolumeNode) -> bool:
    """Whether a volume is one picture without a place in a patient: an image file, or a geometry that nobody has
    set."""
    if volumeNode.GetImageData().GetDimensions()[2] != 1:
        return False
    storage = volumeNode.GetStorageNode()
    if Path((storage.GetFileName() if storage is not None else "") or "").suffix.casefold() in PICTURE_FILES:
        return True
    matrix = affineFromNode(volumeNode)
    return any(np.allclose(matrix, unset, atol=1e-6) for unset in (np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])))


def worldCorners(volumeNode: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """World RAS of the volume's eight corners, of the voxels' outer halves: 8×3 in mm."""
    size = volumeNode.GetImageData().GetDimensions()
    return np.array(
        [
            worldFromIJK(volumeNode, (i, j, k))
            for i in (-0.5, size[0] - 0.5)
            for j in (-0.5, size[1] - 0.5)
            for k in (-0.5, size[2] - 0.5)
        ]
    )


def worldBounds(volumeNode: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """Smallest and largest world RAS of the volume's voxels including their outer halves, 2×3 in mm."""
    corners = worldCorners(volumeNode)
    return np.array([corners.min(axis=0), corners.max(axis=0)])


def _plane(plane: Plane | str) -> Plane:
    return PATIENT[plane] if isinstance(plane, str) else plane
