"""What hangs on an overlay beside the heatmap: put with it, renewed with it, saved with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
import slicer.util

from CAMOverlayLib.contract.errors import PlacementError
from CAMOverlayLib.contract.request import FurtherVolume
from CAMOverlayLib.report.page import write_page
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.figure.further_maps import furtherMapsOf
from CAMOverlayLib.scene.figure.report import shownOf
from CAMOverlayLib.scene.io.volumes import affineFromNode, voxelsOf
from CAMOverlayLib.scene.overlay import colormaps, further, shown
from CAMOverlayLib.scene.overlay import node as overlay

from .helpers import GEOMETRIES, makeHeatmap, makeResult, makeVolume, nodeIDs, putUnderTransform, rotation
from .test_findings import segmentVoxels

SHAPE = (9, 8, 7)


@pytest.fixture
def explained(tmp_path):
    """An oblique volume under a transform, and a function that makes results of it with scalar maps of these names."""
    matrix = GEOMETRIES["oblique"]
    volume = makeVolume(np.zeros(SHAPE, np.int16), matrix)
    turn = np.eye(4)
    turn[:3, :3] = rotation(10, 20, 30)
    putUnderTransform(volume, turn)

    def make(*names, seed=0, shape=SHAPE, highest=1.0):
        random = np.random.default_rng(seed)
        maps = [
            FurtherVolume(name, makeHeatmap(tmp_path, random.random(shape), matrix, name), f"words of {name}", highest)
            for name in names
        ]
        return makeResult(makeHeatmap(tmp_path, random.random(SHAPE), matrix), further=tuple(maps))

    return volume, make


def test_a_map_lies_on_the_volumes_grid_under_its_transform_with_colours_of_its_own(explained):
    volume, make = explained
    result = make("probability", "deviation", highest=0.5)
    node = overlay.addOverlay(result, volume)
    found = further.nodes(node)
    assert sorted(found) == ["deviation", "probability"]
    for said in result.further:
        one = found[said.name]
        np.testing.assert_array_equal(voxelsOf(one), np.load(said.file.path))
        np.testing.assert_allclose(affineFromNode(one), affineFromNode(volume), atol=1e-9)
        assert one.GetTransformNodeID() == volume.GetTransformNodeID()
        assert one.GetName() == f"{node.GetName()} - {said.name}" and one.GetDescription() == f"words of {said.name}"
        display = one.GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 0.5)
        assert further.isFurther(one) and not overlay.isOverlay(one)
    tables = {one.GetDisplayNode().GetColorNode().GetName() for one in (node, *found.values())}
    assert len(tables) == 3
    assert found["probability"].GetDisplayNode().GetColorNode() is colormaps.colorTableNode(slicer.mrmlScene, "leaf")
    assert all(one.file.path == "" for one in overlay.resultOf(node).further)
    assert [one.words for one in overlay.resultOf(node).further] == ["words of probability", "words of deviation"]


def test_computed_anew_they_are_renewed_in_place_and_what_was_not_asked_again_goes(explained):
    volume, make = explained
    node = overlay.addOverlay(make("probability", "entropy"), volume)
    before = further.nodes(node)
    before["probability"].GetDisplayNode().SetWindowLevelMinMax(0.2, 0.7)
    before["probability"].SetName("mine")
    count = len(nodeIDs())
    again = make("probability", seed=5)
    assert overlay.addOverlay(again, volume, node) is node
    now = further.nodes(node)
    assert list(now) == ["probability"] and now["probability"] is before["probability"]
    np.testing.assert_array_equal(voxelsOf(now["probability"]), np.load(again.further[0].file.path))
    assert now["probability"].GetDisplayNode().GetWindowLevelMax() == pytest.approx(0.7), "the user's choice stays"
    assert now["probability"].GetName() == "mine"
    assert before["entropy"].GetScene() is None and len(nodeIDs()) == count - 2, "with its display"
    other = replace(make("probability"), target=replace(again.target, name="another"))
    overlay.addOverlay(other, volume, node)
    assert node.GetName().endswith("another - encoder.layer4") and now["probability"].GetName() == "mine"


@pytest.mark.parametrize("wrong", ["shape", "missing", "nan"])
def test_all_or_nothing(explained, wrong):
    volume, make = explained
    result = make("probability", "entropy", shape=(3, 4, 5) if wrong == "shape" else SHAPE)
    if wrong == "missing":
        result = replace(
            result,
            further=tuple(replace(one, file=replace(one.file, path=one.file.path + "x")) for one in result.further),
        )
    if wrong == "nan":
        path = result.further[1].file.path
        np.save(path, np.asfortranarray(np.where(np.load(path) > 0.9, np.nan, 0).astype(np.float32)))
    before = nodeIDs()
    with pytest.raises(PlacementError, match=r"map 'entropy'|map 'probability'"):
        overlay.addOverlay(result, volume)
    assert nodeIDs() == before


def test_they_are_saved_with_the_scene_and_found_again(explained, tmp_path):
    volume, make = explained
    result = make("probability", "entropy")
    node = overlay.addOverlay(result, volume)
    identifier = node.GetID()
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    found = further.nodes(slicer.mrmlScene.GetNodeByID(identifier))
    assert sorted(found) == ["entropy", "probability"]
    for said in result.further:
        np.testing.assert_allclose(voxelsOf(found[said.name]), np.load(said.file.path), atol=1e-6)
    assert found["entropy"].GetDisplayNode().GetColorNode().GetName() == "CAMOverlay plum"


def test_the_views_show_one_of_them_or_the_heat(explained):
    volume, make = explained
    node = overlay.addOverlay(make("probability", "entropy"), volume)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    foregrounds = lambda: {c.GetForegroundVolumeID() for c in composites}
    assert further.foregroundOf(node) == "" and foregrounds() == {node.GetID()}
    further.toForeground(node, "entropy")
    assert further.foregroundOf(node) == "entropy" and foregrounds() == {further.nodes(node)["entropy"].GetID()}
    overlay.addOverlay(make("probability", "entropy", seed=2), volume, node)
    assert further.foregroundOf(node) == "entropy", "who looked at it goes on looking at it"
    overlay.addOverlay(make("probability", seed=3), volume, node)
    assert foregrounds() == {node.GetID()}, "it is gone, and the heat is shown"
    further.toForeground(node, "probability")
    further.toForeground(node, "")
    assert foregrounds() == {node.GetID()}


# The prediction ------------------------------------------------------------------------------------------------------

NAMES = ("background", "liver", "spleen", "left kidney")


def predicted(volume, folder, labels, overlapping=False, dtype=np.uint8, names=NAMES, seed=0):
    matrix = affineFromNode(volume)
    file = makeHeatmap(folder, labels, matrix, "prediction")
    np.save(file.path, np.asfortranarray(labels.astype(dtype)))
    said = FurtherVolume("prediction", file, "words", float(labels.max()), names, overlapping)
    heat = np.random.default_rng(seed).random(labels.shape)
    return makeResult(makeHeatmap(folder, heat, matrix), further=(said,))


def segmentsOf(segmentation, volume) -> dict[str, np.ndarray]:
    """By segment name its mask on the volume's grid."""
    inner = segmentation.GetSegmentation()
    keys = [inner.GetNthSegmentID(n) for n in range(inner.GetNumberOfSegments())]
    return {inner.GetSegment(key).GetName(): segmentVoxels(segmentation, volume, key) for key in keys}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_prediction_is_a_segmentation_with_the_classes_names_outlined(explained, tmp_path, dtype):
    volume, _ = explained
    labels = np.zeros(SHAPE, int)
    labels[1:4, 2:5, 1:6], labels[5:8, 1:4, 2:4] = 1, 3
    node = overlay.addOverlay(predicted(volume, tmp_path, labels, dtype=dtype), volume)
    segmentation = further.nodes(node)["prediction"]
    assert segmentation.GetTransformNodeID() == volume.GetTransformNodeID()
    found = segmentsOf(segmentation, volume)
    assert set(found) == {"liver", "left kidney"}, "what is predicted nowhere has no segment"
    np.testing.assert_array_equal(found["liver"], labels == 1)
    np.testing.assert_array_equal(found["left kidney"], labels == 3)
    display = segmentation.GetDisplayNode()
    assert display.GetVisibility() and display.GetVisibility2DOutline() and not display.GetVisibility2DFill()
    colors = {segmentation.GetSegmentation().GetSegment(key).GetColor() for key in ("class_1", "class_3")}
    assert len(colors) == 2 and all(max(color) - min(color) > 0.5 for color in colors)
    images = [
        segmentation.GetSegmentation().GetSegment(key).GetRepresentation("Binary labelmap")
        for key in ("class_1", "class_3")
    ]
    assert images[0] is images[1], "one label map, however many classes"


def test_segments_have_slicers_generic_colours_where_it_has_them(explained, tmp_path):
    volume, _ = explained
    table = slicer.vtkMRMLColorTableNode()
    table.SetTypeToUser()
    table.SetNumberOfColors(3)
    table.SetColor(1, "tissue", 0.5, 0.68, 0.5)
    table.SetSingletonTag("FileGenericColors.txt")
    slicer.mrmlScene.AddNode(table)
    node = overlay.addOverlay(predicted(volume, tmp_path, np.ones(SHAPE, int)), volume)
    segment = further.nodes(node)["prediction"].GetSegmentation().GetSegment("class_1")
    assert segment.GetColor() == pytest.approx((0.5, 0.68, 0.5), abs=1 / 255)


def test_classes_that_share_voxels_are_segments_of_their_own(explained, tmp_path):
    volume, _ = explained
    masks = np.random.default_rng(1).random((4, *SHAPE)) > 0.6
    masks[2] = False
    labels = sum(mask.astype(int) << n for n, mask in enumerate(masks))
    node = overlay.addOverlay(predicted(volume, tmp_path, labels, overlapping=True), volume)
    found = segmentsOf(further.nodes(node)["prediction"], volume)
    assert set(found) == {"background", "liver", "left kidney"}
    for n in (0, 1, 3):
        np.testing.assert_array_equal(found[NAMES[n]], masks[n])


def test_another_prediction_takes_its_place_and_what_the_user_chose_stays(explained, tmp_path):
    volume, _ = explained
    labels = np.zeros(SHAPE, int)
    labels[1:4], labels[6:] = 1, 2
    node = overlay.addOverlay(predicted(volume, tmp_path, labels), volume)
    segmentation = further.nodes(node)["prediction"]
    segmentation.GetSegmentation().GetSegment("class_1").SetColor(1, 0, 1)
    segmentation.GetDisplayNode().SetSegmentVisibility("class_1", False)
    segmentation.GetDisplayNode().SetVisibility(False)
    again = np.zeros(SHAPE, int)
    again[2:5, 3:], again[7:, :2] = 1, 3
    overlay.addOverlay(predicted(volume, tmp_path, again), volume, node)
    assert further.nodes(node)["prediction"] is segmentation
    found = segmentsOf(segmentation, volume)
    assert set(found) == {"liver", "left kidney"}
    np.testing.assert_array_equal(found["liver"], again == 1)
    assert segmentation.GetSegmentation().GetSegment("class_1").GetColor() == (1, 0, 1)
    display = segmentation.GetDisplayNode()
    assert not display.GetSegmentVisibility("class_1") and display.GetSegmentVisibility("class_3")
    assert not display.GetVisibility()
    nothing = predicted(volume, tmp_path, np.zeros(SHAPE, int))
    overlay.addOverlay(nothing, volume, node)
    assert segmentsOf(segmentation, volume) == {}


def test_a_saved_prediction_is_the_same(explained, tmp_path):
    volume, _ = explained
    labels = np.random.default_rng(4).integers(0, 4, SHAPE)
    node = overlay.addOverlay(predicted(volume, tmp_path, labels), volume)
    identifier, name = node.GetID(), volume.GetName()
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    node, volume = slicer.mrmlScene.GetNodeByID(identifier), slicer.util.getNode(name)
    found = segmentsOf(further.nodes(node)["prediction"], volume)
    for n in (1, 2, 3):
        np.testing.assert_array_equal(found[NAMES[n]], labels == n)
    assert not further.nodes(node)["prediction"].GetDisplayNode().GetVisibility2DFill()


@pytest.mark.parametrize("overlapping", [False, True])
def test_the_report_draws_what_the_scene_shows(explained, tmp_path, overlapping):
    volume, make = explained
    labels = np.zeros(SHAPE, int)
    labels[1:4, 2:5, 1:6], labels[5:8, 1:4, 2:4] = 1, 3
    bits = np.where(labels > 0, 1 << labels, 0) if overlapping else labels
    result = predicted(volume, tmp_path, bits, overlapping=overlapping)
    result = replace(result, further=(*result.further, *make("probability", highest=0.5).further))
    node = overlay.addOverlay(result, volume)
    found = {one.name: one for one in furtherMapsOf(node, volume)}
    assert found["prediction"].classes == ("liver", "left kidney")
    np.testing.assert_array_equal(found["prediction"].values, np.choose(labels, (0, 1, 0, 2)))
    segments = further.nodes(node)["prediction"].GetSegmentation()
    np.testing.assert_allclose(found["prediction"].colors[0], segments.GetSegment("class_1").GetColor())
    np.testing.assert_array_equal(found["probability"].values, voxelsOf(further.nodes(node)["probability"]))
    assert found["probability"].highest == 0.5
    drawn = found["prediction"].over(shownOf(volume, node))
    assert np.array_equal((drawn.heat * 2).astype(int)[labels > 0], np.choose(labels, (0, 0, 0, 1))[labels > 0])
    assert not drawn.heat[labels == 0].any()
    page = write_page(overlay.resultOf(node), shownOf(volume, node), with_viewer=False)
    assert page.count("slice with the prediction over the image") == 3
    assert page.count("slice with the probability over the image") == 3
    display = further.nodes(node)["prediction"].GetDisplayNode()
    display.SetSegmentVisibility("class_1", False)
    assert furtherMapsOf(node, volume)[0].classes == ("left kidney",)


@pytest.mark.parametrize("wrong", ["label", "type", "shape"])
def test_a_spoilt_prediction_changes_nothing(explained, tmp_path, wrong):
    volume, _ = explained
    labels = np.zeros((3, 4, 5) if wrong == "shape" else SHAPE, int)
    labels[0, 0, 0] = 4 if wrong == "label" else 1
    result = predicted(volume, tmp_path, labels, dtype=np.float32 if wrong == "type" else np.uint8)
    result = replace(result, heatmap=makeHeatmap(tmp_path, np.zeros(SHAPE), affineFromNode(volume), "heat"))
    before = nodeIDs()
    with pytest.raises(PlacementError, match="map 'prediction'"):
        overlay.addOverlay(result, volume)
    assert nodeIDs() == before


def test_the_legend_goes_with_the_map_that_is_shown(explained):
    volume, make = explained
    node = overlay.addOverlay(make("probability", "entropy", highest=0.5), volume)
    logic = slicer.vtkSlicerColorLogic
    shown.showLegend(node)
    assert shown.showMap(node, "probability") and shown.legendShown(node) and not overlay.legendShown(node)
    legend = logic.GetColorLegendDisplayNode(further.nodes(node)["probability"])
    assert legend.GetTitleText() == "probability\nlesion" and legend.GetLabelFormat() == "%.2f"
    assert shown.showMap(node, "entropy")
    assert not legend.GetVisibility()
    assert logic.GetColorLegendDisplayNode(further.nodes(node)["entropy"]).GetTitleText() == "entropy\nbits"
    assert not shown.showMap(node, "nothing") and further.foregroundOf(node) == "entropy"
    before = set(nodeIDs())
    overlay.addOverlay(make(), volume, node)
    gone = before - set(nodeIDs())
    assert len(gone) == 6, "two volumes, their displays and their legends"
    assert set(nodeIDs()) - before == set()
    assert shown.showMap(node, "") and shown.shownMap(node) is node
