"""Models that are no bundles, by clicking: chosen, described and run without a question."""

from __future__ import annotations

import pytest
import slicer
from Oracles.nnunet.cases import BY_NAME


@pytest.fixture
def nnunetVolume(host):
    from CAMOverlayLib.scene import core

    return core.loadVolume(BY_NAME["isotropic_mr"].input_files[0])


def test_an_nnunet_folder_is_explained_without_a_question(host, panel, nnunetVolume):
    panel.ui.inputSelector.setCurrentNode(nnunetVolume)
    panel.chooseBundle(BY_NAME["isotropic_mr"].model)
    said = panel.ui.bundleInfoLabel.text
    assert "Dataset902_IsotropicMR" in said and "nnU-Net v2 model; nothing in it can run code" in said
    assert "3 classes: background, organ, lesion" in said and "1 channel (T1)" in said
    panel.apply()
    assert not host.dialogs.shown, "a question was asked"
    assert panel.overlay is not None, panel.ui.messageLabel.text
    assert "organ" in panel.ui.predictionLabel.text
    assert "verified" in panel.ui.placementLabel.text


def test_its_layers_are_listed(host, panel, nnunetVolume):
    panel.ui.inputSelector.setCurrentNode(nnunetVolume)
    panel.chooseBundle(BY_NAME["isotropic_mr"].model)
    panel.ui.layersButton.click()
    host.wait(lambda: panel.panel.explain.layersKnown)
    assert not host.dialogs.shown
    assert panel.ui.layerTree.topLevelItemCount > 1


def test_the_console_needs_no_trust_either(host, nnunetVolume):
    logic = slicer.util.getModuleLogic("CAMOverlay")
    node, result = logic.process(nnunetVolume, BY_NAME["isotropic_mr"].model, target="lesion", withResult=True)
    assert result.target.name == "lesion" and result.placement.verdict == "verified"
    assert node.GetImageData().GetDimensions() == nnunetVolume.GetImageData().GetDimensions()
