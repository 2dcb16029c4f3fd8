"""Hot spots in the scene: table, points, segments, structures, plots; each at its voxel, in place, and saved."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from scene.helpers import GEOMETRIES, makeHeatmap, makeLabelMap, makeResult, makeSegmentation, makeVolume

from CAMOverlayLib.contract.errors import TargetError, VolumeError
from CAMOverlayLib.contract.findings import Check, StructureFall, StructureFigures, Threshold
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.contract.request import FieldOfView
from CAMOverlayLib.demo import DEMO_VOLUME
from CAMOverlayLib.engine.findings import check_asked
from CAMOverlayLib.logic import OverlayLogic
from CAMOverlayLib.scene import core, findings, structure_files
from CAMOverlayLib.scene.findings import markups, plots, search, structures, table
from CAMOverlayLib.scene.findings import segmentation as segmentations
from CAMOverlayLib.scene.io.volumes import affineFromNode, voxelsOf, worldFromIJK
from CAMOverlayLib.scene.overlay import node as overlay

SHAPE = (20, 18, 16)
PEAKS = {1: (5, 6, 4), 2: (14, 12, 11)}


def heat(shape=SHAPE) -> np.ndarray:
    """Two boxes that do not touch, each with one hottest voxel."""
    voxels = np.zeros(shape, np.float32)
    voxels[4:8, 5:8, 3:6] = 0.6
    voxels[13:16, 11:14, 10:13] = 0.55
    voxels[PEAKS[1]], voxels[PEAKS[2]] = 1.0, 0.8
    return voxels


def explained(tmp_path, geometry="oblique", turned=False, **changes):
    matrix = GEOMETRIES[geometry]
    volume = makeVolume(np.random.default_rng(0).integers(50, 90, SHAPE).astype(np.int16), matrix)
    if turned:
        volume.SetAndObserveTransformNodeID(turn().GetID())
    result = makeResult(makeHeatmap(tmp_path, heat(), matrix), peak=PEAKS[1], **changes)
    return volume, overlay.addOverlay(result, volume)


def turn():
    node = core.ensureScene().AddNewNodeByClass("vtkMRMLLinearTransformNode", "turned")
    transform = vtk.vtkTransform()
    transform.RotateWXYZ(31, 0.2, 1, -0.4)
    transform.Translate(12, -7, 30)
    node.SetMatrixTransformToParent(transform.GetMatrix())
    return node


def count(className: str) -> int:
    return core.ensureScene().GetNumberOfNodesByClass(className)


def cell(node, row: int, column: str):
    return node.GetTable().GetValueByName(row, column)


def segmentVoxels(segmentation, volume, identifier) -> np.ndarray:
    """A segment on the volume's grid, as Slicer itself exports it."""
    voxels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentation, identifier)
    segment = segmentation.GetSegmentation().GetSegment(identifier)
    image = segment.GetRepresentation("Binary labelmap")
    i, _, j, _, k, _ = image.GetExtent()
    whole = np.zeros(volume.GetImageData().GetDimensions(), bool)
    inside = segment.GetLabelValue() == voxels.T
    whole[i : i + inside.shape[0], j : j + inside.shape[1], k : k + inside.shape[2]] = inside
    return whole


@pytest.mark.parametrize("geometry", ["oblique", "left-handed", "permuted", "sheared"])
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_table_points_and_segments_lie_at_the_voxel(tmp_path, geometry, turned):
    volume, node = explained(tmp_path, geometry, turned)
    rows = findings.show(node)
    assert rows.GetNumberOfRows() == 2 and rows is table.tableOf(node)
    assert [rows.GetColumnName(index) for index in range(rows.GetNumberOfColumns())] == list(table.COLUMNS)
    points = markups.pointsOf(node)
    segmentation = findings.segments(node)
    assert points.GetNumberOfControlPoints() == 2 and points.GetLocked()
    for region, peak in PEAKS.items():
        assert tuple(cell(rows, region - 1, f"peak_{axis}").ToInt() for axis in "ijk") == peak
        ras = [cell(rows, region - 1, f"peak_{axis}").ToDouble() for axis in "ras"]
        np.testing.assert_allclose(ras, (affineFromNode(volume) @ [*peak, 1])[:3], atol=1e-5)
        world = [0.0] * 3
        points.GetNthControlPointPositionWorld(region - 1, world)
        np.testing.assert_allclose(world, worldFromIJK(volume, peak), atol=1e-4)
        assert points.GetNthControlPointLabel(region - 1) == str(region)
        inside = segmentVoxels(segmentation, volume, f"hot_{region}")
        assert inside[peak] and inside.sum() * abs(np.linalg.det(affineFromNode(volume)[:3, :3])) == pytest.approx(
            cell(rows, region - 1, "volume_mm3").ToDouble()
        )
    assert segmentation.GetParentTransformNode() is volume.GetParentTransformNode()
    masks = findings.structureMasks(segmentation, volume)  # out of the scene again, by Slicer's own resampling
    if geometry != "sheared":
        assert np.array_equal(masks["hot 1"] | masks["hot 2"], voxelsOf(node) >= 0.5)


def test_the_segments_have_the_colours_of_the_overlay(tmp_path):
    _, node = explained(tmp_path)
    overlay.setColorMap(node, "sea")
    segmentation = findings.segments(node).GetSegmentation()
    from CAMOverlayLib.scene.overlay import colormaps

    colors = colormaps.tableColors(node.GetDisplayNode().GetColorNode())
    np.testing.assert_allclose(segmentation.GetSegment("hot_1").GetColor(), colors[-1][:3], atol=1e-6)
    assert segmentation.GetSegment("hot_1").GetName() == "hot 1"


def test_another_threshold_changes_in_place(tmp_path):
    _, node = explained(tmp_path)
    first = findings.show(node, 0.5), markups.pointsOf(node), findings.segments(node)
    counts = [count(kind) for kind in ("vtkMRMLTableNode", "vtkMRMLMarkupsFiducialNode", "vtkMRMLSegmentationNode")]
    nodes = core.ensureScene().GetNumberOfNodes()
    second = findings.show(node, 0.9), markups.pointsOf(node), findings.segments(node)
    assert all(one is other for one, other in zip(first, second, strict=True)) and counts == [1, 1, 1]
    assert core.ensureScene().GetNumberOfNodes() == nodes
    assert second[0].GetNumberOfRows() == second[1].GetNumberOfControlPoints() == 1
    assert second[2].GetSegmentation().GetNumberOfSegments() == 1
    assert table.thresholdOf(node) == Threshold("absolute", 0.9)
    findings.show(node, Threshold("share", 0.99))
    assert first[0].GetNumberOfRows() == 2


def test_nothing_hot_is_an_empty_table(tmp_path):
    _, node = explained(tmp_path)
    assert findings.show(node, 1.5).GetNumberOfRows() == 0
    assert markups.pointsOf(node).GetNumberOfControlPoints() == 0
    assert findings.segments(node).GetSegmentation().GetNumberOfSegments() == 0


def test_a_percentile_is_of_what_the_network_saw(tmp_path):
    planes = ((1.0, 0.0, 0.0, 3.5, 12.5),)
    _, node = explained(tmp_path, field_of_view=FieldOfView(0.45, planes))
    seen = heat()[4:13]
    level = search.levelOf(search.heatOf(node), Threshold("percentile", 99.0))
    assert level == pytest.approx(np.percentile(seen, 99.0))


FALLS = (
    StructureFall("left", 50.0, 3.0, 3.5, -0.5, 2.0, 2.5, 0.88, 0.92),
    StructureFall("lesion", 10.0, 3.0, -1.0, 4.0, 2.0, -3.0, 0.88, 0.05),
)


def drawnIn(chart) -> list[tuple]:
    """What a plot view draws of a chart: title, axes, and of each series how, in which colour, and its numbers."""
    found: list[tuple] = [(chart.GetTitle(), chart.GetXAxisTitle(), chart.GetYAxisTitle(), chart.GetLegendVisibility())]
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        one = chart.GetNthPlotSeriesNode(index)
        columns = [one.GetXColumnName(), one.GetYColumnName(), one.GetLabelColumnName()]
        rows = range(one.GetTableNode().GetNumberOfRows())
        cells = [cell(one.GetTableNode(), row, name).ToString() for name in columns if name for row in rows]
        found.append((one.GetName(), one.GetPlotType(), one.GetColor(), columns, cells))
    return found


def test_a_saved_scene_shows_the_same(tmp_path):
    check = Check("answer", "passed", "It falls.", curves={"x": (0, 0.5, 1), "map": (1, 0.25, 0), "random": (1, 1, 0)})
    volume, node = explained(
        tmp_path, turned=True, checks=(check,), channels={"T1": 0.75, "FLAIR": 0.25}, occluded=FALLS
    )
    charts = (findings.showCurves(node, "answer"), findings.showChannels(node), findings.showStructureFalls(node))
    drawn = [drawnIn(chart) for chart in charts]
    organs = makeSegmentation({"lesion": heat() > 0}, affineFromNode(volume), "organs")
    structure_files.setOccluded(node, [organs])
    rows, segmentation = findings.show(node, 0.5), findings.segments(node)
    before = {name: [cell(rows, row, name).ToString() for row in (0, 1)] for name in table.COLUMNS}
    places = slicer.util.arrayFromMarkupsControlPoints(markups.pointsOf(node), world=True)
    inside = {region: segmentVoxels(segmentation, volume, f"hot_{region}") for region in PEAKS}
    name, volumeName = node.GetName(), volume.GetName()
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    node, volume = slicer.util.getNode(name), slicer.util.getNode(volumeName)
    rows, segmentation = table.tableOf(node), segmentations.segmentationOf(node)
    for column, values in before.items():
        for row, value in enumerate(values):
            now = cell(rows, row, column).ToString()
            assert now == value if column == "structure" else float(now) == pytest.approx(float(value), rel=1e-5)
    np.testing.assert_allclose(
        slicer.util.arrayFromMarkupsControlPoints(markups.pointsOf(node), world=True), places, atol=1e-3
    )
    for region, voxels in inside.items():
        found = findings.structureMasks(segmentation, volume)[f"hot {region}"]
        assert np.array_equal(found, voxels)
    assert table.thresholdOf(node) == Threshold("absolute", 0.5)
    nodes = core.ensureScene().GetNumberOfNodes()
    charts = [node.GetNodeReference(f"{plots.ROLE}.{plot}.chart") for plot in ("answer", "channels", "falls")]
    assert [drawnIn(chart) for chart in charts] == drawn and overlay.resultOf(node).occluded == FALLS
    assert findings.showStructureFalls(node) is charts[2] and findings.showCurves(node, "answer") is charts[0]
    assert structure_files.isOccluded(node, slicer.util.getNode("organs"))
    assert findings.show(node) is rows and core.ensureScene().GetNumberOfNodes() == nodes
    assert findings.jumpTo(node, 2) == pytest.approx(tuple(worldFromIJK(node, PEAKS[2])))


def test_what_hangs_on_an_overlay_outlives_it_whole(tmp_path):
    _, node = explained(tmp_path)
    rows, segmentation = findings.show(node), findings.segments(node)
    core.ensureScene().RemoveNode(node)
    assert rows.GetScene() is not None and rows.GetNumberOfRows() == 2
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    assert count("vtkMRMLMarkupsFiducialNode") == count("vtkMRMLSegmentationNode") == 1


def test_every_slice_view_jumps_to_a_hot_spot(tmp_path):
    volume, node = explained(tmp_path, turned=True)
    spot = findings.find(node)[1]
    world = findings.jumpToHotSpot(node, spot)
    np.testing.assert_allclose(world, worldFromIJK(volume, PEAKS[2]), atol=1e-4)
    scene = core.ensureScene()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        toRAS = slicer.util.arrayFromVTKMatrix(scene.GetNthNodeByClass(index, "vtkMRMLSliceNode").GetSliceToRAS())
        np.testing.assert_allclose(toRAS[:3, 3], world, atol=1e-4)
    with pytest.raises(VolumeError, match="call findings.show"):
        findings.jumpTo(node, 1)


# Structures ----------------------------------------------------------------------------------------------------------


def test_structures_come_on_the_grid_of_the_volume_from_any_grid_and_transform(tmp_path):
    volume, _node = explained(tmp_path, "axis-aligned")
    truth = np.zeros(SHAPE, bool)
    truth[4:10, 6:12, 2:8] = True
    finer = GEOMETRIES["axis-aligned"] @ np.diag([0.5, 0.5, 0.5, 1])  # two voxels for one, flipped along I
    finer[:3, 3] -= 0.25
    doubled = truth.repeat(2, 0).repeat(2, 1).repeat(2, 2)[::-1]
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, doubled.shape[0] - 1
    drawn = makeSegmentation({"box": doubled, "empty": np.zeros((4, 4, 4), bool)}, finer @ flip)
    assert list(findings.structureMasks(drawn, volume)) == ["box"]
    assert np.array_equal(findings.structureMasks(drawn, volume)["box"], truth)
    transform = turn()
    drawn.SetAndObserveTransformNodeID(transform.GetID())
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert np.array_equal(findings.structureMasks(drawn, volume)["box"], truth)
    labels = makeLabelMap(truth.astype(np.int16) * 3, GEOMETRIES["axis-aligned"])
    labels.SetAndObserveTransformNodeID(transform.GetID())
    assert np.array_equal(findings.structureMasks(labels, volume)["3"], truth)
    with pytest.raises(TargetError, match="no structures"):
        findings.structureMasks(transform, volume)


def test_nodes_cross_to_the_computation_as_masks_in_the_volumes_own_space(tmp_path):
    """On another grid, under other transforms; what the engine makes of the files is what was drawn."""
    volume, _node = explained(tmp_path)
    truth = np.zeros(SHAPE, bool)
    truth[4:10, 6:12, 2:8] = True
    finer = affineFromNode(volume) @ np.diag([-0.5, 0.5, 0.5, 1])
    finer[:3, 3] = (affineFromNode(volume) @ [SHAPE[0] - 0.75, -0.25, -0.25, 1])[:3]
    doubled = truth.repeat(2, 0).repeat(2, 1).repeat(2, 2)[::-1]
    drawn = makeSegmentation({"box": doubled, "rest": ~doubled, "empty": np.zeros((4, 4, 4), bool)}, finer, "drawn")
    away = turn()
    drawn.SetAndObserveTransformNodeID(away.GetID())
    volume.SetAndObserveTransformNodeID(away.GetID())
    asked = []

    def compute(request, report):
        asked.append({s.name: mask_of(s) for s in check_asked(request, Grid(SHAPE, affineFromNode(volume))).structures})
        return makeResult(makeHeatmap(tmp_path, heat(), affineFromNode(volume)), peak=PEAKS[1], occluded=FALLS)

    node = OverlayLogic(compute).process(volume, tmp_path, structures=[drawn], occludeStructures=True)
    (found,) = asked
    assert list(found) == ["box", "rest"]
    assert np.array_equal(found["box"], truth) and np.array_equal(found["rest"], ~truth)
    assert structure_files.isOccluded(node, drawn) and not structure_files.isOccluded(node, volume)
    drawn.SetAndObserveTransformNodeID(None)
    nothing = turn()
    nothing.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1.0, 1.0, 1.0, 1.0]) + 5000 * FAR))
    drawn.SetAndObserveTransformNodeID(nothing.GetID())
    with pytest.raises(TargetError, match="No structure of 'drawn' lies in the volume"):
        OverlayLogic(compute).process(volume, tmp_path, structures=drawn)


FAR = np.array([[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], float)


def mask_of(structure) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[structure.box] = structure.inside
    return mask


def test_two_segments_of_one_name_are_two_structures(tmp_path):
    volume, _ = explained(tmp_path, "axis-aligned")
    drawn = makeSegmentation({"a": np.ones(SHAPE, bool), "b": np.ones(SHAPE, bool)})
    drawn.GetSegmentation().GetSegment("id-b").SetName("a")
    assert list(findings.structureMasks(drawn, volume)) == ["a", "a (2)"]


def test_figures_of_structures_are_a_table(tmp_path):
    _, node = explained(tmp_path)
    figures = StructureFigures("left", 10.0, 0.5, 2.0, 0.01, 0.4, 0.1, True, 0.5, 0.6, 0.7, 0.3)
    rows = findings.showStructures(node, [figures])
    assert findings.showStructures(node, [figures]) is rows is structures.tableOf(node)
    assert cell(rows, 0, "name").ToString() == "left" and cell(rows, 0, "enrichment").ToDouble() == 2.0
    assert cell(rows, 0, "holds_peak").ToInt() == 1


# Plots and 3-D -------------------------------------------------------------------------------------------------------


def test_curves_and_channels_are_charts_over_tables(tmp_path):
    check = Check("answer", "passed", "It falls.", curves={"x": (0, 0.5, 1), "map": (1, 0.4, 0), "random": (1, 1, 0)})
    _, node = explained(tmp_path, checks=(check,), channels={"T1": 0.7, "FLAIR": 0.3})
    chart = findings.showCurves(node, "answer")
    nodes = core.ensureScene().GetNumberOfNodes()
    assert findings.showCurves(node, check) is chart and core.ensureScene().GetNumberOfNodes() == nodes
    assert chart.GetNumberOfPlotSeriesNodes() == 2 and "the answer depend on it? Passed" in chart.GetTitle()
    series = chart.GetNthPlotSeriesNode(0)
    assert (series.GetXColumnName(), series.GetYColumnName()) == ("x", "map")
    assert cell(series.GetTableNode(), 1, "map").ToDouble() == 0.4
    bars = findings.showChannels(node).GetNthPlotSeriesNode(0)
    assert bars.GetPlotType() == bars.PlotTypeBar and bars.GetLabelColumnName() == "channel"
    assert cell(bars.GetTableNode(), 1, "channel").ToString() == "FLAIR"
    with pytest.raises(VolumeError, match="has no check"):
        findings.showCurves(node, "network")
    with pytest.raises(VolumeError, match="no curves"):
        findings.showCurves(node, Check("class", "failed", "No."))


def test_falls_are_bars_and_of_many_the_few_that_matter(tmp_path):
    many = [StructureFall(f"vertebra number {n}", 1.0, n, 0.0, float(n)) for n in range(-3, 20)]
    _, node = explained(tmp_path, occluded=(*FALLS, *many))
    chart = findings.showStructureFalls(node)
    rows = chart.GetNthPlotSeriesNode(0).GetTableNode()
    falls = [cell(rows, row, "fall").ToDouble() for row in range(rows.GetNumberOfRows())]
    assert falls == [19, 18, 17, 16, 15, 14, 13, 12] and "8 that mattered most of 25" in chart.GetTitle()
    assert cell(rows, 0, "structure").ToString() == "vertebra number 19"
    assert cell(rows, 0, "label").ToString() == "vertebr…umber 19"
    _, node = explained(tmp_path, occluded=FALLS)
    chart = findings.showStructureFalls(node)
    series = chart.GetNthPlotSeriesNode(0)
    assert (series.GetPlotType(), series.GetLabelColumnName()) == (series.PlotTypeBar, "label")
    assert [cell(series.GetTableNode(), n, "structure").ToString() for n in (0, 1)] == ["lesion", "left"]
    assert cell(series.GetTableNode(), 0, "fall").ToDouble() == 5.0 and "log-odds" in chart.GetYAxisTitle()
    _, node = explained(tmp_path)
    with pytest.raises(VolumeError, match="does not say"):
        findings.showStructureFalls(node)


def test_slices_that_were_in_3d_before_stay(tmp_path):
    _, node = explained(tmp_path)
    red, green = (slicer.util.getNode(f"vtkMRMLSliceNode{name}") for name in ("Red", "Green"))
    red.SetSliceVisible(True)
    findings.showIn3D(node)
    assert red.GetSliceVisible() and green.GetSliceVisible()
    findings.showIn3D(node, False)
    assert red.GetSliceVisible() and not green.GetSliceVisible()
    red.SetSliceVisible(False)


def test_the_demo_volume_agrees_with_itself(tmp_path):
    """Table, points and segments of a heatmap on the demo volume, which is oblique."""
    volume = core.loadVolume(DEMO_VOLUME)
    shape, matrix = volume.GetImageData().GetDimensions(), affineFromNode(volume)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    centre = np.array(shape) // 3
    voxels = np.exp(-((index - centre) ** 2).sum(-1) / 200).astype(np.float32)
    peak = tuple(map(int, centre))
    node = overlay.addOverlay(makeResult(makeHeatmap(tmp_path, voxels, matrix), peak=peak), volume)
    rows, segmentation = findings.show(node, 0.4), findings.segments(node, 0.4)
    assert tuple(cell(rows, 0, f"peak_{axis}").ToInt() for axis in "ijk") == peak == overlay.resultOf(node).peak
    assert np.array_equal(segmentVoxels(segmentation, volume, "hot_1"), voxels >= 0.4)
    world = slicer.util.arrayFromMarkupsControlPoints(markups.pointsOf(node), world=True)[0]
    np.testing.assert_allclose(world, worldFromIJK(volume, peak), atol=1e-4)
