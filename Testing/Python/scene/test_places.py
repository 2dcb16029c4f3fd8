"""Segments, labels and points of the scene, found again in the own space of the volume that is explained."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from scene.helpers import (
    GEOMETRIES,
    affine,
    makeLabelMap,
    makeSegmentation,
    makeVector,
    makeVolume,
    nodeIDs,
    putUnderTransform,
    rotation,
)

from CAMOverlayLib.contract.errors import TargetError
from CAMOverlayLib.contract.target import TargetSpec
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene import target_regions as places
from CAMOverlayLib.scene.io import volumes

SHAPE = (12, 10, 8)
TURNED, SHIFTED = affine(rotation(20, 30, -40), (1.1, 1, 0.9), (5, -7, 11)), affine(np.eye(3), (1, 1, 1), (3, 4, -2))


@pytest.fixture
def volume():
    return makeVolume(np.zeros(SHAPE, np.int16), GEOMETRIES["oblique"], "Head")


def box(value=1, shape=SHAPE):
    voxels = np.zeros(shape, np.int16)
    voxels[3:7, 2:5, 4:6] = value
    return voxels


def worlds(array: np.ndarray, matrix) -> np.ndarray:
    """Where the voxels that are set lie, sorted, N×3."""
    index = np.argwhere(array)
    points = index @ np.asarray(matrix)[:3, :3].T + np.asarray(matrix)[:3, 3]
    return points[np.lexsort(np.round(points, 4).T)]


@pytest.mark.parametrize("make", ["segment", "labels"])
@pytest.mark.parametrize("geometry", ["axis-aligned", "oblique", "left-handed"])
@pytest.mark.parametrize(("ofVolume", "ofMask"), [(None, None), (TURNED, None), (None, TURNED), (TURNED, SHIFTED)])
def test_a_mask_lands_where_it_is_in_the_patient(tmp_path, volume, make, geometry, ofVolume, ofMask):
    """Through its own transform into the world, and back through the volume's: no voxel is resampled."""
    matrix = GEOMETRIES[geometry]
    node = makeSegmentation({"tumor": box()}, matrix) if make == "segment" else makeLabelMap(box(), matrix)
    expected = np.eye(4)
    if ofVolume is not None:
        putUnderTransform(volume, ofVolume)
        expected = np.linalg.inv(ofVolume)
    if ofMask is not None:
        putUnderTransform(node, ofMask)
        expected = expected @ ofMask
    before = nodeIDs()
    file = places.exportMask(node, volume, tmp_path)
    array = np.load(file.path)
    assert array.dtype == np.uint8 and array.sum() == 24 and nodeIDs() == before
    np.testing.assert_allclose(worlds(array, file.affine), worlds(box(), expected @ matrix), atol=1e-5)


def bend(node):
    """Put a node under a transform that is not linear, and return its way into the world."""
    spline = vtk.vtkThinPlateSplineTransform()
    corners = np.array([[x, y, z] for x in (-60, 60) for y in (-60, 60) for z in (-20, 100)] + [[-31, 16, 48]], float)
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for corner in corners:
        source.InsertNextPoint(corner)
        target.InsertNextPoint(corner if corner[0] != -31 else corner + np.array([2.5, -3, 2]))
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bent")
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())


@pytest.mark.parametrize("which", ["volume", "mask", "both"])
def test_a_bent_mask_is_resampled_to_the_volume(tmp_path, volume, which):
    matrix = GEOMETRIES["oblique"]
    node = makeLabelMap(box(), matrix)
    if which != "mask":
        bend(volume)
    if which == "mask":
        bend(node)
    if which == "both":
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    file = places.exportMask(node, volume, tmp_path)
    np.testing.assert_allclose(file.affine, matrix, atol=1e-9)
    expected = np.zeros(SHAPE, bool)
    for index in np.ndindex(SHAPE):
        found = np.rint(volumes.indexFromWorld(node, volumes.worldFromIJK(volume, index)[None])[0]).astype(int)
        if ((found >= 0) & (found < SHAPE)).all():
            expected[index] = box()[tuple(found)] != 0
    array = np.load(file.path) != 0
    if which == "both":
        assert np.array_equal(array, box() != 0), "what bends both moves neither against the other"
    else:
        assert (array != box()).any() and np.mean(array != expected) < 0.01  # but for voxels between two others


def test_segments_that_share_voxels_in_memory_and_begin_anywhere(tmp_path, volume):
    """Slicer keeps segments that do not overlap in one image, and cuts off what is empty around them."""
    rest = np.zeros(SHAPE)
    rest[9:, 8:, 6:] = 1
    node = makeSegmentation({"tumor": box(), "rest": rest}, GEOMETRIES["oblique"])
    with core.vtkMessages():
        node.GetSegmentation().CollapseBinaryLabelmaps(True)
    for name, voxels in {"tumor": box(), "rest": rest}.items():
        file = places.exportMask(node, volume, tmp_path, segment=name)
        assert file.name == name
        np.testing.assert_allclose(
            worlds(np.load(file.path), file.affine), worlds(voxels, GEOMETRIES["oblique"]), atol=1e-5
        )


def test_a_segment_by_id_by_name_or_as_the_only_one(tmp_path, volume):
    node = makeSegmentation({"tumor": box()})
    for wanted in ("id-tumor", "tumor", "Tumor", None):
        assert np.load(places.exportMask(node, volume, tmp_path, segment=wanted).path).sum() == 24
    assert places.segmentsOf(node) == [("id-tumor", "tumor")]


def test_one_label_or_all_of_them(tmp_path, volume):
    voxels = box(2)
    voxels[0, 0, 0] = 7
    node = makeLabelMap(voxels)
    assert np.load(places.exportMask(node, volume, tmp_path).path).sum() == 25
    assert np.load(places.exportMask(node, volume, tmp_path, label=7).path).sum() == 1
    node.CreateDefaultDisplayNodes()
    assert [value for value, _ in places.labelsOf(node)] == [2, 7]


@pytest.mark.parametrize(("ofVolume", "ofPoint"), [(None, None), (TURNED, None), (None, TURNED), (TURNED, SHIFTED)])
def test_a_point_of_the_scene_and_of_the_world(volume, ofVolume, ofPoint):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
    node.AddControlPoint([1.0, 2.0, 3.0])
    node.AddControlPoint([9.0, 9.0, 9.0])
    world = np.array([1.0, 2, 3, 1])
    if ofPoint is not None:
        putUnderTransform(node, ofPoint)
        world = ofPoint @ world
    own = world
    if ofVolume is not None:
        putUnderTransform(volume, ofVolume)
        own = np.linalg.inv(ofVolume) @ world
    assert places.pointIn(volume, node) == pytest.approx(own[:3])
    assert places.pointIn(volume, world[:3]) == pytest.approx(own[:3])


def test_only_points_that_are_placed_count(volume):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
    for x in (1.0, 2.0, 3.0):
        node.AddControlPoint([x, 0, 0])
    node.UnsetNthControlPointPosition(0)
    assert [label for _, label in places.pointsOf(node)] == ["F-2", "F-3"]
    assert places.worldOfPoint(node)[0] == 2 and places.worldOfPoint(node, places.pointsOf(node)[1][0])[0] == 3


def test_class_and_place_become_one_target(tmp_path, volume):
    assert places.targetAt("a-b", volume, tmp_path) == "a-b"
    assert places.targetAt(None, volume, tmp_path, minus="b") == TargetSpec(None, "b")
    assert places.targetAt(2, volume, tmp_path, point=(1, 2, 3)).output == 2
    spec = places.targetAt(TargetSpec("a", "b"), volume, tmp_path, mask=makeSegmentation({"tumor": box()}))
    assert (spec.output, spec.minus, spec.mask.name) == ("a", "b", "tumor")
    assert places.targetAt("a", volume, tmp_path, mask="outline.nii.gz").mask.endswith("/outline.nii.gz")
    assert TargetSpec.from_json(spec.to_json()) == spec


def segmentation(**segments):
    return makeSegmentation(segments)


def surface():
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surface")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", [1, 0, 0], "ball")
    return node


def removed():
    node = makeSegmentation({"tumor": box()}, name="gone")
    slicer.mrmlScene.RemoveNode(node)
    return node


def points(count=0):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
    for x in range(count):
        node.AddControlPoint([float(x), 0, 0])
    return node


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        (lambda: {"mask": segmentation()}, "'outline' has no segments"),
        (lambda: {"mask": segmentation(tumor=np.zeros(SHAPE))}, "'tumor' is empty: none of its voxels is set"),
        (lambda: {"mask": segmentation(a=box(), b=box())}, "'outline' has 2 segments: 'a', 'b'. Name one"),
        (lambda: {"mask": segmentation(a=box()), "segment": "c"}, "has no segment 'c'; there are: 'a'"),
        (lambda: {"mask": segmentation(a=box(), A=box()), "segment": "a"}, "has 2 segments named 'a'"),
        (lambda: {"mask": segmentation(a=box()), "label": 1}, "is a segmentation and has no labels"),
        (
            lambda: {"mask": surface()},
            "'surface' is kept as closed surface and not as voxels. In the module Segmentations",
        ),
        (lambda: {"mask": removed()}, "'gone' has left the scene"),
        (lambda: {"mask": makeLabelMap(np.zeros(SHAPE, np.int16))}, "'labels' is empty"),
        (lambda: {"mask": makeLabelMap(box(3)), "label": 4}, "no voxels of label 4; it has: 3"),
        (lambda: {"mask": makeLabelMap(box()), "segment": "a"}, "is a volume and has no segments"),
        (lambda: {"mask": makeVector(np.ones((4, 4, 4, 3), np.uint8))}, "3 numbers per voxel and is not a mask"),
        (
            lambda: {"mask": slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "new")},
            "'new' has no voxels",
        ),
        (lambda: {"mask": points()}, "No mask can be made of a vtkMRMLMarkups"),
        (lambda: {"mask": 3}, "No mask can be made of a int"),
        (lambda: {"segment": "tumor"}, "without its node"),
        (lambda: {"mask": "file.nii.gz", "label": 1}, "without its node"),
        (lambda: {"point": points()}, "'F' has no point that is placed"),
        (lambda: {"point": (1, 2)}, "is not a point"),
        (lambda: {"point": (1, 2, float("nan"))}, "is not a point"),
        (lambda: {"point": makeLabelMap(box())}, "has no points"),
    ],
)
def test_what_is_wrong_is_said_with_the_remedy(tmp_path, volume, asked, cause):
    asked = asked()
    before = nodeIDs()
    with pytest.raises(TargetError, match=cause) as error:
        places.targetAt(None, volume, tmp_path, **asked)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == [] and nodeIDs() == before


def test_a_bent_mask_beside_the_volume_is_refused(tmp_path, volume):
    node = makeLabelMap(box(), affine(np.eye(3), (1, 1, 1), (500, 500, 500)))
    bend(node)
    with pytest.raises(TargetError, match="lies outside the volume 'Head'"):
        places.exportMask(node, volume, tmp_path)
