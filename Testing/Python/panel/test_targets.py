"""Where the answer is explained, by pressing the real widgets: a segment, a label, a point, against another class."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scene.helpers import makeLabelMap, makeSegmentation, makeVector, makeVolume
from support import UNET

from CAMOverlayLib.demo import DEMO_BUNDLE
from CAMOverlayLib.scene.figure.canvas import Canvas
from CAMOverlayLib.scene.overlay import node as overlays

SHAPE = (24, 20, 16)


def box(*low: int, size: int = 4) -> np.ndarray:
    voxels = np.zeros(SHAPE, np.int16)
    voxels[tuple(slice(start, start + size) for start in low)] = 1
    return voxels


@pytest.fixture
def volume(host):
    return makeVolume(np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.int16), name="Head")


@pytest.fixture
def outline(host):
    return makeSegmentation({"tumor": box(2, 3, 4), "edema": box(12, 8, 6, size=5)}, name="outline")


@pytest.fixture
def points(host):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
    node.AddControlPoint([-28.0, 17.0, 46.0])
    node.AddControlPoint([-20.0, 20.0, 50.0])
    return node


@pytest.fixture
def segmenting(volume, panel, make_bundle):
    """The panel with a small segmentation network of three classes."""
    chain = [{"_target_": f"{name}d", "keys": "image"} for name in ("LoadImage", "EnsureChannelFirst", "EnsureType")]
    panel.chooseBundle(make_bundle(network=UNET, chain=chain))
    return panel


def target(panel) -> str:
    return overlays.resultOf(panel.overlay).target.description


def shown(panel) -> list[str]:
    rows = ("regionSelector", "pointSelector", "partSelector")
    return [name for name in rows if panel.host.real(getattr(panel.ui, name)).isVisible()]


def test_a_segment_then_another_then_a_point(host, segmenting, outline, points):
    panel, ui = segmenting, segmenting.ui
    assert shown(panel) == [] and ui.applyButton.enabled
    host.choose(ui.placeSelector, "Segment or label map")
    assert shown(panel) == ["regionSelector"] and not ui.applyButton.enabled
    assert ui.applyButton.toolTip.startswith("Choose the segmentation or label map")
    host.choose(ui.regionSelector, "outline")
    assert shown(panel) == ["regionSelector", "partSelector"] and ui.partSelector.currentText == "tumor"
    panel.apply("Trust and run")
    assert "64 voxels of mask 'tumor'" in target(panel), ui.messageLabel.text

    host.choose(ui.partSelector, "edema")
    assert panel.panel.busy, "another segment is followed"
    panel.finish()
    assert "125 voxels of mask 'edema'" in target(panel)

    host.choose(ui.placeSelector, "Point")
    assert shown(panel) == ["pointSelector"] and not panel.panel.busy
    host.choose(ui.pointSelector, "F")
    assert shown(panel) == ["pointSelector", "partSelector"]
    panel.finish()
    assert "at RAS (-28.0, 17.0, 46.0) mm" in target(panel)
    host.choose(ui.partSelector, "F-2")
    panel.finish()
    assert "at RAS (-20.0, 20.0, 50.0) mm" in target(panel)

    host.choose(ui.placeSelector, "Whole answer")
    panel.finish()
    assert shown(panel) == [] and "predicted so" in target(panel)


@pytest.mark.slow
def test_labels_of_a_label_map(host, segmenting):
    panel, ui = segmenting, segmenting.ui
    makeLabelMap(box(2, 3, 4) * 3 + box(12, 8, 6) * 5, name="labels")
    host.choose(ui.placeSelector, "Segment or label map")
    host.choose(ui.regionSelector, "labels")
    assert ui.partSelectorLabel.text == "&Label:" and ui.partSelector.currentText == "All labels"
    assert [ui.partSelector.itemData(row) for row in range(3)] == ["", "3", "5"]
    panel.apply("Trust and run")
    assert "128 voxels of mask 'labels'" in target(panel)
    host.choose(ui.partSelector, ui.partSelector.itemText(2))
    panel.finish()
    assert "64 voxels of mask 'labels, label 5'" in target(panel)


@pytest.mark.slow
def test_one_class_against_another(host, segmenting):
    panel, ui = segmenting, segmenting.ui
    host.choose(ui.targetSelector, "lesion")
    host.choose(ui.minusSelector, "lesion")
    assert not ui.applyButton.enabled and "two different classes" in ui.applyButton.toolTip
    host.choose(ui.minusSelector, "healthy")
    panel.apply("Trust and run")
    assert overlays.resultOf(panel.overlay).target.name == "lesion − healthy"
    host.choose(ui.minusSelector, "No other class")
    panel.finish()
    assert overlays.resultOf(panel.overlay).target.name == "lesion"


def test_what_is_edited_or_moved_is_listed_and_waits_for_apply(host, segmenting, outline, points):
    panel, ui = segmenting, segmenting.ui
    host.choose(ui.placeSelector, "Segment or label map")
    host.choose(ui.regionSelector, "outline")
    panel.apply("Trust and run")
    outline.GetSegmentation().GetSegment("id-edema").SetName("swelling")
    host.process()
    assert [ui.partSelector.itemText(row) for row in range(2)] == ["tumor", "swelling"] and not panel.panel.busy
    outline.GetSegmentation().RemoveSegment("id-tumor")
    host.process()
    assert ui.partSelector.currentText == "swelling" and not panel.panel.busy
    outline.GetSegmentation().RemoveAllSegments()
    host.process()
    assert not ui.applyButton.enabled and "no segment yet" in ui.applyButton.toolTip

    host.choose(ui.placeSelector, "Point")
    host.choose(ui.pointSelector, "F")
    panel.finish()
    points.SetNthControlPointPosition(0, -25.0, 15.0, 44.0)
    host.process()
    assert not panel.panel.busy
    panel.apply()
    assert "at RAS (-25.0, 15.0, 44.0) mm" in target(panel)
    points.RemoveAllControlPoints()
    host.process()
    assert not ui.applyButton.enabled and "no point yet" in ui.applyButton.toolTip


def test_a_node_that_goes_is_chosen_no_longer(host, segmenting, outline, points):
    """And none takes its place, although there is another one in the list."""
    panel, ui = segmenting, segmenting.ui
    makeSegmentation({"other": box(1, 1, 1)}, name="another")
    for place, selector, node in (
        ("Segment or label map", ui.regionSelector, outline),
        ("Point", ui.pointSelector, points),
    ):
        host.choose(ui.placeSelector, place)
        host.choose(selector, node.GetName())
        slicer.mrmlScene.RemoveNode(node)
        host.process()
        assert selector.currentNode() is None and not ui.applyButton.enabled
        assert "partSelector" not in shown(panel)


def test_it_is_saved_with_the_scene_and_survives_renaming(host, segmenting, outline, points, tmp_path):
    panel, ui = segmenting, segmenting.ui
    host.choose(ui.minusSelector, "artefact")
    ui.advancedBox.collapsed = False
    host.choose(ui.slicesSelector, "Coronal")
    host.choose(ui.placeSelector, "Point")
    host.choose(ui.pointSelector, "F")
    host.choose(ui.partSelector, "F-2")
    host.choose(ui.placeSelector, "Segment or label map")
    host.choose(ui.regionSelector, "outline")
    host.choose(ui.partSelector, "edema")
    outline.SetName("renamed")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    host.process()
    assert shown(panel) == [] and ui.minusSelector.currentText == "No other class"
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    host.process()
    assert ui.regionSelector.currentNode().GetName() == "renamed" and ui.partSelector.currentText == "edema"
    assert ui.minusSelector.currentText == "artefact" and ui.slicesSelector.currentText == "Coronal"
    assert shown(panel) == ["regionSelector", "partSelector"]
    host.choose(ui.placeSelector, "Point")
    assert ui.pointSelector.currentNode().GetName() == "F" and ui.partSelector.currentText == "F-2"


def test_a_network_with_one_answer_says_so(host, demoVolume, panel, points):
    panel.chooseBundle(DEMO_BUNDLE)
    host.choose(panel.ui.placeSelector, "Point")
    host.choose(panel.ui.pointSelector, "F")
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    panel.apply("Trust and run")
    assert "one answer for the whole volume" in panel.ui.messageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


PICTURES = [
    {"_target_": f"{name}d", "keys": "image"}
    for name in ("LoadImage", "EnsureChannelFirst", "ScaleIntensity", "EnsureType")
]


@pytest.mark.slow
def test_slices_of_a_volume(host, volume, panel, make_bundle):
    panel.chooseBundle(make_bundle(network={**UNET, "spatial_dims": 2}, chain=PICTURES))
    panel.apply("Trust and run")
    assert panel.overlay is not None, panel.ui.messageLabel.text
    assert panel.ui.resolutionLabel.text.endswith("of the volume, given as 16 axial pictures.")
    panel.ui.advancedBox.collapsed = False
    host.choose(panel.ui.slicesSelector, "Sagittal")
    assert panel.panel.busy, "other slices are followed"
    panel.finish()
    assert "sagittal" in overlays.resultOf(panel.overlay).applied


def test_a_colour_picture_is_explained(host, panel, make_bundle, tmp_path):
    """Loaded as any file, grey in all three colours: what has a colour in the view is the overlay."""
    page = Canvas(48, 32, (0, 0, 0))
    page.paste(0, 0, np.random.default_rng(0).uniform(0.4, 0.8, (32, 48, 1)).repeat(3, axis=2))
    photo = slicer.util.loadVolume(str(page.save(tmp_path / "photo.png")))
    panel.panel.preselect()
    panel.chooseBundle(make_bundle(network={**UNET, "spatial_dims": 2, "in_channels": 3}, chain=PICTURES, channels=3))
    before = host.sliceImage("Red").astype(int)
    assert before.max() > 90 and np.ptp(before, axis=2).max() == 0
    panel.apply("Trust and run")
    assert panel.overlay is not None, panel.ui.messageLabel.text
    assert slicer.util.arrayFromVolume(panel.overlay).shape == (1, 32, 48)
    assert overlays.inputVolumeOf(panel.overlay) is photo
    assert np.ptp(host.sliceImage("Red").astype(int), axis=2).max() > 60, "the overlay is seen over the picture"


def test_a_colour_picture_brings_its_channels(host, panel, make_bundle):
    photo = makeVector(np.zeros((8, 6, 1, 3), np.uint8))
    panel.panel.preselect()
    assert panel.ui.inputSelector.currentNode() is photo
    metadata = {
        "name": "photos",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 3, "channel_def": {"0": "R", "1": "G", "2": "B"}}},
            "outputs": {},
        },
    }
    panel.chooseBundle(make_bundle(metadata=metadata))
    assert panel.panel.inputs._channelRows == [] and panel.ui.applyButton.enabled
    makeLabelMap(box(1, 1, 1), name="labels")
    makeVolume(np.zeros((8, 6, 1), np.int16), name="grey")
    names = [panel.ui.inputSelector.nodeFromIndex(row).GetName() for row in range(panel.ui.inputSelector.nodeCount())]
    assert names == ["photo", "grey"], "a label map is no input"
    host.choose(panel.ui.inputSelector, "grey")
    assert [label.text for label, _ in panel.panel.inputs._channelRows] == ["G:", "B:"]
