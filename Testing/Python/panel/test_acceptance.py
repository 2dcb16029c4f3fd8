"""The story of the issue, by pressing the real widgets: open, choose, trust, Apply, look, change, cancel, err,
reload."""

from __future__ import annotations

import json

import numpy as np
import pytest
import slicer

from CAMOverlayLib.demo import DEMO_BUNDLE, demo_lesion
from CAMOverlayLib.scene.overlay import node as overlays

VIEWS = ("Red", "Green", "Yellow")


def color(image) -> int:
    """How far from grey the most colourful pixel of a picture is."""
    return int(np.ptp(image.astype(int), axis=2).max())


def test_from_opening_to_the_overlay_in_three_views(host, demoVolume, demoCopy, cold, panel):
    ui = panel.ui
    assert ui.inputSelector.currentNode() is demoVolume, "the volume is already chosen"
    assert not ui.applyButton.enabled and "model" in ui.applyButton.toolTip
    panel.chooseBundle(demoCopy)
    for words in ("1.0.0", "Classification", "1 channel", "56 × 72 × 56", "3 classes", "bright lesion"):
        assert words in ui.bundleInfoLabel.text
    assert [ui.targetSelector.itemText(i) for i in range(4)] == [
        "Predicted class",
        "no lesion",
        "bright lesion",
        "dark lesion",
    ]
    before = {view: host.sliceImage(view) for view in VIEWS}
    assert all(color(image) == 0 for image in before.values())

    stages = []
    host.dialogs.answer("Trust and run")
    host.click(ui.applyButton)
    host.wait(lambda: panel.panel.runs.run is not None, 30)
    assert ui.applyButton.text.replace("&", "") == "Cancel" and ui.progressBar.visible
    while panel.panel.busy:
        host.idle(0.02)
        if ui.progressLabel.text not in stages:
            stages.append(ui.progressLabel.text)
    panel.finish()
    trust = host.dialogs.shown[0]
    assert str(demoCopy) in trust.details and "torch.nn.Linear" in trust.details and "SHA-256" in trust.details
    assert any(words.startswith("Loading the libraries") for words in stages) and ui.progressBar.visible is False

    node = panel.overlay
    assert overlays.isOverlay(node) and ui.overlaySelector.currentNode() is node
    for view in VIEWS:
        assert color(host.sliceImage(view)) > 60, f"the overlay should be seen in {view}"
    assert demo_lesion().distance(overlays.peakWorld(node)) < 20
    assert "bright lesion" in ui.predictionLabel.text and "Alignment verified" in ui.placementLabel.text
    assert "One activation covers" in ui.resolutionLabel.text
    bars = [ui.classTable.cellWidget(row, 1).value for row in range(ui.classTable.rowCount)]
    assert len(bars) == 3 and bars[1] == max(bars) > 900
    names = [ui.stepsTable.item(row, 0).text() for row in range(ui.stepsTable.rowCount)]
    assert names[0].startswith("LoadImage") and any("Spacing" in name for name in names)
    assert ui.environmentLabel.text.count("torch") == 1
    assert panel.panel.explain.layersKnown and not ui.layersButton.visible


def test_another_class_is_followed_and_computed_once(host, demoVolume, demoCopy, panel):
    panel.explainDemo(demoCopy)
    node, before = panel.overlay, slicer.util.arrayFromVolume(panel.overlay).copy()
    host.choose(panel.ui.targetSelector, "dark lesion")
    assert panel.panel.busy, "the class is followed"
    host.wait(lambda: overlays.resultOf(node).target.name == "dark lesion")
    shown = slicer.util.arrayFromVolume(node).copy()
    assert panel.panel.busy and not overlays.resultOf(node).checks, "it is on the screen, and is being checked"
    panel.finish()
    assert [check.name for check in overlays.resultOf(node).checks] == ["class", "network"]
    assert np.array_equal(slicer.util.arrayFromVolume(node), shown)
    assert panel.overlay is node and node.GetName() == "Brain - dark lesion - stage4"
    assert overlays.resultOf(node).target.name == "dark lesion"
    assert not np.array_equal(slicer.util.arrayFromVolume(node), before)
    assert len(host.dialogs.shown) == 1, "trust is asked once"
    host.click(panel.ui.followBox)
    host.choose(panel.ui.targetSelector, "no lesion")
    assert not panel.panel.busy
    panel.apply()
    assert overlays.resultOf(panel.overlay).target.name == "no lesion"


@pytest.mark.slow
def test_a_layer_from_the_tree(host, demoVolume, panel):
    panel.explainDemo()
    tree = panel.ui.layerTree
    item = panel.panel.explain._items["stage3"]
    assert item.text(1).startswith("48") or " × " in item.text(1)
    tree.setCurrentItem(item)
    assert panel.panel.parameters.layer == "stage3"
    panel.finish()
    assert overlays.resultOf(panel.overlay).layer == "stage3"


def test_display_changes_live_and_computes_nothing(host, demoVolume, panel):
    panel.explainDemo()
    ui, node, modified = panel.ui, panel.overlay, panel.overlay.GetImageData().GetMTime()
    picture = host.sliceImage("Red")
    ui.opacitySlider.value = 0.2
    host.process()
    composite = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert composite.GetForegroundOpacity() == pytest.approx(0.2)
    assert color(host.sliceImage("Red")) < color(picture)
    ui.thresholdRange.setValues(0.6, 1.0)
    assert overlays.thresholdOf(node) == pytest.approx((0.6, 1.0))
    host.choose(ui.colorSelector, "CAMOverlay sea")
    assert node.GetDisplayNode().GetColorNode().GetName() == "CAMOverlay sea"
    host.click(ui.legendBox)
    assert overlays.legendShown(node)
    host.click(ui.linkBox)
    assert composite.GetLinkedControl()
    host.click(ui.renderingBox)
    from CAMOverlayLib.scene.overlay import rendering

    assert rendering.shown(node)
    composite.SetForegroundOpacity(0.7)  # by another module
    assert ui.opacitySlider.value == pytest.approx(0.7)
    slice_ = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    atPeak = slice_.GetSliceOffset()  # a new overlay brings the views to its peak
    slice_.SetSliceOffset(-40)
    host.click(ui.peakButton)
    assert slice_.GetSliceOffset() == pytest.approx(atPeak, abs=0.1)
    assert node.GetImageData().GetMTime() == modified and not panel.panel.busy


def test_cancel(host, demoVolume, cold, panel):
    import time

    panel.chooseBundle(DEMO_BUNDLE)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    host.click(panel.ui.applyButton)
    host.wait(lambda: panel.panel.runs.run is not None, 30)
    host.idle(0.5)
    started = time.monotonic()
    host.click(panel.ui.applyButton)
    host.wait(lambda: not panel.panel.busy, 5)
    assert time.monotonic() - started < 1
    assert panel.ui.messageLabel.text.startswith("Cancelled") and panel.ui.applyButton.text.replace("&", "") == "Apply"
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    panel.apply()
    assert panel.overlay is not None, "the next run works"


def test_who_does_not_trust_runs_nothing(host, demoVolume, demoCopy, fresh, panel):
    panel.chooseBundle(demoCopy)
    panel.apply("Cancel")
    assert panel.overlay is None and "not trusted" in panel.ui.messageLabel.text
    assert panel.widget.logic.worker.pid == 0
    panel.apply("Trust and run")
    assert panel.overlay is not None


def test_a_panel_that_is_opened_with_a_trusted_model_warms_up(host, fresh, panel):
    """The process starts, and knows the model, before anybody presses Apply."""
    panel.chooseBundle(DEMO_BUNDLE)
    host.window.selectModule("Volumes")
    assert panel.widget.logic.worker.pid == 0
    host.open("CAMOverlay")
    host.wait(lambda: panel.panel.explain.layersKnown, 120)
    panel.finish()
    assert panel.widget.logic.worker.ready and host.dialogs.shown == []
    assert not panel.ui.messageLabel.visible and panel.overlay is None


def test_a_panel_that_is_opened_with_a_model_that_nobody_trusts_runs_nothing(host, demoCopy, fresh, panel):
    panel.chooseBundle(demoCopy)
    host.window.selectModule("Volumes")
    host.open("CAMOverlay")
    host.wait(lambda: not panel.panel.runs.preparing)
    host.process()
    assert panel.widget.logic.worker.pid == 0 and not panel.panel.explain.layersKnown
    assert host.dialogs.shown == [] and not panel.ui.messageLabel.visible


def test_a_bundle_that_changed_is_asked_about_again(host, demoVolume, panel, make_bundle):
    folder = make_bundle()
    panel.chooseBundle(folder)
    panel.apply("Trust and run")
    assert panel.overlay is not None
    (folder / "scripts").mkdir()
    (folder / "scripts" / "more.py").write_text("")
    panel.apply("Trust and run")
    assert len(host.dialogs.shown) == 2 and "more.py" in host.dialogs.shown[1].details


def test_an_error_is_a_sentence_and_the_scene_stays(host, demoVolume, panel, make_bundle):
    folder = make_bundle(weights=None)
    panel.chooseBundle(folder)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    panel.apply("Trust and run")
    assert "model.pt" in panel.ui.messageLabel.text and "Traceback" not in panel.ui.messageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes and panel.ui.applyButton.enabled
    panel.chooseBundle(DEMO_BUNDLE)
    panel.apply()
    assert panel.overlay is not None and not panel.ui.messageLabel.visible


def test_what_is_no_bundle_is_said_at_once(host, demoVolume, panel, tmp_path):
    panel.chooseBundle(tmp_path)
    assert "not a MONAI bundle" in panel.ui.bundleInfoLabel.text and not panel.ui.applyButton.enabled


def test_a_process_that_dies_says_so_with_its_log(host, demoVolume, fresh, panel):
    import os
    import signal

    panel.chooseBundle(DEMO_BUNDLE)
    host.click(panel.ui.applyButton)
    host.wait(lambda: panel.widget.logic.worker.hello is not None, 30)
    os.kill(panel.widget.logic.worker.hello.pid, signal.SIGKILL)
    panel.finish()
    assert "killed" in panel.ui.messageLabel.text and panel.overlay is None
    panel.apply()
    assert panel.overlay is not None


def test_further_channels_appear_and_are_kept(host, demoVolume, panel, make_bundle):
    metadata = {
        "name": "four",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 3, "channel_def": {"0": "T1", "1": "T1c", "2": "FLAIR"}}},
            "outputs": {},
        },
    }
    panel.chooseBundle(make_bundle(metadata=metadata))
    rows = panel.panel.inputs._channelRows
    assert [label.text for label, _ in rows] == ["T1c:", "FLAIR:"] and "T1" in panel.ui.inputSelectorLabel.text
    assert not panel.ui.applyButton.enabled and "3 volumes" in panel.ui.applyButton.toolTip
    for _label, selector in rows:
        host.choose(selector, "Brain")
    assert panel.ui.applyButton.enabled
    assert panel.panel.parameters.parameterNode.GetNumberOfNodeReferences("channel") == 2
    panel.chooseBundle(DEMO_BUNDLE)
    assert not panel.panel.inputs._channelRows


def test_an_image_is_never_overwritten(host, demoVolume, panel):
    panel.chooseBundle(DEMO_BUNDLE)
    host.choose(panel.ui.overlaySelector, "Brain")
    assert not panel.ui.applyButton.enabled and "not an overlay" in panel.ui.applyButton.toolTip
    host.choose(panel.ui.overlaySelector, "Create a new overlay")
    assert panel.ui.applyButton.enabled


def test_reload_keeps_what_was_chosen(host, demoVolume, panel):
    panel.explainDemo()
    node = panel.overlay
    host.choose(panel.ui.targetSelector, "dark lesion")
    host.click(panel.widget.reloadButton)
    panel.widget = slicer.modules.CAMOverlayWidget
    host.open("CAMOverlay")
    assert panel.overlay is node and panel.ui.targetSelector.currentText == "dark lesion"
    assert panel.panel.parameters.bundleFolder == str(DEMO_BUNDLE) and "bright lesion" in panel.ui.predictionLabel.text
    panel.apply()
    assert overlays.resultOf(node).target.name == "dark lesion"


def test_a_saved_scene_brings_parameters_result_and_display_back(host, demoVolume, panel, tmp_path):
    panel.explainDemo()
    host.click(panel.ui.followBox)
    host.choose(panel.ui.targetSelector, "no lesion")
    panel.ui.opacitySlider.value = 0.35
    panel.ui.thresholdRange.setValues(0.4, 1.0)
    name, result = panel.overlay.GetName(), panel.panel.results.shown
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    host.process()
    assert panel.overlay is None and not panel.ui.resultButton.enabled and not panel.ui.applyButton.enabled
    assert panel.panel.parameters.bundleFolder == "" and panel.panel.parameters.follow
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    host.process()
    assert panel.overlay.GetName() == name and panel.panel.results.shown == result
    assert panel.ui.inputSelector.currentNode().GetName() == "Brain"
    assert panel.ui.targetSelector.currentText == "no lesion" and not panel.ui.followBox.checked
    assert panel.ui.opacitySlider.value == pytest.approx(0.35)
    assert panel.ui.thresholdRange.minimumValue == pytest.approx(0.4)
    panel.apply()
    assert overlays.resultOf(panel.overlay).target.name == "no lesion"


def test_the_scene_closed_during_a_run(host, demoVolume, cold, panel):
    panel.chooseBundle(DEMO_BUNDLE)
    host.click(panel.ui.applyButton)
    host.wait(lambda: panel.panel.runs.run is not None, 30)
    slicer.mrmlScene.Clear(0)
    panel.finish()
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") and not panel.ui.applyButton.enabled


def test_undo_leaves_the_panel_in_step_with_its_parameters(host, demoVolume, panel):
    panel.chooseBundle(DEMO_BUNDLE)
    node = panel.panel.parameters.parameterNode
    slicer.mrmlScene.SetUndoOn()
    node.SetUndoEnabled(True)
    try:
        slicer.mrmlScene.SaveStateForUndo()
        host.choose(panel.ui.targetSelector, "dark lesion")
        slicer.mrmlScene.Undo()
        host.process()
        assert panel.panel.parameters.target == "" and panel.ui.targetSelector.currentText == "Predicted class"
    finally:
        slicer.mrmlScene.ClearUndoStack()
        slicer.mrmlScene.SetUndoOff()


@pytest.mark.slow
def test_the_event_loop_goes_on_during_a_run(host, demoVolume, panel, capsys):
    panel.explainDemo()
    host.click(panel.ui.followBox)
    worker = panel.widget.logic.worker
    gaps = {}
    worker.stop()
    for name in ("cold", "warm"):
        with host.heartbeat() as beat:
            panel.apply()
        gaps[name] = beat
    with capsys.disabled():
        print("\n" + "".join(f"{name} run: {beat.report()}\n" for name, beat in gaps.items()), end="")
    # 50 ms is the aim, and what is printed; other processes on this computer can take the processor away for longer.
    assert all(beat.longestGapMs < 250 for beat in gaps.values())


def test_everything_has_a_tooltip_and_can_be_reached_by_keyboard(host, demoVolume, panel):
    from PySide6.QtCore import Qt
    from PySide6.QtWidgets import QLabel, QProgressBar

    panel.explainDemo()
    folded = ("advancedBox", "logBox", "stepsBox")
    for name in folded:
        getattr(panel.ui, name).collapsed = False
    host.process()
    ours = {name: host.real(widget) for name, widget in vars(panel.ui).items() if name in _fileNames()}
    controls = {
        n: w
        for n, w in ours.items()
        if w.isVisible() and w.isEnabled() and n != "CAMOverlay" and not isinstance(w, QLabel)
    }
    headings = {
        n
        for n in controls
        if n
        in (
            "inputsButton",
            "explainButton",
            "outputButton",
            "resultButton",
            "findingsButton",
            "compareButton",
            "cohortButton",
            "displayButton",
            *folded,
        )
    }
    assert len(controls) > 25
    assert not [name for name in controls.keys() - headings if not getattr(panel.ui, name).toolTip]

    order, widget = [], ours["inputsButton"]
    for _ in range(500):
        if widget.focusPolicy() & Qt.FocusPolicy.TabFocus and widget.isVisible() and widget.isEnabled():
            order += [n for n, w in controls.items() if (w is widget or w.isAncestorOf(widget)) and n not in order]
        widget = widget.nextInFocusChain()
    assert not [n for n, w in controls.items() if n not in order and not isinstance(w, QProgressBar)]
    reading = [
        "inputSelector",
        "bundleSelector",
        "targetSelector",
        "layerTree",
        "methodSelector",
        "overlaySelector",
        "applyButton",
        "classTable",
        "colorSelector",
        "opacitySlider",
        "thresholdRange",
        "legendBox",
        "peakButton",
    ]
    assert [name for name in order if name in reading] == reading


def _fileNames() -> set[str]:
    """Names of the widgets in the Designer file."""
    import xml.etree.ElementTree as ElementTree
    from pathlib import Path

    path = Path(DEMO_BUNDLE).parent / "UI" / "CAMOverlay.ui"
    return {widget.get("name") for widget in ElementTree.parse(path).iter("widget")}


def test_the_report_is_json(host, demoVolume, panel):
    panel.explainDemo()
    assert json.loads(panel.overlay.GetAttribute("CAMOverlay.Report"))["target"]["name"] == "bright lesion"
