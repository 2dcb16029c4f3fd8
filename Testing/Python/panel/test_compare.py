"""The section Compare, pressed: several explanations as one overlay, and two of them held together."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scene.helpers import makeHeatmap, makeResult

from CAMOverlayLib.contract.request import Target
from CAMOverlayLib.demo import DEMO_BUNDLE
from CAMOverlayLib.scene.comparison import agreement, difference, sequence, side_by_side
from CAMOverlayLib.scene.io.volumes import affineFromNode, voxelsOf
from CAMOverlayLib.scene.overlay import node as overlays


@pytest.fixture
def compared(panel, demoVolume):
    """The demo's three classes, explained by a press."""
    panel.chooseBundle(DEMO_BUNDLE)
    ui = panel.ui
    ui.compareButton.collapsed = False
    panel.host.process()
    assert [ui.compareTable.item(row, 0).text() for row in range(ui.compareTable.rowCount)] == [
        "no lesion", "bright lesion", "dark lesion",
    ]  # fmt: skip
    assert ui.compareExplainButton.text == "Explain 2"
    import qt

    ui.compareTable.item(2, 0).setCheckState(qt.Qt.Checked)
    panel.host.click(ui.compareExplainButton)
    assert ui.applyButton.text.replace("&", "") == "Cancel" and not ui.compareExplainButton.enabled
    panel.finish()
    assert not ui.messageLabel.text, ui.messageLabel.text
    return panel


def foregrounds():
    return {
        one.GetLayoutName(): one.GetForegroundVolumeID()
        for one in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    }


def test_explain_browse_subtract_agree_scale_and_side_by_side(host, compared):
    # One test, since what it needs takes seconds to compute, and each press must be able to follow each other.
    ui, node = compared.ui, compared.overlay
    found = sequence.comparisonOf(node)
    assert found.names == ("no lesion", "bright lesion", "dark lesion") and ui.browseSelector.count == 3
    host.choose(ui.browseSelector, "dark lesion")
    assert found.shown == "dark lesion" and compared.panel.results.shown.target.name == "dark lesion"
    found.browserNode.SetSelectedItemNumber(1)  # in Slicer's own browser
    assert (
        ui.browseSelector.currentText == "bright lesion" and compared.panel.results.shown.target.name == "bright lesion"
    )

    host.choose(ui.mapASelector, "bright lesion")
    host.choose(ui.mapBSelector, "no lesion")
    host.click(ui.differenceButton)
    made = difference.saidOf(slicer.mrmlScene.GetNodeByID(foregrounds()["Red"]))
    assert (made["first"], made["second"], made["by"]) == ("bright lesion", "no lesion", "heat")
    host.choose(ui.differenceSelector, "raw magnitude")  # it follows, in the same volume
    shown = slicer.mrmlScene.GetNodeByID(foregrounds()["Red"])
    assert difference.saidOf(shown)["by"] == "magnitude"
    assert len([one for one in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if difference.saidOf(one)]) == 1

    host.click(ui.agreementButton)
    host.wait(lambda: not compared.panel.compare.pair.busy)
    host.process()
    assert not ui.differenceButton.checked and "rank correlation" in ui.agreementLabel.text
    assert agreement.figuresOf(slicer.mrmlScene.GetNodeByID(foregrounds()["Red"])).names == found.names
    host.click(ui.agreementButton)
    assert set(foregrounds().values()) == {node.GetID()} and not ui.agreementLabel.visible

    host.click(ui.oneScaleBox)
    assert len({overlays.resultOf(one).magnitude for one in found.nodes}) == 1
    host.click(ui.sideBySideButton)
    host.idle(0.1)
    assert side_by_side.isSideBySide() and ui.mapASelector.currentText == "bright lesion"
    names = [
        slicer.mrmlScene.GetNodeByID(foregrounds()[view]).GetAttribute("CAMOverlay.Target") for view in ("Red", "Red+")
    ]
    assert names == ["bright lesion", "no lesion"]
    views = {one.GetLayoutName(): one for one in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    for name in ("Red", "Green", "Yellow"):
        one, other = views[name], views[f"{name}+"]
        assert one.GetSliceOffset() == pytest.approx(other.GetSliceOffset())
        assert other.GetUVWExtents()[:2] == pytest.approx(other.GetFieldOfView()[:2])
        assert one.GetFieldOfView()[0] / one.GetDimensions()[0] == pytest.approx(
            other.GetFieldOfView()[0] / other.GetDimensions()[0]
        )
    host.click(ui.oneScaleBox)  # the copies that the views show follow
    assert overlays.resultOf(slicer.mrmlScene.GetNodeByID(foregrounds()["Red+"])).magnitude != pytest.approx(
        overlays.resultOf(slicer.mrmlScene.GetNodeByID(foregrounds()["Red"])).magnitude
    )
    host.click(ui.sideBySideButton)
    assert not side_by_side.isSideBySide() and foregrounds()["Red"] == node.GetID()

    before = [voxelsOf(one).copy() for one in found.nodes]  # Apply makes another overlay, and leaves the comparison
    compared.apply()
    assert compared.overlay is not node and not sequence.isBrowsed(compared.overlay)
    for one, voxels in zip(found.nodes, before, strict=True):
        np.testing.assert_array_equal(voxelsOf(one), voxels)


def test_cancel_leaves_the_scene_as_it_was(host, panel, demoVolume):
    panel.chooseBundle(DEMO_BUNDLE)
    panel.ui.compareButton.collapsed = False
    host.process()
    before = [one.GetID() for one in slicer.util.getNodesByClass("vtkMRMLVolumeNode")]
    host.click(panel.ui.compareExplainButton)
    host.wait(lambda: panel.panel.runs.run is not None, 30)
    host.click(panel.ui.applyButton)
    panel.finish()
    assert panel.ui.messageLabel.text.startswith("Cancelled")
    assert [one.GetID() for one in slicer.util.getNodesByClass("vtkMRMLVolumeNode")] == before
    assert not slicer.util.getNodesByClass("vtkMRMLSequenceNode") and panel.panel.compared() == {}


def test_overlays_that_cannot_share_a_scale_say_so(host, panel, demoVolume, tmp_path):
    nodes = []
    for number, method in enumerate(("Grad-CAM", "LayerCAM")):
        heat = np.zeros(demoVolume.GetImageData().GetDimensions(), np.float32)
        heat[10:20, 10:20, 10 + number : 20] = 1
        file = makeHeatmap(tmp_path, heat, affineFromNode(demoVolume), f"h{number}")
        nodes.append(overlays.addOverlay(makeResult(file, method=method, target=Target(1, "lesion", "")), demoVolume))
    ui = panel.ui
    panel.panel.parameters.overlayVolume = nodes[0]
    ui.compareButton.collapsed = False
    host.process()
    assert ui.compareExplainButton.enabled is False and "model" in ui.compareExplainButton.toolTip
    host.click(ui.oneScaleBox)
    assert not ui.oneScaleBox.checked and "different units" in ui.messageLabel.text
    host.choose(ui.differenceSelector, "raw magnitude")
    host.click(ui.differenceButton)
    assert not ui.differenceButton.checked and "different methods" in ui.messageLabel.text
    host.choose(ui.compareKindSelector, "methods")
    assert ui.compareTable.rowCount > 10
