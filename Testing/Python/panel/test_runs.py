"""Runs that overlap, end late or meet a scene that changed: callbacks belong to their run, and each run checks
trust."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import slicer
from scene.helpers import makeHeatmap, makeResult, makeVolume

from CAMOverlayLib.contract.errors import Cancelled, DeviceError, WorkerError
from CAMOverlayLib.demo import DEMO_BUNDLE
from CAMOverlayLib.scene.overlay import heat_view
from CAMOverlayLib.scene.overlay import node as overlays


class PlayedRun:
    """A run whose end the test decides."""

    def __init__(self, options) -> None:
        self.options, self.cancelled = options, 0

    def cancel(self) -> None:
        self.cancelled += 1

    def fail(self, error) -> None:
        self.options["onError"](error)


@pytest.fixture
def played(panel, demoVolume, monkeypatch):
    """The panel with runs that go on until the test ends them."""
    panel.explainDemo()
    runs = []

    def start(volume, bundle, **options):
        runs.append(PlayedRun(options))
        return runs[-1]

    monkeypatch.setattr(panel.widget.logic, "start", start)
    yield panel, runs
    for run in runs:
        run.fail(Cancelled("over"))


def begun(host, runs, count):
    host.wait(lambda: len(runs) == count, 10)


def test_the_late_end_of_a_superseded_run_leaves_the_new_one_alone(host, played):
    panel, runs = played
    host.choose(panel.ui.targetSelector, "dark lesion")
    begun(host, runs, 1)
    host.choose(panel.ui.targetSelector, "no lesion")
    begun(host, runs, 2)
    runs[0].options["onProgress"](None)  # heard no more, or it would raise
    runs[0].fail(Cancelled("The run was cancelled for another one; nothing was changed."))
    assert panel.panel.runs.run is runs[1] and panel.panel.busy
    assert panel.ui.applyButton.text.replace("&", "") == "Cancel" and panel.ui.progressBar.visible
    assert not panel.ui.messageLabel.visible
    host.click(panel.ui.applyButton)
    assert (runs[0].cancelled, runs[1].cancelled) == (0, 1), "Cancel reaches the new run"
    runs[1].fail(Cancelled("over"))
    assert not panel.panel.busy and panel.ui.messageLabel.text.startswith("Cancelled")


def test_a_run_that_cannot_start_leaves_the_one_under_way_alone(host, played, monkeypatch):
    panel, runs = played
    host.choose(panel.ui.targetSelector, "dark lesion")
    begun(host, runs, 1)

    def refuse(*arguments, **options):
        raise WorkerError("There is no such Python.")

    monkeypatch.setattr(panel.widget.logic, "start", refuse)
    host.choose(panel.ui.targetSelector, "no lesion")
    host.wait(lambda: "no such Python" in panel.ui.messageLabel.text)
    assert panel.panel.runs.run is runs[0] and panel.panel.busy
    runs[0].fail(WorkerError("It ended."))
    assert not panel.panel.busy and panel.ui.messageLabel.text == "It ended."


def test_a_run_that_ends_while_it_is_started_is_over(host, played, monkeypatch):
    panel, _runs = played

    def failAtOnce(volume, bundle, **options):
        options["onError"](WorkerError("It did not begin."))
        return PlayedRun(options)

    monkeypatch.setattr(panel.widget.logic, "start", failAtOnce)
    panel.apply()
    assert not panel.panel.busy and panel.ui.messageLabel.text == "It did not begin."


@pytest.mark.slow
def test_a_followed_choice_of_a_bundle_that_changed_asks_again(host, demoVolume, panel, demoCopy):
    panel.explainDemo(demoCopy)
    asked = len(host.dialogs.shown)
    (demoCopy / "scripts").mkdir()
    (demoCopy / "scripts" / "new.py").write_text("")
    host.dialogs.answer("Cancel")
    host.choose(panel.ui.targetSelector, "dark lesion")
    panel.finish()
    assert len(host.dialogs.shown) == asked + 1 and "not trusted" in panel.ui.messageLabel.text
    assert overlays.resultOf(panel.overlay).target.name != "dark lesion"


def test_a_choice_followed_during_a_run_checks_trust_too(host, demoVolume, panel, demoCopy, monkeypatch):
    panel.explainDemo(demoCopy)
    runs = []
    monkeypatch.setattr(panel.widget.logic, "start", lambda *a, **options: runs.append(PlayedRun(options)) or runs[-1])
    host.choose(panel.ui.targetSelector, "dark lesion")
    begun(host, runs, 1)
    (demoCopy / "new.py").write_text("")
    asked = len(host.dialogs.shown)
    host.dialogs.answer("Cancel")
    host.choose(panel.ui.targetSelector, "no lesion")
    host.wait(lambda: len(host.dialogs.shown) > asked)
    host.process()
    assert len(runs) == 1 and panel.panel.runs.run is runs[0], "the run before goes on, no other begins"
    runs[0].fail(Cancelled("over"))


@pytest.mark.slow
def test_layers_are_not_listed_of_a_bundle_that_changed_during_the_run(host, demoVolume, panel, demoCopy, monkeypatch):
    panel.explainDemo(demoCopy)
    called = []
    monkeypatch.setattr(panel.widget.logic.worker, "call", lambda *a, **k: called.append(a))
    (demoCopy / "new.py").write_text("")
    panel.panel.explain.setLayers((), "")
    node = panel.overlay
    asked = len(host.dialogs.shown)
    panel.panel.runs._onResult(node, panel.panel.wanted())
    host.wait(lambda: not panel.panel.busy)
    assert called == [] and len(host.dialogs.shown) == asked


@pytest.mark.slow
def test_layers_survive_a_run_and_its_place_in_the_history(host, demoVolume, panel):
    panel.explainDemo()
    assert panel.panel.explain.layersKnown
    for target in ("dark lesion", "no lesion"):
        host.choose(panel.ui.targetSelector, target)
        panel.finish()
        host.idle(0.5)  # longer than the pause after which the folder would be read
        assert panel.panel.explain.layersKnown and not panel.ui.layersButton.visible
        assert panel.ui.targetSelector.currentText == target


def test_the_same_path_said_again_reads_nothing_anew(host, demoVolume, panel):
    panel.explainDemo()
    panel.ui.bundleSelector.retrieveHistory()
    panel.ui.bundleSelector.addCurrentPathToHistory()
    host.idle(0.5)
    assert panel.panel.explain.layersKnown and panel.panel.parameters.bundleFolder == str(DEMO_BUNDLE)


def test_what_is_typed_survives_a_volume_that_arrives_meanwhile(host, panel):
    host.type(panel.ui.bundleSelector, str(DEMO_BUNDLE))
    makeVolume(np.zeros((4, 4, 4), np.int16), name="late")
    panel.panel.preselect()
    host.wait(lambda: panel.panel.parameters.bundleFolder == str(DEMO_BUNDLE))
    assert panel.panel.parameters.inputVolume is not None


def test_content_that_changed_under_the_same_path_is_read(host, demoVolume, panel, demoCopy):
    panel.chooseBundle(demoCopy)
    metadata = json.loads((demoCopy / "configs" / "metadata.json").read_text())
    (demoCopy / "configs" / "metadata.json").write_text(json.dumps({**metadata, "version": "9.9.9"}))
    panel.ui.bundleSelector.addCurrentPathToHistory()
    host.wait(lambda: "9.9.9" in panel.ui.bundleInfoLabel.text)


# Heat in view.


def shownResult(panel, tmp_path, volume, peak, node=None):
    """An overlay with one hot block, shown in the views."""
    voxels = np.zeros((40, 40, 40), np.float32)
    voxels[tuple(slice(p - 1, p + 2) for p in peak)] = 1
    from CAMOverlayLib.scene.io.volumes import affineFromNode

    result = makeResult(makeHeatmap(tmp_path, voxels, affineFromNode(volume)))
    return overlays.addOverlay(result, volume, node)


def test_heat_that_no_view_shows_is_brought_into_view(host, panel, tmp_path):
    volume = makeVolume(np.full((40, 40, 40), 100, np.int16), name="Head")
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    node = shownResult(panel, tmp_path, volume, (6, 6, 6))
    assert heat_view.bringHeatIntoView(node) and heat_view.heatIsSeen(node)
    assert not heat_view.bringHeatIntoView(node), "what is seen is left where it is"
    offsets = [v.GetSliceOffset() for v in slicer.util.getNodesByClass("vtkMRMLSliceNode")]
    shownResult(panel, tmp_path, volume, (33, 33, 33), node)
    assert not heat_view.heatIsSeen(node)
    panel.panel.runs._onResult(node, ("", "", "", "", (), "", "", ""))
    assert heat_view.heatIsSeen(node)
    assert offsets != [v.GetSliceOffset() for v in slicer.util.getNodesByClass("vtkMRMLSliceNode")]


def test_heat_outside_of_a_zoomed_view_is_not_seen(host, panel, tmp_path):
    volume = makeVolume(np.full((40, 40, 40), 100, np.int16), name="Head")
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    node = shownResult(panel, tmp_path, volume, (6, 6, 6))
    overlays.jumpToPeak(node, centre=False)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        view.SetFieldOfView(4, 4, view.GetFieldOfView()[2])
    assert not heat_view.heatIsSeen(node)
    assert heat_view.bringHeatIntoView(node) and heat_view.heatIsSeen(node)


@pytest.mark.parametrize("threshold", [0.15, 0.0])
def test_a_map_without_heat_moves_nothing(host, panel, tmp_path, threshold):
    volume = makeVolume(np.full((40, 40, 40), 100, np.int16), name="Head")
    from CAMOverlayLib.scene.io.volumes import affineFromNode

    node = overlays.addOverlay(
        makeResult(makeHeatmap(tmp_path, np.zeros((40, 40, 40)), affineFromNode(volume))), volume
    )
    overlays.setThreshold(node, threshold)
    assert not heat_view.bringHeatIntoView(node)


def test_heat_under_a_parent_transform_is_found(host, panel, tmp_path):
    import vtk

    volume = makeVolume(np.full((40, 40, 40), 100, np.int16), name="Head")
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    node = shownResult(panel, tmp_path, volume, (6, 6, 6))
    overlays.jumpToPeak(node)
    assert heat_view.heatIsSeen(node)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved = vtk.vtkMatrix4x4()
    for row, mm in enumerate((200, 150, 100)):
        moved.SetElement(row, 3, mm)
    transform.SetMatrixTransformToParent(moved)
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert not heat_view.heatIsSeen(node)
    assert heat_view.bringHeatIntoView(node) and heat_view.heatIsSeen(node)


# The bundle that ships, and what is not said in the panel.


def test_the_hash_of_the_shipped_bundle_is_its_own(host):
    from CAMOverlayLib.contract.bundle_files import content_hash
    from CAMOverlayLib.panel.shipped import SHIPPED

    assert {content_hash(DEMO_BUNDLE)} == set(SHIPPED), (
        "the demo bundle or its hash changed: write this one into panel/shipped.py"
    )


def test_the_shipped_bundle_asks_nothing(host, demoVolume, panel):
    panel.explainDemo()
    assert host.dialogs.shown == []


def test_a_shipped_bundle_that_was_changed_or_copied_is_asked_about(host, demoCopy):
    from CAMOverlayLib.contract.bundle_files import content_hash
    from CAMOverlayLib.panel.shipped import isShippedBundle

    assert isShippedBundle(DEMO_BUNDLE, content_hash(DEMO_BUNDLE))
    assert not isShippedBundle(demoCopy, content_hash(demoCopy))
    (demoCopy / "more.py").write_text("")
    assert not isShippedBundle(DEMO_BUNDLE, content_hash(demoCopy))
    shutil.rmtree(demoCopy)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            DeviceError("Device 'cuda' does not exist on this computer. Use --device cpu."),
            "Device 'cuda' does not exist on this computer. Choose another device under Advanced.",
        ),
        (WorkerError("It failed. Say so with --trust (trust=True in Python)."), "It failed."),
        (WorkerError("Name it (--config configs/NAME.json)."), "Name it."),
        (
            WorkerError("A sentence - with dashes -- as these.\n--log of it"),
            "A sentence - with dashes -- as these.\n--log of it",
        ),
    ],
)
def test_no_option_of_the_command_line_is_shown_in_the_panel(host, error, words):
    from CAMOverlayLib.panel.remedies import inThePanel

    assert inThePanel(error) == words


def test_a_folder_that_is_no_bundle_names_no_option(host, panel, tmp_path):
    (tmp_path / "configs").mkdir()
    panel.chooseBundle(tmp_path)
    assert "not a MONAI bundle" in panel.ui.bundleInfoLabel.text and "--" not in panel.ui.bundleInfoLabel.text


def test_the_field_of_view_is_shown_from_the_panel(host, demoVolume, panel):
    from CAMOverlayLib.scene.overlay import field_of_view_segmentation as seen

    panel.explainDemo()
    panel.ui.displayButton.collapsed = False
    host.process()
    host.click(panel.ui.fieldBox)
    outline = panel.overlay.GetNodeReference(seen.ROLE)
    assert outline is not None and outline.GetDisplayNode().GetVisibility() and panel.ui.fieldBox.checked
    host.choose(panel.ui.targetSelector, "dark lesion")
    panel.finish()
    again = panel.overlay.GetNodeReference(seen.ROLE)
    assert again is not None and again.GetDisplayNode().GetVisibility(), "the outline is of the new result"
    host.click(panel.ui.fieldBox)
    assert not again.GetDisplayNode().GetVisibility()


def test_each_method_says_what_it_shows(host, panel):
    import qt

    combo = panel.ui.methodSelector
    tips = [combo.itemData(row, qt.Qt.ToolTipRole) for row in range(combo.count)]
    assert all(tip and "http" in tip for tip in tips) and len(set(tips)) == combo.count
