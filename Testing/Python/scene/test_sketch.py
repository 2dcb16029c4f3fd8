"""A map that is not finished in the slice views, and the views as they were when it goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from scene.helpers import GEOMETRIES, makeHeatmap, makeResult, makeVolume, nodeIDs

from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io.exported import ExportedVolumes
from CAMOverlayLib.scene.io.volumes import affineFromNode
from CAMOverlayLib.scene.overlay import colormaps
from CAMOverlayLib.scene.overlay import node as overlay
from CAMOverlayLib.scene.overlay.heat_view import heatIsSeen
from CAMOverlayLib.scene.overlay.sketch import ATTRIBUTE, Sketch
from CAMOverlayLib.scene.overlay.views import placeOf

SHAPE = (8, 7, 6)


@pytest.fixture
def inputVolume():
    return makeVolume(np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16), GEOMETRIES["oblique"], "MR & Head")


@pytest.fixture
def exported(inputVolume, tmp_path):
    return ExportedVolumes.write((inputVolume,), str(tmp_path))


@pytest.fixture
def drawn(tmp_path):
    """A map on voxels twice as large."""
    (tmp_path / "drawn").mkdir()
    step = np.diag([2.0, 2, 2, 1])
    step[:3, 3] = 0.5
    heat = np.random.default_rng(0).random((4, 4, 3)).astype(np.float32)
    return makeHeatmap(tmp_path / "drawn", heat, GEOMETRIES["oblique"] @ step), heat


def views():
    return [
        (c.GetBackgroundVolumeID(), c.GetForegroundVolumeID(), c.GetForegroundOpacity(), c.GetCompositing())
        for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    ]


def shown():
    return slicer.mrmlScene.GetNodeByID(views()[0][1] or "")


def test_it_lies_where_it_belongs_and_goes_without_a_trace(inputVolume, exported, drawn):
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    inputVolume.SetAndObserveTransformNodeID(transform.GetID())
    file, heat = drawn
    colormaps.colorTableNode(slicer.mrmlScene)
    before, nodes = views(), nodeIDs()
    sketch = Sketch(exported, None, 0.4)
    sketch.show(file)
    node = shown()
    assert node.GetAttribute(ATTRIBUTE)
    assert node.GetName() == "MR + Head - not finished"
    assert [(v[0], v[2]) for v in views()] == [(inputVolume.GetID(), 0.4)] * 3
    assert np.array_equal(slicer.util.arrayFromVolume(node), heat.T)
    assert np.allclose(affineFromNode(node), file.affine)
    assert node.GetParentTransformNode() is transform
    assert node.GetHideFromEditors()
    assert not overlay.isOverlay(node)
    sketch.show(file)
    assert shown() is node, "the next one on the same node"
    sketch.clear()
    assert views() == before
    assert nodeIDs() == nodes
    sketch.clear()
    assert views() == before


@pytest.mark.parametrize("end", ["given up", "finished", "user moved on"])
def test_heat_that_no_slice_shows_is_brought_into_view_and_the_slices_go_back_if_nothing_comes(exported, drawn, end):
    slices = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    for view in slices:
        view.SetFieldOfView(40, 40, 1)
        view.SetDimensions(200, 200, 1)
        view.JumpSliceByOffsetting(500, 500, 500)
    before = [placeOf(view) for view in slices]
    sketch = Sketch(exported, None, 0.4)
    sketch.show(drawn[0])
    assert heatIsSeen(shown())
    there = [placeOf(view) for view in slices]
    assert not np.allclose(there, before)
    if end == "user moved on":
        slices[0].JumpSliceByOffsetting(300, 300, 300)
    left = placeOf(slices[0])
    sketch.clear(back=end != "finished")
    after = [placeOf(view) for view in slices]
    if end == "finished":
        assert np.array_equal(after, there)
    else:
        assert np.array_equal(after[1:], before[1:])
        assert np.array_equal(after[0], left if end == "user moved on" else before[0])


def test_it_looks_like_the_overlay_it_stands_for(inputVolume, exported, drawn, tmp_path):
    node = overlay.addOverlay(
        makeResult(makeHeatmap(tmp_path, np.ones(SHAPE, np.float32), GEOMETRIES["oblique"])), inputVolume
    )
    overlay.setColorMap(node, "sea")
    overlay.setThreshold(node, 0.4, 0.9)
    before = views()
    sketch = Sketch(exported, node, 0.7)
    sketch.show(drawn[0])
    display, wanted = shown().GetDisplayNode(), node.GetDisplayNode()
    assert shown() is not node
    assert display.GetColorNodeID() == wanted.GetColorNodeID()
    assert (display.GetLowerThreshold(), display.GetUpperThreshold()) == (0.4, 0.9)
    sketch.clear()
    assert views() == before


def test_what_the_user_chose_meanwhile_stays(inputVolume, exported, drawn):
    sketch = Sketch(exported, None, 0.4)
    before = views()
    sketch.show(drawn[0])
    first, *_others = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    other = makeVolume(np.zeros(SHAPE, np.int16), GEOMETRIES["oblique"], "other")
    first.SetForegroundVolumeID(other.GetID())
    sketch.clear()
    assert first.GetForegroundVolumeID() == other.GetID()
    assert views()[1:] == before[1:]


def test_it_is_not_saved(inputVolume, exported, drawn, tmp_path):
    inputVolume.SetName("MRHead")  # a scene with an & in a volume's name is one that Slicer cannot read again
    sketch = Sketch(exported, None, 0.4)
    sketch.show(drawn[0])
    core.saveScene(tmp_path / "scene.mrb")
    slicer.mrmlScene.Clear(0)
    core.loadScene(tmp_path / "scene.mrb")
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert [node.GetName() for node in volumes if node.GetAttribute(ATTRIBUTE)] == []
    sketch.clear()


def test_a_scene_that_was_closed_or_a_file_that_is_gone_changes_nothing(inputVolume, exported, drawn):
    sketch = Sketch(exported, None, 0.4)
    before, nodes = views(), nodeIDs()
    Path(drawn[0].path).rename(f"{drawn[0].path}.away")
    sketch.show(drawn[0])
    assert (views(), nodeIDs()) == (before, nodes)
    Path(f"{drawn[0].path}.away").rename(drawn[0].path)
    sketch.show(drawn[0])
    slicer.mrmlScene.Clear(0)
    sketch.clear()
    sketch.show(drawn[0])
    assert not any(node.GetAttribute(ATTRIBUTE) for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))


def test_a_volume_that_moved_gets_none(inputVolume, exported, drawn):
    before = views()
    inputVolume.SetSpacing(3, 3, 3)
    Sketch(exported, None, 0.4).show(drawn[0])
    assert views() == before
