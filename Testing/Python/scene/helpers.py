"""What the scene tests share: volumes with awkward geometries, heatmaps, and the real volumes where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from CAMOverlayLib.contract.request import FieldOfView, Placement, Prediction, Result, Target
from CAMOverlayLib.contract.target import VolumeFile
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.overlay.sketch import ATTRIBUTE as SKETCH
from CAMOverlayLib.scene.overlay.views import composites

REAL_DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
realVolumes = sorted(REAL_DATA.glob("*.nii.gz"))


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """Rotation by these angles in degrees about R, A and S."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(np.radians([x, y, z])), np.sin(np.radians([x, y, z]))
    return (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )


def affine(directions: np.ndarray, spacing: tuple[float, ...], origin: tuple[float, ...] = (-31.5, 12.25, 40)):
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(directions, dtype=float) @ np.diag(spacing)
    matrix[:3, 3] = origin
    return matrix


SHEAR = np.array([[1, 0.3, -0.1], [0, 1, 0.2], [0, 0, 1]], dtype=float)
GEOMETRIES = {
    "axis-aligned": affine(np.eye(3), (1, 1, 1)),
    "LPS": affine(np.diag([-1, -1, 1]), (1, 1, 1)),
    "flipped": affine(np.diag([1, -1, -1]), (1.5, 1.5, 1.5)),
    "permuted": affine(np.eye(3)[[1, 2, 0]], (0.9, 1.1, 2)),
    "anisotropic": affine(np.eye(3), (0.532, 0.532, 5)),
    "oblique": affine(rotation(17, -33, 49), (0.9, 1.1, 2)),
    "left-handed": affine(rotation(8, 14, -71) @ np.diag([1, 1, -1]), (0.8, 0.8, 1.6)),
    "sheared": affine(rotation(5, 10, 15) @ SHEAR, (1, 1.3, 2.1)),
    "sheared and left-handed": affine(np.diag([-1, 1, 1]) @ SHEAR, (0.7, 1, 3)),
}


def shownSketches():
    """The maps that are not finished which the slice views show, a view each."""
    shown = (slicer.mrmlScene.GetNodeByID(one.GetForegroundVolumeID() or "") for one in composites(slicer.mrmlScene))
    return [node for node in shown if node is not None and node.GetAttribute(SKETCH)]


def makeVolume(
    voxels: np.ndarray,
    matrix: np.ndarray = GEOMETRIES["axis-aligned"],
    name: str = "volume",
    display: bool = True,
    className: str = "vtkMRMLScalarVolumeNode",
):
    """A volume node in the scene out of an I, J, K array, without help from the package."""
    return _makeVolume(voxels.shape, voxels.ravel(order="F"), matrix, name, display, className)


def makeVector(voxels: np.ndarray, matrix: np.ndarray = GEOMETRIES["axis-aligned"], name: str = "photo"):
    """A vector volume node in the scene out of an I, J, K, component array."""
    interleaved = np.ascontiguousarray(voxels.transpose(2, 1, 0, 3)).reshape(-1, voxels.shape[3])
    return _makeVolume(voxels.shape[:3], interleaved, matrix, name, True, "vtkMRMLVectorVolumeNode")


def makeLabelMap(voxels: np.ndarray, matrix: np.ndarray = GEOMETRIES["axis-aligned"], name: str = "labels"):
    """A label map volume node in the scene out of an I, J, K array."""
    return makeVolume(voxels, matrix, name, display=False, className="vtkMRMLLabelMapVolumeNode")


def makeSegmentation(
    segments: dict[str, np.ndarray], matrix: np.ndarray = GEOMETRIES["axis-aligned"], name: str = "outline"
):
    """A segmentation node in the scene out of I, J, K arrays by segment name; the IDs are ``id-NAME``."""
    node = core.ensureScene().AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    vtkMatrix = vtk.vtkMatrix4x4()
    slicer.util.updateVTKMatrixFromArray(vtkMatrix, matrix)
    for key, voxels in segments.items():
        labelmap = slicer.vtkOrientedImageData()
        labelmap.SetDimensions(voxels.shape)
        labelmap.GetPointData().SetScalars(
            numpy_support.numpy_to_vtk(voxels.astype(np.uint8).ravel(order="F"), deep=True)
        )
        labelmap.SetImageToWorldMatrix(vtkMatrix)
        segment = slicer.vtkSegment()
        segment.SetName(key)
        segment.AddRepresentation("Binary labelmap", labelmap)
        node.GetSegmentation().AddSegment(segment, f"id-{key}")
    return node


def _makeVolume(shape, scalars: np.ndarray, matrix: np.ndarray, name: str, display: bool, className: str):
    image = vtk.vtkImageData()
    image.SetDimensions(shape)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(scalars, deep=True))
    node = core.ensureScene().AddNewNodeByClass(className, name)
    vtkMatrix = vtk.vtkMatrix4x4()
    slicer.util.updateVTKMatrixFromArray(vtkMatrix, matrix)
    node.SetIJKToRASMatrix(vtkMatrix)
    node.SetAndObserveImageData(image)
    if display:
        node.CreateDefaultDisplayNodes()
    return node


def makeHeatmap(folder: Path, voxels: np.ndarray, matrix: np.ndarray, name: str = "heatmap") -> VolumeFile:
    """A heatmap file as the computation writes it."""
    path = folder / f"{name}.npy"
    np.save(path, np.asfortranarray(voxels.astype(np.float32)))
    return VolumeFile(path=str(path), affine=tuple(map(tuple, np.asarray(matrix).tolist())), name=name)


def blob(shape: tuple[int, ...], matrix: np.ndarray, center: np.ndarray, sigma: float = 6.0) -> np.ndarray:
    """exp(-r²/2σ²) with r in mm from ``center`` in RAS, sampled at the voxels: the truth in world coordinates."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    ras = index @ np.asarray(matrix)[:3, :3].T + np.asarray(matrix)[:3, 3]
    return np.exp(-((ras - center) ** 2).sum(axis=-1) / (2 * sigma**2)).astype(np.float32)


def makeResult(heatmap: VolumeFile, **changes) -> Result:
    """A result as the computation returns it, with characters in its names that files and XML find awkward."""
    values = {
        "heatmap": heatmap,
        "magnitude": 0.0123456789,
        "peak": (0, 0, 0),
        "peak_ras": (0.0, 0.0, 0.0),
        "prediction": Prediction(("healthy", "lesion"), (-1.5, 2.5), (0.018, 0.982), "softmax", 1),
        "target": Target(1, "lesion", "output before softmax"),
        "layer": "encoder.layer4",
        "method": "gradcam",
        "device": "cpu",
        "bundle": "demo",
        "bundle_name": "Demo; “ü”",
        "bundle_version": "1.0",
        "inputs": ("MRHead",),
        "activation_shape": (6, 6, 6),
        "activation_spacing": (16.0, 16.0, 20.0),
        "network_input_shape": (96, 96, 96),
        "applied": "",
        "field_of_view": FieldOfView(0.8, ((1.0, 0.0, 0.0, 1.5, 7.5),)),
        "placement": Placement("verified", "Alignment verified.", 1.1, "mirrored along I", 0.6, "affine", 0.1),
        "steps": (),
        "warnings": ('a "quoted" <warning> & more;\nsecond line: 100%',),
        "timings": {"forward": 0.5},
        "versions": {"monai": "1.6.1"},
    }
    return Result(**{**values, **changes})


def putUnderTransform(node, matrix):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "transform")
    vtkMatrix = vtk.vtkMatrix4x4()
    slicer.util.updateVTKMatrixFromArray(vtkMatrix, matrix)
    transform.SetMatrixTransformToParent(vtkMatrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def nodeIDs() -> list[str]:
    scene = core.ensureScene()
    return [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())]
