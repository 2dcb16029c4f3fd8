"""The rows Map and Outline: one click each, computed where it is not there yet."""

from __future__ import annotations

import json

import pytest
import slicer
import slicer.util


@pytest.fixture
def segmenter(tmp_path, make_bundle):
    """A bundle of a small segmentation network with dropout."""
    network = {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 3,
        "channels": [4, 8],
        "strides": [2],
        "dropout": 0.2,
    }
    chain = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [6.0, 6.0, 6.0], "mode": "bilinear"},
        {"_target_": "ScaleIntensityd", "keys": "image"},
        {"_target_": "EnsureTyped", "keys": "image"},
    ]
    return make_bundle("organs", network, chain, ("background", "liver", "spleen"))


def foregrounds():
    return {c.GetForegroundVolumeID() for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}


def test_a_segmentation_network_is_outlined_and_its_maps_are_a_click_away(host, demoVolume, panel, segmenter):
    from CAMOverlayLib.scene.overlay import further

    panel.explainDemo(segmenter)
    node = panel.overlay
    prediction = further.nodes(node)["prediction"]
    assert prediction.IsA("vtkMRMLSegmentationNode") and prediction.GetDisplayNode().GetVisibility()
    assert not prediction.GetDisplayNode().GetVisibility2DFill()
    panel.ui.displayButton.collapsed = False
    host.process()
    assert panel.ui.predictionBox.checked and panel.ui.heatButton.checked and foregrounds() == {node.GetID()}
    host.click(panel.ui.predictionBox)
    assert not prediction.GetDisplayNode().GetVisibility()

    host.click(panel.ui.probabilityButton)
    panel.finish()
    probability = further.nodes(node)["probability"]
    assert foregrounds() == {probability.GetID()} and not panel.ui.thresholdRange.enabled
    assert panel.ui.probabilityButton.checked and not panel.ui.heatButton.checked
    assert "prediction" not in further.nodes(node), "it is not outlined, so it was not computed"
    host.click(panel.ui.legendBox)
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(probability)
    assert legend.GetTitleText().startswith("probability\n") and legend.GetVisibility()
    panel.ui.opacitySlider.value = 0.8
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert [c.GetForegroundOpacity() for c in composites] == pytest.approx([0.8] * len(composites))

    host.click(panel.ui.heatButton)
    assert foregrounds() == {node.GetID()} and panel.ui.thresholdRange.enabled and not panel.panel.busy
    host.click(panel.ui.probabilityButton)
    assert foregrounds() == {probability.GetID()} and not panel.panel.busy, "it is there"

    host.choose(panel.ui.targetSelector, "spleen")
    panel.finish()
    assert foregrounds() == {probability.GetID()} and "'spleen'" in probability.GetDescription()
    host.click(panel.ui.predictionBox)
    panel.finish()
    assert set(further.nodes(node)) == {"probability", "prediction"}
    host.click(panel.ui.disagreementButton)
    panel.finish()
    assert set(further.nodes(node)) == {"disagreement", "heat_disagreement", "prediction"}
    assert foregrounds() == {further.nodes(node)["disagreement"].GetID()}
    also = json.loads(node.GetAttribute("CAMOverlay.Report"))["further"]
    assert "20 passes with the network's dropout" in also[1]["words"]


@pytest.mark.slow
def test_of_a_classifier_nothing_is_outlined_and_the_click_says_why(host, demoVolume, panel):
    from CAMOverlayLib.scene.overlay import further, resultOf

    panel.explainDemo()
    assert not further.nodes(panel.overlay) and not any("voxel" in w for w in resultOf(panel.overlay).warnings)
    panel.ui.displayButton.collapsed = False
    host.process()
    host.click(panel.ui.entropyButton)
    assert "one answer for the whole volume" in panel.ui.messageLabel.text and not panel.panel.busy
    assert panel.ui.heatButton.checked and not panel.ui.entropyButton.checked
