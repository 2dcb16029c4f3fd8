"""Loading a module unchanged, pressing it, looking at it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest


def test_a_module_is_where_slicer_puts_it(host, widget):
    import slicer

    module = slicer.modules.camoverlay
    assert module.name == "CAMOverlay" and module.title == "CAM Overlay" and not module.icon.isNull()
    assert Path(module.path).name == "CAMOverlay.py"
    assert module.widgetRepresentation().self() is widget is slicer.modules.CAMOverlayWidget
    assert slicer.util.getModuleWidget("CAMOverlay") is widget
    assert slicer.util.getModuleLogic("CAMOverlay") is widget.logic
    assert isinstance(slicer.util.getModule("CAMOverlay"), slicer.qSlicerScriptedLoadableModule)
    assert slicer.modules.volumes.logic().IsA("vtkSlicerVolumesLogic")
    assert slicer.modules.CAMOverlayInstance.moduleName == "CAMOverlay"


def test_startup_is_announced(host):
    import slicer

    vars(slicer.modules).pop("sampleDataSources", None)
    host.startupCompleted()
    assert [source.sampleName for source in slicer.modules.sampleDataSources["CAM Overlay"]] == ["CAMOverlayDemo"]


def test_the_ui_file_becomes_a_panel(host, widget, blob):
    import ctk

    ui = widget.ui
    host.wait(lambda: ui.inputSelector.currentNode() is blob)
    assert ui.bundleSelector.filters == ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
    assert ui.displayButton.collapsed and not ui.opacitySlider.visible and ui.opacitySlider.maximum == 1
    assert ui.inputSelector.noneDisplay == "Load or choose a volume" and ui.overlaySelector.baseName == "Overlay"
    assert all(box.mrmlScene() is not None for box in (ui.colorSelector, ui.regionSelector, ui.pointSelector))


def test_a_hidden_or_disabled_widget_cannot_be_pressed(host, widget):
    with pytest.raises(AssertionError, match="disabled"):
        host.click(widget.ui.applyButton)
    with pytest.raises(AssertionError, match="cannot be seen"):
        host.click(widget.ui.opacitySlider)


def test_slice_views_show_volume_and_overlay(host, blob, tmp_path):
    import slicer

    host.open("CAMOverlay")
    gray = {view: host.sliceImage(view) for view in ("Red", "Green", "Yellow")}
    for view, image in gray.items():
        assert image.max() > 200, view
        assert np.ptp(image, axis=2).max() == 0, f"{view} should be gray"
        y, x = np.unravel_index(image[..., 0].argmax(), image.shape[:2])
        assert abs(y / image.shape[0] - 0.5) < 0.3 and abs(x / image.shape[1] - 0.5) < 0.3, "the blob is in the middle"
    overlay = slicer.util.addVolumeFromArray((slicer.util.arrayFromVolume(blob) >= 300).astype("uint8"))
    overlay.SetSpacing(blob.GetSpacing())
    overlay.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    slicer.util.setSliceViewerLayers(foreground=overlay, foregroundOpacity=0.5)
    for view in gray:
        image = host.sliceImage(view).astype(int)
        assert (image[..., 0] - image[..., 1]).max() > 60, f"{view} should be reddish"
    picture = host.grab(tmp_path / "window.png")
    assert picture.stat().st_size > 10000


def test_letters_and_scrolling(host, blob):
    import slicer

    host.open("CAMOverlay")
    logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    before, offset = host.sliceImage("Red"), logic.GetSliceOffset()
    red = host.real(slicer.app.layoutManager().sliceWidget("Red"))
    red.scroll(3)
    assert logic.GetSliceOffset() == pytest.approx(offset + 9)
    assert (host.sliceImage("Red") != before).any()
    slider = red.sliceController()._slider
    assert slider.value == pytest.approx(offset + 9)
    slider.value = offset
    assert logic.GetSliceOffset() == pytest.approx(offset)


def test_reload(host, widget, blob):
    import slicer

    widget.panel.parameters.opacity = 0.25
    host.click(widget.reloadButton)
    after = slicer.modules.CAMOverlayWidget
    assert after is not widget and type(after) is not type(widget)
    assert after.panel.parameters.opacity == 0.25 == after.ui.opacitySlider.value
    assert not widget.Observations
    host.open("CAMOverlay")
    host.click(after.ui.followBox, (8, 8))
    assert after.panel.parameters.follow is False and widget.panel.parameters is None


def test_test_runs_the_self_test(host, widget, monkeypatch):
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

    ran = []

    class Test(ScriptedLoadableModuleTest):
        def runTest(self):
            ran.append(self.messageDelay)
            self.delayDisplay("Test passed")

    monkeypatch.setattr(sys.modules["CAMOverlay"], "CAMOverlayTest", Test)
    widget.onTest()
    assert ran == [0]


def test_scene_close_and_scene_file(host, widget, blob, tmp_path):
    import slicer

    widget.panel.parameters.opacity = 0.75
    slicer.util.saveScene(str(tmp_path / "s.mrb"))
    slicer.mrmlScene.Clear(0)
    host.process()
    assert widget.panel.parameters.opacity == 0.5 == widget.ui.opacitySlider.value
    slicer.util.loadScene(str(tmp_path / "s.mrb"))
    host.process()
    assert widget.panel.parameters.opacity == 0.75 == widget.ui.opacitySlider.value
    assert widget.ui.inputSelector.currentNode().GetName() == "Blob"


def test_leaving_and_entering(host, widget):
    host.window.selectModule("Volumes")
    assert not widget.parent.isEntered
    host.open("CAMOverlay")
    assert widget.parent.isEntered


def test_volumes_from_files(host, blob, tmp_path):
    import slicer

    path = tmp_path / "blob.nrrd"
    blob.AddDefaultStorageNode(str(path))
    blob.GetStorageNode().SetFileName(str(path))
    assert blob.GetStorageNode().WriteData(blob)
    loaded = slicer.util.loadVolume(str(path), {"name": "again"})
    assert loaded.GetName() == "again"
    assert (slicer.util.arrayFromVolume(loaded) == slicer.util.arrayFromVolume(blob)).all()
    with pytest.raises(RuntimeError):
        slicer.util.loadVolume(str(tmp_path / "missing.nrrd"))
    with pytest.raises(NotImplementedError, match="SegmentationFile"):
        slicer.util.loadSegmentation(str(path))


def test_message_boxes_are_answered_and_recorded(host):
    import slicer

    host.open("CAMOverlay")
    host.dialogs.answer("No", "Cancel", "Ok")
    assert slicer.util.confirmYesNoDisplay("Go on?") is False
    assert slicer.util.confirmOkCancelDisplay("Sure?", detailedText="more") is False
    slicer.util.errorDisplay("It failed")
    texts = [shown.text for shown in host.dialogs.shown]
    assert texts == ["Go on?", "Sure?", "It failed"] and host.dialogs.shown[1].details == "more"


def test_an_unexpected_message_box_fails_the_test(host):
    import slicer

    host.open("CAMOverlay")
    slicer.util.errorDisplay("Oh")
    with pytest.raises(AssertionError, match="Oh"):
        host.checkNoErrors()
    host.dialogs.unexpected.clear()


def test_an_exception_in_an_observer_of_the_scene_is_recorded(host, capfd):
    import slicer

    def fail(*_):
        raise ValueError("observer")

    tag = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, fail)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    slicer.mrmlScene.RemoveObserver(tag)
    assert [str(error) for error in host.errors] == ["observer"]
    host.errors.clear()


def test_missing_system_libraries_are_named(monkeypatch, capsys):
    from SlicerHost import system_libraries

    assert system_libraries.missing({"libc.so.6": "libc6", "libnosuch.so.1": "libnosuch1"}) == (
        ["libnosuch1"] if sys.platform == "linux" else []
    )
    monkeypatch.setattr(system_libraries, "NEEDED", {"libnosuch.so.1": "libnosuch1"})
    monkeypatch.setattr(system_libraries.shutil, "which", lambda name: None)
    if sys.platform == "linux":
        assert not system_libraries.ensure()
        assert capsys.readouterr().err.splitlines() == ["Qt needs system libraries: sudo apt-get install libnosuch1"]


def test_sample_data_is_registered(host):
    import SampleData
    import slicer

    from CAMOverlayLib.demo import DEMO_VOLUME

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Test", sampleName="Sample1", uris=DEMO_VOLUME.as_uri(), fileNames=DEMO_VOLUME.name, nodeNames="Sample"
    )
    assert [source.sampleName for source in slicer.modules.sampleDataSources["Test"]] == ["Sample1"]
    assert SampleData.downloadSample("Sample1").GetName() == "Sample"


def test_error_display_raises_again(host):
    import slicer

    host.open("CAMOverlay")
    host.dialogs.answer("OK")
    with pytest.raises(KeyError), slicer.util.tryWithErrorDisplay("Failed.", waitCursor=True):
        raise KeyError("x")
    assert host.dialogs.shown[0].text.startswith("Failed.")


def test_installing_packages_is_played(host, monkeypatch):
    import slicer.packaging as packaging

    packaging.index.__init__()
    lines, ended = [], []
    beside = {"blocking": False, "show_progress": False, "logCallback": lines.append, "completedCallback": ended.append}
    packaging.pip_install("one two>=1", **beside)
    host.wait(lambda: ended)
    assert packaging.index.installed == [["one", "two>=1"]] and ended == [0] and "one two>=1" in lines[0]
    packaging.pip_uninstall(["one"])
    assert packaging.index.uninstalled == [["one"]]
    packaging.index.error = "No space left on device"
    host.dialogs.answer("OK")
    with pytest.raises(packaging.CalledProcessError) as caught:
        packaging.pip_install("other")
    assert not caught.value.output, "Slicer shows a window with pip's words first, and they are not in the error"
    window = host.dialogs.shown[-1]
    assert window.text == "Package installation failed." and "No space left" in window.details
    lines.clear(), ended.clear()
    packaging.pip_install("other", **beside)
    assert lines[-1] == "No space left on device" and ended == [1]
    packaging.index.__init__()


def test_application(host):
    import slicer

    assert slicer.app.applicationVersion.startswith("5.13") and slicer.app.revision == "31053"
    assert os.path.isdir(slicer.app.temporaryPath)
    assert slicer.app.testingEnabled() is False
    assert slicer.app.layoutManager().sliceViewNames() == ("Red", "Green", "Yellow")
    assert shutil.which("PythonSlicer") == sys.executable
    assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True).stdout == "1\n"
    assert slicer.util.startupEnvironment()["PATH"]
    assert slicer.util.showStatusMessage("hello") and host.window.statusBar().currentMessage() == "hello"
    assert slicer.util.mainWindow().className() == "qSlicerMainWindow"
    got = []
    slicer.app.aboutToQuit.connect(lambda: got.append(1))
    slicer.app.aboutToQuit.emit()
    assert got == [1]


def test_the_heartbeat_sees_a_blocked_event_loop(host):
    with host.heartbeat() as beat:
        host.idle(0.1)
    assert beat.longestGapMs < 50
    with host.heartbeat() as beat:
        host.idle(0.02)
        time.sleep(0.12)
        host.idle(0.02)
    assert 115 < beat.longestGapMs < 250 and "longest gaps 1" in beat.report()


def test_waiting_has_an_end(host):
    with pytest.raises(TimeoutError):
        host.wait(lambda: False, 0.05)


def test_without_a_main_window_and_a_second_time(tmp_path):
    folder = Path(__file__).resolve().parents[2]
    code = f"""
import sys; sys.path[:0] = {[str(folder), str(folder.parent / "CAMOverlay")]!r}
import SlicerHost
for mainWindow in (True, False):
    host = SlicerHost.start(mainWindow=mainWindow)
    import slicer
    host.loadModule({str(folder.parent / "CAMOverlay" / "CAMOverlay.py")!r})
    panel = host.open("CAMOverlay")
    assert panel.ui.applyButton.text == "&Apply"
    assert (slicer.util.mainWindow() is not None) == mainWindow == (slicer.app.layoutManager() is not None)
    home = host.home
    host.checkNoErrors()
    host.stop()
    assert not home.exists() and not hasattr(slicer, "app") and "qt" not in sys.modules
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("options", [[], ["--dark", "--scale", "2"]], ids=["light", "dark at 200 %"])
@pytest.mark.some(1)
def test_the_command_takes_a_picture(tmp_path, options):
    folder = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(folder), str(folder.parent / "CAMOverlay")])
    output = tmp_path / "picture.png"
    # The presses before the picture take a run of the network; `make screenshot` makes them.
    code = "import sys, SlicerHost.__main__ as m; m.demonstrate = lambda *_: None; sys.exit(m.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *options, "screenshot", str(output)]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert output.stat().st_size > 5000


def test_nothing_in_the_module_folder_knows_of_the_host():
    folder = Path(__file__).resolve().parents[3] / "CAMOverlay"
    assert not [path for path in folder.rglob("*.py") if "SlicerHost" in path.read_text()]
