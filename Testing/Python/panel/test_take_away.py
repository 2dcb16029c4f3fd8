"""The buttons that take a result away: the report, and the words that compute it again."""

from __future__ import annotations

from panel.test_findings import show


def test_report_and_both_copies(host, panel, demoVolume, tmp_path):
    import slicer

    assert not panel.ui.reportButton.enabled  # there is no result yet
    node = show(host, panel, demoVolume, tmp_path)
    assert panel.ui.resultButton.enabled
    panel.ui.resultButton.collapsed = False
    host.process()
    host.click(panel.ui.copyPythonButton)
    text = slicer.app.clipboard().text()
    assert "network and its chain were in memory" in text and "found = explain(" in text
    host.click(panel.ui.copyCommandButton)
    assert slicer.app.clipboard().text().startswith("# lesion")
    assert "terminal" in panel.ui.messageLabel.text

    host.dialogs.answer("")
    host.click(panel.ui.reportButton)  # given up
    assert not panel.panel.takeAway.busy and panel.ui.reportButton.enabled
    host.dialogs.answer(str(tmp_path / "my report"))
    host.click(panel.ui.reportButton)
    host.wait(lambda: not panel.panel.takeAway.busy, 30)
    page = (tmp_path / "my report.html").read_text()
    assert "Evidence for “lesion”" in page and node.GetName() and "Brain" in page
    assert str(tmp_path / "my report.html") in panel.ui.messageLabel.text
    host.dialogs.answer(str(tmp_path / "no such folder" / "r.html"))
    host.click(panel.ui.reportButton)
    host.wait(lambda: not panel.panel.takeAway.busy, 30)
    assert "does not exist" in panel.ui.messageLabel.text and panel.ui.reportButton.enabled


def test_the_copied_code_computes_the_overlay_again(host, panel, demoVolume):
    import numpy as np
    import slicer
    import slicer.util

    from CAMOverlayLib.scene.overlay.node import resultOf

    panel.explainDemo()
    first = panel.overlay
    host.click(panel.ui.copyPythonButton)
    text = slicer.app.clipboard().text()
    result = resultOf(first)
    assert "slicer.util.getNode('Brain')" in text and f"trustedHash='{result.provenance.content_hash}'" in text
    names = {"slicer": slicer}
    exec(text, names)
    again = names["overlay"]
    assert again is not first
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(again), slicer.util.arrayFromVolume(first))
    assert resultOf(again).provenance == result.provenance
