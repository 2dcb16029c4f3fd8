"""What the network saw, as a segmentation and as an outline in the picture."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from scene.helpers import GEOMETRIES, makeHeatmap, makeResult, makeVolume

from CAMOverlayLib.contract.errors import PlacementError
from CAMOverlayLib.contract.field_of_view import Region
from CAMOverlayLib.contract.request import FieldOfView
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.figure import picture
from CAMOverlayLib.scene.overlay import field_of_view_segmentation as seen
from CAMOverlayLib.scene.overlay import node as overlay

SHAPE = (20, 18, 16)
BOX = ((1.0, 0.0, 0.0, 3.5, 12.5), (0.0, 1.0, 0.0, 4.5, 15.5), (0.0, 0.0, -1.0, -13.5, -1.5))
TILTED = ((1.0, 0.3, 0.0, 5.0, 15.0), (0.0, 0.0, 1.0, 2.5, 11.5))


def explained(tmp_path, planes, geometry="oblique"):
    matrix = GEOMETRIES[geometry]
    volume = makeVolume(np.random.default_rng(0).integers(50, 90, SHAPE).astype(np.int16), matrix)
    heat = np.zeros(SHAPE, np.float32)
    heat[8, 9, 7] = 1
    share = Region.from_planes(SHAPE, planes).share
    result = makeResult(makeHeatmap(tmp_path, heat, matrix), field_of_view=FieldOfView(share, planes))
    return volume, overlay.addOverlay(result, volume), result


@pytest.mark.parametrize("planes", [BOX, TILTED], ids=["box", "tilted"])
@pytest.mark.parametrize("geometry", ["oblique", "left-handed", "permuted"])
def test_the_segmentation_is_the_region(tmp_path, planes, geometry):
    _volume, node, _ = explained(tmp_path, planes, geometry)
    segmentation = seen.showFieldOfView(node)
    labelmap = segmentation.GetSegmentation().GetSegment("seen").GetRepresentation("Binary labelmap")
    i, _, j, _, k, _ = labelmap.GetExtent()
    inside = np.argwhere(slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentation, "seen").T)
    found = inside + np.array((i, j, k))
    assert np.array_equal(found, np.argwhere(Region.from_planes(SHAPE, planes).mask()))
    toWorld = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(toWorld)
    np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(toWorld), GEOMETRIES[geometry], atol=1e-9)
    display = segmentation.GetDisplayNode()
    assert display.GetVisibility() and display.GetVisibility2DOutline() and not display.GetVisibility2DFill()


def test_under_a_transform_a_saved_scene_has_the_same_region(tmp_path):
    """Its geometry is kept relative to the transform; in the world's, saving would resample the region."""
    volume, node, _ = explained(tmp_path, BOX)
    turned = core.ensureScene().AddNewNodeByClass("vtkMRMLLinearTransformNode", "turned")
    transform = vtk.vtkTransform()
    transform.RotateWXYZ(31, 0.2, 1, -0.4)
    turned.SetMatrixTransformToParent(transform.GetMatrix())
    for each in (volume, node):
        each.SetAndObserveTransformNodeID(turned.GetID())
    seen.showFieldOfView(node)
    name = node.GetName()
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    segmentation = slicer.util.getNode(name).GetNodeReference(seen.ROLE)
    labelmap = segmentation.GetSegmentation().GetSegment("seen").GetRepresentation("Binary labelmap")
    toWorld = vtk.vtkMatrix4x4()
    labelmap.GetImageToWorldMatrix(toWorld)
    found = slicer.util.arrayFromVTKMatrix(toWorld)
    np.testing.assert_allclose(found[:3, :3], GEOMETRIES["oblique"][:3, :3], atol=1e-5)


def test_it_is_made_once_hidden_and_survives_saving(tmp_path):
    _, node, _ = explained(tmp_path, BOX)
    assert seen.showFieldOfView(node, False) is None
    segmentation = seen.showFieldOfView(node)
    assert seen.showFieldOfView(node) is segmentation
    seen.showFieldOfView(node, False)
    assert not segmentation.GetDisplayNode().GetVisibility()
    name = node.GetName()
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    loaded = slicer.util.getNode(name)
    found = seen.showFieldOfView(loaded)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [found]
    assert found.GetSegmentation().GetSegment("seen").GetName() == "seen by the network"


def test_a_volume_that_is_no_overlay_is_refused():
    node = makeVolume(np.zeros(SHAPE, np.int16), name="plain")
    with pytest.raises(PlacementError, match="'plain'.*Explain the volume again"):
        seen.showFieldOfView(node)


def test_the_picture_outlines_the_region_and_tells_the_verdict(tmp_path):
    volume, node, result = explained(tmp_path, BOX, "axis-aligned")
    footer = picture._words(volume, node)[2]
    assert any("Alignment verified" in line for line in footer) and any("Outlined: the" in line for line in footer)
    words = np.asarray(picture.drawPicture(volume, node, "", "", []).image) / 255
    whole = makeResult(result.heatmap, field_of_view=FieldOfView(1.0, ()))
    overlay.setProvenance(node, whole, volume)
    without = np.asarray(picture.drawPicture(volume, node, "", "", []).image) / 255
    changed = np.abs(words - without).max(-1) > 0.05
    assert changed.any()
    blue = words[changed]
    assert (blue[:, 2] > blue[:, 0]).mean() > 0.9, "the outline is drawn in its colour"


def test_what_no_planes_bound_is_said_and_not_drawn_as_the_whole_volume(tmp_path):
    _, node, result = explained(tmp_path, BOX)
    other = makeResult(result.heatmap, field_of_view=FieldOfView(0.29, None))
    assert type(other).from_json(other.to_json()).field_of_view.planes is None
    _, node = None, overlay.addOverlay(other, overlay.inputVolumeOf(node))
    with pytest.raises(PlacementError, match="no outline that could be drawn: it is 29%"):
        seen.showFieldOfView(node)
