"""The section Findings, pressed: rows, views, nodes, thresholds, and the event loop meanwhile."""

from __future__ import annotations

from html import escape

import numpy as np
import pytest
from geometries import world_grid
from scene.helpers import makeHeatmap, makeResult, makeSegmentation

from CAMOverlayLib.contract.findings import Check, Threshold
from CAMOverlayLib.demo import demo_lesion

KINDS = ("vtkMRMLTableNode", "vtkMRMLMarkupsFiducialNode", "vtkMRMLSegmentationNode")


def counts() -> list[int]:
    import slicer

    return [slicer.mrmlScene.GetNumberOfNodesByClass(kind) for kind in KINDS]


def heat(shape, peaks) -> np.ndarray:
    """A ball of heat at each voxel, as hot as is said."""
    voxels = np.zeros(shape, np.float32)
    for (i, j, k), hottest in peaks.items():
        near = tuple(slice(max(0, n - 6), n + 7) for n in (i, j, k))
        index = np.stack(np.meshgrid(*(np.arange(s.start, min(s.stop, n)) for s, n in zip(near, shape)), indexing="ij"))
        away = ((index - np.array((i, j, k)).reshape(3, 1, 1, 1)) ** 2).sum(0)
        voxels[near] = np.maximum(voxels[near], hottest * np.exp(-away / 18))
    return voxels


PEAKS = {(50, 60, 40): 1.0, (90, 100, 60): 0.7, (30, 120, 30): 0.3}


@pytest.fixture
def shown(host, panel, demoVolume, tmp_path):
    """An overlay with three hot spots on the demo volume, chosen in the panel; the section is folded."""
    return show(host, panel, demoVolume, tmp_path)


def show(host, panel, volume, folder, peaks=PEAKS, **changes):
    from CAMOverlayLib.scene.io.volumes import affineFromNode
    from CAMOverlayLib.scene.overlay import node as overlay

    voxels = heat(volume.GetImageData().GetDimensions(), peaks)
    result = makeResult(makeHeatmap(folder, voxels, affineFromNode(volume)), peak=next(iter(peaks)), **changes)
    node = overlay.addOverlay(result, volume, panel.overlay)
    panel.panel.parameters.overlayVolume = node
    panel.panel.refresh()
    host.process()
    return node


def unfold(host, panel):
    panel.ui.findingsButton.collapsed = False
    settle(host, panel)


def settle(host, panel):
    host.process()
    host.wait(lambda: not panel.panel.findings.busy, 30)
    host.process()


def row(panel, number, column=1) -> str:
    return panel.ui.hotTable.item(number, column).text()


def test_it_is_folded_and_looks_for_nothing_until_somebody_looks(host, panel, shown):
    ui = panel.ui
    assert ui.findingsButton.enabled and ui.findingsButton.collapsed
    assert not panel.panel.findings.busy and ui.hotTable.rowCount == 0
    unfold(host, panel)
    assert ui.hotTable.rowCount == 2 and "2 hot regions" in ui.findingsLabel.text
    assert counts() == [0, 0, 0], "a node is made when a button is pressed"
    import slicer

    slicer.mrmlScene.RemoveNode(shown)
    host.process()
    assert not ui.findingsButton.enabled and ui.findingsButton.collapsed


def test_a_row_moves_every_slice_view(host, panel, shown):
    import slicer

    from CAMOverlayLib.scene.io.volumes import worldFromIJK

    unfold(host, panel)
    for number, peak in enumerate(list(PEAKS)[:2]):
        panel.ui.hotTable.setCurrentCell(number, 1)
        host.process()
        world = worldFromIJK(shown, peak)
        assert row(panel, number) == ", ".join(f"{mm:.1f}" for mm in world)
        for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            at = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 3]
            np.testing.assert_allclose(at, world, atol=1e-3)


def test_the_buttons_make_nodes_and_a_threshold_changes_them_in_place(host, panel, shown):
    from CAMOverlayLib.scene.findings import markups, segmentation, table

    ui = panel.ui
    unfold(host, panel)
    host.click(ui.pointsButton)
    host.click(ui.segmentsButton)
    settle(host, panel)
    assert counts() == [1, 1, 1]
    made = table.tableOf(shown), markups.pointsOf(shown), segmentation.segmentationOf(shown)
    assert made[0].GetNumberOfRows() == made[1].GetNumberOfControlPoints() == 2
    assert made[2].GetSegmentation().GetNumberOfSegments() == 2
    ui.hotSpin.value = 0.2
    settle(host, panel)
    assert ui.hotTable.rowCount == made[0].GetNumberOfRows() == made[1].GetNumberOfControlPoints() == 3
    assert table.thresholdOf(shown) == Threshold("absolute", 0.2)
    host.click(ui.segmentsButton)
    settle(host, panel)
    assert made[2].GetSegmentation().GetNumberOfSegments() == 3 and counts() == [1, 1, 1]
    host.choose(ui.hotKindSelector, "percentile of what was seen")
    settle(host, panel)
    assert (panel.panel.parameters.hotKind, panel.panel.parameters.hotValue) == ("percentile", 99.0)
    assert ui.hotSpin.value == 99.0 and table.thresholdOf(shown) == Threshold("percentile", 99.0)


def test_another_heat_on_the_same_overlay_renews_what_hangs_on_it(host, panel, demoVolume, shown, tmp_path):
    from CAMOverlayLib.scene.findings import markups, segmentation

    unfold(host, panel)
    host.click(panel.ui.pointsButton)
    host.click(panel.ui.segmentsButton)
    settle(host, panel)
    panel.ui.findingsButton.collapsed = True
    assert show(host, panel, demoVolume, tmp_path, {(70, 70, 50): 1.0}) is shown
    settle(host, panel)
    assert markups.pointsOf(shown).GetNumberOfControlPoints() == 1
    assert segmentation.segmentationOf(shown).GetSegmentation().GetNumberOfSegments() == 1
    assert counts() == [1, 1, 1]


def test_a_run_that_fails_makes_no_node(host, panel, demoVolume, shown, tmp_path):
    unfold(host, panel)
    (tmp_path / "configs").mkdir()
    panel.chooseBundle(tmp_path)
    assert not panel.ui.applyButton.enabled
    panel.panel.fail(RuntimeError("the process ended"))
    settle(host, panel)
    assert counts() == [0, 0, 0] and panel.ui.hotTable.rowCount == 2


def test_the_checks_are_sentences_with_a_sign(host, panel, demoVolume, tmp_path):
    checks = (Check("class", "passed", "It is <of> the class."), Check("network", "failed", "No."))
    show(host, panel, demoVolume, tmp_path, checks=checks)
    unfold(host, panel)
    words = panel.ui.trustLabel.text
    assert panel.ui.trustLabel.visible and "✓</b> It is &lt;of&gt; the class." in words and "✗</b> No." in words


def test_heat_and_slices_come_into_the_3d_view(host, panel, shown):
    import slicer

    unfold(host, panel)
    host.click(panel.ui.in3DButton)
    assert panel.ui.renderingBox.checked
    assert all(view.GetSliceVisible() for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"))
    host.click(panel.ui.in3DButton)
    assert not panel.ui.renderingBox.checked
    assert not any(view.GetSliceVisible() for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"))


def test_structures_are_measured_and_listed(host, panel, demoVolume, tmp_path):
    from CAMOverlayLib.contract.request import FieldOfView
    from CAMOverlayLib.scene.findings import structures
    from CAMOverlayLib.scene.io.volumes import affineFromNode

    shown = show(host, panel, demoVolume, tmp_path, field_of_view=FieldOfView(1.0, ()))
    left = np.zeros(demoVolume.GetImageData().GetDimensions(), bool)
    left[:70] = True
    drawn = makeSegmentation({"left": left, "right": ~left}, affineFromNode(demoVolume), "Halves")
    unfold(host, panel)
    host.choose(panel.ui.structuresSelector, "Halves")
    host.wait(lambda: panel.ui.structuresTable.rowCount == 2, 20)
    shares = [panel.ui.structuresTable.item(number, 1).text() for number in (0, 1)]
    whole = heat(left.shape, PEAKS)
    assert shares == [f"{whole[half].sum() / whole.sum():.0%}" for half in (left, ~left)]
    assert structures.tableOf(shown).GetNumberOfRows() == 2
    import slicer

    slicer.mrmlScene.RemoveNode(drawn)
    host.process()
    assert panel.ui.structuresTable.rowCount == 0


@pytest.mark.slow
def test_the_event_loop_turns_while_a_large_volume_is_searched(host, panel, tmp_path):
    import slicer

    volume = slicer.util.addVolumeFromArray(np.zeros((240, 512, 512), np.uint8), name="Large")
    show(host, panel, volume, tmp_path, {(100, 200, 100): 1.0, (300, 300, 200): 0.8})
    with host.heartbeat() as beat:
        panel.ui.findingsButton.collapsed = False
        host.wait(lambda: not panel.panel.findings.busy, 60)
    print(beat.report())
    assert panel.ui.hotTable.rowCount == 2
    assert beat.longestGapMs < 150


def test_all_four_checks_are_computed_on_request(host, panel, demoVolume):
    panel.explainDemo()
    unfold(host, panel)
    from CAMOverlayLib.scene.overlay import node as overlay

    quick = [check.name for check in overlay.resultOf(panel.overlay).checks]
    assert quick == ["class", "network"] and panel.ui.checkButton.enabled
    before = slicer_array(panel.overlay)
    host.click(panel.ui.checkButton)
    panel.finish()
    found = overlay.resultOf(panel.overlay).checks
    assert [check.name for check in found] == ["class", "network", "answer", "stability"]
    assert (slicer_array(panel.overlay) == before).all(), "the same map"
    missing = [check.words for check in found if escape(check.words) not in panel.ui.trustLabel.text]
    assert not missing, (missing, panel.ui.trustLabel.text)


def slicer_array(node):
    import slicer

    return slicer.util.arrayFromVolume(node).copy()


def test_which_structure_mattered_is_asked_in_the_networks_process_and_plotted(host, panel, demoVolume):
    """The lesion's segment takes the answer away, another one of its size does not; what was asked before stays."""
    import slicer

    from CAMOverlayLib.scene.findings import structures as scene_structures
    from CAMOverlayLib.scene.io.volumes import affineFromNode
    from CAMOverlayLib.scene.overlay import node as overlay

    affine = affineFromNode(demoVolume)
    away = np.linalg.norm(world_grid(demoVolume.GetImageData().GetDimensions(), affine) - demo_lesion().centre, axis=-1)
    near = away <= demo_lesion().radius
    drawn = makeSegmentation({"lesion": near, "far": np.roll(near, 40, 1)}, affine, "Organs")
    turn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = (400, 0, 0)
    turn.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    demoVolume.SetAndObserveTransformNodeID(turn.GetID())
    drawn.SetAndObserveTransformNodeID(turn.GetID())
    panel.explainDemo()
    unfold(host, panel)
    assert not panel.ui.mattersButton.enabled and not panel.ui.fallsButton.enabled
    host.choose(panel.ui.structuresSelector, "Organs")
    host.wait(lambda: panel.ui.structuresTable.rowCount == 2, 20)
    assert panel.ui.structuresTable.isColumnHidden(4)
    host.click(panel.ui.mattersButton)
    host.wait(lambda: panel.panel.busy, 20)
    panel.finish()
    lesion, far = overlay.resultOf(panel.overlay).occluded
    assert (lesion.name, far.name) == ("lesion", "far")
    assert lesion.probability_before > 0.99 and lesion.probability_after < 0.5 and abs(far.drop) < 0.1 * lesion.drop
    host.wait(lambda: not panel.panel.findings.structures.busy and panel.ui.structuresTable.rowCount == 2, 20)
    assert [panel.ui.structuresTable.item(n, 4).text() for n in (0, 1)] == [f"{one.drop:.2f}" for one in (lesion, far)]
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    table = scene_structures.tableOf(panel.overlay)  # what the panel measures is what the network's process measures
    for row, one in enumerate(overlay.resultOf(panel.overlay).structures):
        for name in ("p_value", "share", "enrichment"):
            column = table.GetTable().GetColumnByName(name)
            assert column.GetValue(row) == pytest.approx(getattr(one, name), rel=1e-6)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == chart.GetID() and panel.ui.fallsButton.enabled
    host.click(panel.ui.applyButton)  # once more, without: the same map
    panel.finish()
    assert overlay.resultOf(panel.overlay).occluded == (lesion, far) and panel.ui.fallsButton.enabled


def test_plots_open_with_a_click(host, panel, demoVolume, tmp_path):
    import slicer

    checks = (
        Check("answer", "passed", "It falls.", curves={"x": (0, 1), "map": (1, 0)}),
        Check("class", "failed", "No."),
    )
    shown = show(host, panel, demoVolume, tmp_path, checks=checks, channels={"T1": 0.7, "FLAIR": 0.3})
    unfold(host, panel)
    assert panel.ui.trustLabel.text.count("<a ") == 1 and panel.ui.findingsLabel.text.count("<a ") == 1
    selection = slicer.app.applicationLogic().GetSelectionNode()
    for label, name in ((panel.ui.trustLabel, "answer"), (panel.ui.findingsLabel, "channels")):
        assert f"href='{name}'" in label.text
        host.real(label).linkActivated.emit(name)
        chart = shown.GetNodeReference(f"CAMOverlay.Plot.{name}.chart")
        assert chart is not None and selection.GetActivePlotChartID() == chart.GetID()
