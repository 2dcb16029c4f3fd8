"""Comparisons in the scene: sequence and browser, scales, difference, agreement, side by side; saved and loaded."""

from __future__ import annotations

import color_tables
import numpy as np
import pytest
import slicer
import slicer.util
from scene.helpers import GEOMETRIES, makeHeatmap, makeResult, makeVolume, nodeIDs, putUnderTransform

from CAMOverlayLib.contract.comparison import NotExplained, distinct
from CAMOverlayLib.contract.errors import ComparisonError
from CAMOverlayLib.contract.findings import HotSpot
from CAMOverlayLib.contract.pieces import at_once
from CAMOverlayLib.contract.request import FieldOfView, Prediction, Target
from CAMOverlayLib.scene import comparison as compare
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.comparison import agreement, difference, sequence
from CAMOverlayLib.scene.comparison.maps import shortNames
from CAMOverlayLib.scene.figure.slices import SliceRenderer
from CAMOverlayLib.scene.io.volumes import readHeatmap, voxelsOf, worldFromIJK
from CAMOverlayLib.scene.overlay import node as overlay

SHAPE = (12, 10, 8)
MATRIX = GEOMETRIES["oblique"]
CLASSES = ("healthy", "lesion; “ü” & <b>", "artefact")
NAMES = ("healthy", "lesion, “ü” + ‹b›", "artefact")
MAGNITUDES = (0.5, 2.0, 0.125)


@pytest.fixture(autouse=True)
def scene():
    scene = core.ensureScene()
    scene.Clear(0)
    yield scene
    scene.Clear(0)


@pytest.fixture
def volume():
    return makeVolume(np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.int16), MATRIX, "Head")


def heatOf(number: int) -> np.ndarray:
    heat = np.random.default_rng(10 + number).random(SHAPE).astype(np.float32) ** 2
    return heat / heat.max()


def resultOf(folder, number: int, **changes):
    heat = heatOf(number)
    peak = tuple(int(n) for n in np.unravel_index(heat.argmax(), SHAPE))
    return makeResult(
        makeHeatmap(folder, heat, MATRIX, f"heat-{number}-{len(changes)}"),
        **{
            "prediction": Prediction(CLASSES, (0.0, 1.0, 2.0), (0.2, 0.3, 0.5), "softmax", 2),
            "target": Target(number, CLASSES[number], "output before softmax"),
            "magnitude": MAGNITUDES[number],
            "peak": peak,
            "field_of_view": FieldOfView(1.0, ()),
            "findings": (HotSpot(1, peak, (0.0, 0.0, 0.0), 10.0, 0.75, 1.0, 0.2),),
            **changes,
        },
    )


@pytest.fixture
def comparison(volume, tmp_path):
    results = [resultOf(tmp_path, number) for number in range(3)]
    items = [
        sequence.Explained(name, one, at_once(readHeatmap(one.heatmap, volume, one.peak)))
        for name, one in zip(distinct(CLASSES), results, strict=True)
    ]
    return sequence.addComparison(items, "class", volume, [NotExplained("class 7", "There is no class 7.")])


def overlays(volume, tmp_path, *changes):
    return [overlay.addOverlay(resultOf(tmp_path, n, **change), volume) for n, change in enumerate(changes)]


def test_the_overlay_shows_and_tells_of_the_item_that_is_browsed(comparison, volume):
    assert comparison.names == NAMES and comparison.kind == "class" and comparison.shown == NAMES[0]
    for number in (1, 2, 0, 2):
        comparison.browserNode.SetSelectedItemNumber(number)  # as Slicer's own browser does
        node = comparison.overlayNode
        result = overlay.resultOf(node)
        assert (result.target.name, result.magnitude) == (CLASSES[number], MAGNITUDES[number])
        assert node.GetAttribute("CAMOverlay.Target") == CLASSES[number] and comparison.shown == NAMES[number]
        np.testing.assert_array_equal(voxelsOf(node), heatOf(number))
        assert NAMES[number] in node.GetName() and overlay.isOverlay(node)
        assert overlay.peakVoxel(node) == result.peak
        assert overlay.inputVolumeOf(node) is volume
    view = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert view.GetForegroundVolumeID() == comparison.overlayNode.GetID()
    assert comparison.notExplained == (NotExplained("class 7", "There is no class 7."),)
    assert compare.comparisonOf(comparison.overlayNode) == comparison and compare.comparisonOf(volume) is None


def test_one_overlay_node_is_all_that_it_adds_to_the_volumes(comparison, volume):
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert volumes == [volume, comparison.overlayNode]
    assert comparison.overlayNode.GetDisplayNode().GetWindowLevelMax() == 1


def test_the_legend_says_the_item_and_its_scale(comparison):
    legend = overlay.showLegend(comparison.overlayNode)
    comparison.browserNode.SetSelectedItemNumber(2)
    assert legend.GetTitleText().splitlines() == ["artefact", "20 mm cells", "1 = 0.125, own"]
    compare.setOneScale(comparison.nodes)
    comparison.refresh()
    assert legend.GetTitleText().splitlines()[-1] == "1 = 2, all"
    comparison.browserNode.SetSelectedItemNumber(0)
    assert legend.GetTitleText().splitlines() == ["healthy", "20 mm cells", "1 = 2, all"]


def test_it_is_saved_and_loaded_with_the_scene(comparison, tmp_path):
    comparison.browserNode.SetSelectedItemNumber(1)
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    loaded = compare.comparisonOf(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode"))
    assert loaded.names == NAMES and loaded.shown == NAMES[1] and loaded.kind == "class"
    assert loaded.notExplained == (NotExplained("class 7", "There is no class 7."),)
    for number in (2, 0, 1):
        loaded.browserNode.SetSelectedItemNumber(number)
        result = overlay.resultOf(loaded.overlayNode)
        assert (result.target.name, result.magnitude) == (CLASSES[number], MAGNITUDES[number])
        np.testing.assert_array_equal(voxelsOf(loaded.overlayNode), heatOf(number))
        np.testing.assert_allclose(slicer.util.arrayFromVTKMatrix(_matrix(loaded.overlayNode)), MATRIX, atol=1e-5)
    assert overlay.inputVolumeOf(loaded.overlayNode).GetName() == "Head"
    assert loaded.overlayNode.GetDisplayNode().GetColorNode().GetName() == "CAMOverlay heat"


def _matrix(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix


def test_an_item_becomes_an_overlay_that_stays(comparison, volume):
    node = comparison.overlayOf(NAMES[1])
    assert comparison.overlayOf(NAMES[1]) is node and overlay.inputVolumeOf(node) is volume
    comparison.show(NAMES[2])
    assert overlay.resultOf(node).target.name == CLASSES[1]
    np.testing.assert_array_equal(voxelsOf(node), heatOf(1))
    voxelsOf(node)[:] = 0  # its voxels are its own
    np.testing.assert_array_equal(voxelsOf(comparison.node(NAMES[1])), heatOf(1))
    assert sequence.isBrowsed(comparison.overlayNode) and not sequence.isBrowsed(node)
    with pytest.raises(ComparisonError, match="has no 'nothing'; it has healthy"):
        comparison.show("nothing")


# Scales --------------------------------------------------------------------------------------------------------------


def test_on_one_scale_the_same_heat_is_the_same_raw_value_and_back_again(comparison):
    assert compare.setOneScale(comparison.nodes) == 2.0
    for number, node in enumerate(comparison.nodes):
        result = overlay.resultOf(node)
        share = MAGNITUDES[number] / 2.0
        assert result.magnitude == 2.0
        np.testing.assert_allclose(voxelsOf(node), heatOf(number) * share, rtol=1e-6)
        np.testing.assert_allclose(voxelsOf(node) * result.magnitude, heatOf(number) * MAGNITUDES[number], rtol=1e-6)
        assert result.findings[0].maximum == pytest.approx(share)
        assert result.threshold.value == pytest.approx(0.5 * share)
    assert compare.setOneScale(comparison.nodes, False) is None
    for number, node in enumerate(comparison.nodes):
        assert overlay.resultOf(node).magnitude == MAGNITUDES[number]
        np.testing.assert_allclose(voxelsOf(node), heatOf(number), rtol=1e-6)
        assert voxelsOf(node).max() == 1 and overlay.resultOf(node).findings[0].maximum == pytest.approx(1)


@pytest.mark.parametrize("change", [{"method": "layercam"}, {"layer": "encoder.layer1"}, {"bundle_name": "other"}])
def test_magnitudes_of_different_units_get_no_common_scale(volume, tmp_path, change):
    nodes = overlays(volume, tmp_path, {}, change)
    with pytest.raises(ComparisonError, match=r"different (methods|layers|models) .*normalised heat"):
        compare.setOneScale(nodes)
    np.testing.assert_array_equal(voxelsOf(nodes[1]), heatOf(1))
    before = nodeIDs()
    with pytest.raises(ComparisonError, match="different units"):
        compare.showDifference(*nodes, by="magnitude")
    assert nodeIDs() == before
    assert compare.showDifference(*nodes, by="heat") is not None


# Difference ----------------------------------------------------------------------------------------------------------


def test_the_difference_of_heat_lies_on_the_volume_with_a_scale_as_long_to_both_sides(comparison, volume):
    transform = putUnderTransform(volume, GEOMETRIES["flipped"])
    comparison.overlayNode.SetAndObserveTransformNodeID(transform.GetID())
    node = compare.showDifference(comparison.node(NAMES[0]), comparison.node(NAMES[1]))
    np.testing.assert_allclose(voxelsOf(node), heatOf(0) - heatOf(1), atol=1e-7)
    np.testing.assert_allclose(worldFromIJK(node, (3, 4, 5)), worldFromIJK(volume, (3, 4, 5)), atol=1e-4)
    display = node.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-1, 1)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    assert legend.GetTitleText().splitlines()[0] == "healthy" and "normalised heat" in legend.GetTitleText()
    assert difference.saidOf(node) == {"first": NAMES[0], "second": NAMES[1], "by": "heat", "limit": 1.0}
    assert not overlay.isOverlay(node) and NAMES[1] in node.GetName()


def test_the_difference_of_magnitudes_ends_at_the_larger_one_whatever_scale_is_shown(volume, tmp_path):
    nodes = overlays(volume, tmp_path, {}, {})
    for one in (False, True):
        compare.setOneScale(nodes, one)
        node = compare.showDifference(nodes[1], nodes[0], by="magnitude")
        np.testing.assert_allclose(voxelsOf(node), 2.0 * heatOf(1) - 0.5 * heatOf(0), atol=1e-6)
        assert node.GetDisplayNode().GetWindowLevelMax() == 2.0 == -node.GetDisplayNode().GetWindowLevelMin()
        heat = compare.showDifference(nodes[1], nodes[0])
        np.testing.assert_allclose(voxelsOf(heat), heatOf(1) - heatOf(0), atol=1e-6)
    assert "raw magnitude" in slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node).GetTitleText()


def test_orange_is_more_of_the_first_blue_of_the_second_and_the_image_shows_between(tmp_path):
    plain = makeVolume(np.full(SHAPE, 100, np.int16), GEOMETRIES["axis-aligned"], "Plain")
    plain.GetDisplayNode().SetAutoWindowLevel(False)
    plain.GetDisplayNode().SetWindowLevelMinMax(0, 200)
    nodes = []
    for number, (low, high) in enumerate(((0.0, 1.0), (1.0, 0.0))):
        heat = np.zeros(SHAPE, np.float32)
        heat[:4], heat[8:], heat[4:8] = low, high, 0.5
        result = makeResult(
            makeHeatmap(tmp_path, heat, GEOMETRIES["axis-aligned"], f"h{number}"),
            target=Target(number, ("healthy", "lesion")[number], ""),
        )
        nodes.append(overlay.addOverlay(result, plain))
    node = compare.showDifference(*nodes)
    rendered = SliceRenderer(plain, node, 1.0).render("Axial", worldFromIJK(plain, (5, 5, 4)), 4)
    table = color_tables.diverging("difference")[:, :3]

    def colour(i):
        column, row = rendered.pixelOf(worldFromIJK(plain, (i, 5, 4)))
        return rendered.pixels[round(row), round(column)]

    np.testing.assert_allclose(colour(2), table[0], atol=8 / 255)  # the second is hotter
    np.testing.assert_allclose(colour(10), table[-1], atol=8 / 255)
    np.testing.assert_allclose(colour(6), 0.5, atol=8 / 255)


def test_the_colours_of_a_difference_are_as_light_to_both_sides_and_told_apart_by_colour_blind_eyes():
    table = color_tables.diverging("difference")
    linear = np.where(table[:, :3] <= 0.04045, table[:, :3] / 12.92, ((table[:, :3] + 0.055) / 1.055) ** 2.4)
    for name, matrix in COLOUR_BLIND.items():
        lab = _lab((linear @ np.array(matrix).T).clip(0, 1))
        apart = np.linalg.norm(lab - lab[::-1], axis=1)[table[:, 3] > 0]
        assert apart.min() > 60, name  # 2.3 is just noticeable
        if name == "normal":
            np.testing.assert_allclose(lab[:, 0], lab[::-1, 0], atol=0.5)
    assert not table[abs(np.arange(256) - 127.5) < 12.5, 3].any() and table[[0, 255], 3].all()
    from CAMOverlayLib.scene.overlay import colormaps

    stored = colormaps.colorTableNode(slicer.mrmlScene, "difference")
    np.testing.assert_allclose(colormaps.tableColors(stored), table, atol=1 / 255)


COLOUR_BLIND = {  # Machado et al. 2009, https://doi.org/10.1109/TVCG.2009.113, severity 1, in linear RGB
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def _lab(linear: np.ndarray) -> np.ndarray:
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ matrix.T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def test_other_grids_and_other_volumes_are_refused(volume, tmp_path):
    node = overlays(volume, tmp_path, {})[0]
    shifted = MATRIX.copy()
    shifted[0, 3] += 0.5
    other = makeVolume(np.zeros(SHAPE, np.int16), shifted, "Other")
    result = makeResult(makeHeatmap(tmp_path, heatOf(1), shifted, "other"))
    before = overlay.addOverlay(result, other)
    count = nodeIDs()
    with pytest.raises(ComparisonError, match="different grids"):
        compare.showDifference(node, before)
    with pytest.raises(ComparisonError, match="different grids"):
        compare.showAgreement([node, before])
    with pytest.raises(ComparisonError, match="'Other' is not an overlay"):
        compare.showDifference(node, other)
    with pytest.raises(ComparisonError, match="chosen twice"):
        compare.showDifference(node, node)
    assert nodeIDs() == count


# Agreement -----------------------------------------------------------------------------------------------------------


def test_agreement_is_counted_in_what_all_networks_saw_with_a_table_beside_it(volume, tmp_path):
    nodes = overlays(
        volume,
        tmp_path,
        {"method": "gradcam"},
        {"method": "layercam", "field_of_view": FieldOfView(0.8, ((1.0, 0.0, 0.0, 1.5, 20.0),))},
        {"method": "occlusion", "field_of_view": FieldOfView(0.7, ((0.0, 0.0, 1.0, -1.0, 5.5),))},
    )
    node = compare.showAgreement(nodes, 0.2)
    seen = np.zeros(SHAPE, bool)
    seen[2:, :, :6] = True
    expected = np.zeros(SHAPE, int)
    for number in range(3):
        values = np.sort(heatOf(number)[seen])[::-1]
        expected += seen & (heatOf(number) >= values[int(np.ceil(0.2 * seen.sum())) - 1])
    np.testing.assert_array_equal(voxelsOf(node), expected)
    figures = agreement.figuresOf(node)
    assert figures.names == tuple(f"{NAMES[n]}, {m}" for n, m in enumerate(("gradcam", "layercam", "occlusion")))
    table = agreement.tableOf(node)
    assert table.GetNumberOfRows() == 3 and table.GetNumberOfColumns() == 4
    column = slicer.util.arrayFromTableColumn(table, "rank_correlation")
    np.testing.assert_allclose(column, [pair.correlation for pair in figures.pairs])
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
    colors = node.GetDisplayNode().GetColorNode()
    assert [colors.GetColorName(n) for n in range(colors.GetNumberOfColors())] == [f"{n} of 3" for n in range(4)]
    assert legend.GetUseColorNamesForLabels() and "20%" in legend.GetTitleText()
    assert overlay.inputVolumeOf(node) is volume


def test_what_was_made_of_overlays_survives_the_scene(comparison, tmp_path):
    nodes = comparison.nodes
    compare.showDifference(nodes[0], nodes[2])
    found = agreement.figuresOf(compare.showAgreement(nodes))
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    (there,) = [one for one in volumes if difference.saidOf(one)]
    np.testing.assert_allclose(voxelsOf(there), heatOf(0) - heatOf(2), atol=1e-6)
    assert there.GetDisplayNode().GetWindowLevelMin() == -1
    (counted,) = [one for one in volumes if agreement.figuresOf(one)]
    assert agreement.figuresOf(counted) == found and agreement.tableOf(counted).GetNumberOfRows() == 3
    assert counted.GetDisplayNode().GetColorNode().GetColorName(2) == "2 of 3"


def test_names_say_what_differs(volume, tmp_path):
    nodes = overlays(volume, tmp_path, {"target": Target(0, "healthy", ""), "method": "a"}, {"method": "b"})
    assert shortNames(nodes) == ("healthy, a", f"{NAMES[1]}, b")


# Side by side --------------------------------------------------------------------------------------------------------


@pytest.fixture
def layout():
    """What Slicer's layout manager does where a layout has views that are not there yet."""
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    node, application = logic.GetLayoutNode(), core.applicationLogic()
    made, before = [], nodeIDs()

    def makeViews(*_):
        views = logic.GetViewNodes()
        for number in range(views.GetNumberOfItems()):
            view = views.GetItemAsObject(number)
            if view.IsA("vtkMRMLSliceNode") and application.GetSliceLogic(view) is None:
                sliceLogic = slicer.vtkMRMLSliceLogic()
                sliceLogic.SetMRMLApplicationLogic(application)
                sliceLogic.SetMRMLScene(slicer.mrmlScene)
                sliceLogic.SetSliceNode(view)
                application.GetSliceLogics().AddItem(sliceLogic)
                made.append(sliceLogic)

    node.AddObserver(vtkModified(), makeViews)
    node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield node
    for sliceLogic in made:
        application.GetSliceLogics().RemoveItem(sliceLogic)
    logic.SetMRMLScene(None)
    for identifier in set(nodeIDs()) - set(before) | {node.GetID()}:
        if slicer.mrmlScene.GetNodeByID(identifier) is not None:
            slicer.mrmlScene.RemoveNode(slicer.mrmlScene.GetNodeByID(identifier))


def vtkModified():
    import vtk

    return vtk.vtkCommand.ModifiedEvent


def composites():
    return {one.GetLayoutName(): one for one in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}


def test_side_by_side_is_linked_at_the_same_place_and_goes_back(layout, volume, tmp_path):
    first, second = overlays(volume, tmp_path, {}, {})
    red = core.applicationLogic().GetSliceLogicByLayoutName("Red")
    red.SetSliceOffset(worldFromIJK(volume, (6, 5, 4))[2])
    composites()["Red"].SetForegroundOpacity(0.25)
    before = {
        name: (one.GetForegroundVolumeID(), one.GetForegroundOpacity(), one.GetLinkedControl())
        for name, one in composites().items()
    }
    upper, lower = compare.showSideBySide(first, second, 0.75)
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutThreeOverThreeView
    assert [one.GetForegroundVolumeID() for one in upper.composites] == [first.GetID()] * 3
    assert [one.GetForegroundVolumeID() for one in lower.composites] == [second.GetID()] * 3
    assert all(one.GetLinkedControl() and one.GetForegroundOpacity() == 0.75 for one in upper.composites)
    for one, other in zip(upper.slices, lower.slices, strict=True):
        assert one.GetOrientation() == other.GetOrientation() and one.GetSliceOffset() == other.GetSliceOffset()
    red.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
    red.SetSliceOffset(red.GetSliceOffset() + 7)
    red.EndSliceNodeInteraction()
    assert lower.slices[0].GetSliceOffset() == pytest.approx(upper.slices[0].GetSliceOffset())
    assert [one.GetForegroundVolumeID() for one in lower.composites] == [second.GetID()] * 3
    compare.showSideBySide(second, first)  # once more, the other way round: what was before is still that
    assert upper.composites[0].GetForegroundVolumeID() == second.GetID()
    compare.endSideBySide()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    for name, said in before.items():
        one = composites()[name]
        assert (one.GetForegroundVolumeID(), one.GetForegroundOpacity(), one.GetLinkedControl()) == said
    compare.endSideBySide()  # no effect


def test_without_views_side_by_side_says_so(volume, tmp_path):
    nodes = overlays(volume, tmp_path, {}, {})
    with pytest.raises(ComparisonError, match="no views here"):
        compare.showSideBySide(*nodes)


def test_a_slicer_without_the_layout_gets_ours(layout, volume, tmp_path, monkeypatch):
    from CAMOverlayLib.scene.comparison import side_by_side

    monkeypatch.setattr(side_by_side, "_THREE_OVER_THREE", "NoSuchLayout")
    upper, lower = compare.showSideBySide(*overlays(volume, tmp_path, {}, {}))
    assert layout.GetViewArrangement() == side_by_side.LAYOUT and len(upper.slices) == len(lower.slices) == 3
    assert [one.GetLayoutName() for one in lower.slices] == ["Red+", "Green+", "Yellow+"]
    compare.endSideBySide()
