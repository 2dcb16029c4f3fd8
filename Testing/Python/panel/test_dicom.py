"""The row that writes DICOM, pressed: only for a volume of slices; progress, cancelled, refused in words."""

from __future__ import annotations

import threading

import pydicom
import pytest
from dicom_series import voxels, write_series
from panel.test_findings import show

SHAPE = (30, 28, 12)
PEAKS = {(10, 12, 4): 1.0, (24, 20, 9): 0.8}


@pytest.fixture
def series(host, panel, tmp_path):
    """A series that is the panel's volume, with an overlay that has two hot spots."""
    from CAMOverlayLib.scene import core

    write_series(tmp_path / "series", "oblique", stored=voxels(SHAPE))
    volume = core.loadVolume(tmp_path / "series")
    panel.panel.parameters.inputVolume = volume
    show(host, panel, volume, tmp_path, PEAKS)
    panel.ui.resultButton.collapsed = False
    return tmp_path


def press(host, panel, folder):
    host.dialogs.answer(str(folder))
    host.click(panel.ui.dicomButton)


def finished(host, panel):
    host.wait(lambda: not panel.panel.dicom.busy, 60)
    return panel.ui.messageLabel.text


def test_a_volume_that_is_no_series_has_no_row(host, panel, demoVolume, tmp_path):
    show(host, panel, demoVolume, tmp_path, {(50, 60, 40): 1.0})
    panel.ui.resultButton.collapsed = False
    assert not panel.ui.dicomButton.visible and not panel.ui.dicomPictureBox.visible


def test_one_press_writes_the_map_the_hot_spots_and_the_picture(host, panel, series):
    assert panel.ui.dicomButton.visible and panel.ui.dicomButton.text == "Save as DICOM …"
    panel.ui.dicomPictureBox.checked = True
    press(host, panel, series / "objects")
    assert panel.ui.dicomButton.text == "Cancel writing"
    words = finished(host, panel)
    assert f"Written to {series / 'objects'} and read back: heatmap.dcm, hot-spots.dcm, picture.dcm" in words
    assert panel.ui.dicomButton.text == "Save as DICOM …"
    hot = pydicom.dcmread(series / "objects/hot-spots.dcm")
    assert [one.SegmentLabel for one in hot.SegmentSequence] == ["hot 1", "hot 2"]
    assert pydicom.dcmread(series / "objects/heatmap.dcm").NumberOfFrames == SHAPE[2]


def test_a_second_press_cancels_and_nothing_stays(host, panel, series, monkeypatch):
    from CAMOverlayLib.dicom import deliver

    started, go = threading.Event(), threading.Event()
    really = deliver.write_parametric_map

    def slow(*arguments):
        started.set()
        go.wait(30)
        return really(*arguments)

    monkeypatch.setattr(deliver, "write_parametric_map", slow)
    press(host, panel, series / "objects")
    host.wait(started.is_set, 30)
    host.click(panel.ui.dicomButton)
    go.set()
    assert "Cancelled; nothing was written" in finished(host, panel)
    assert not (series / "objects").exists()


def test_what_is_wrong_is_said_below_apply(host, panel, series):
    import slicer

    slicer.util.arrayFromVolume(panel.panel.parameters.inputVolume)[3, 4, 5] += 9
    press(host, panel, series / "objects")
    assert "are not those of its DICOM series" in finished(host, panel)
    assert not (series / "objects").exists()
