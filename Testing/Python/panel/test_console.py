"""The examples of README's section on Slicer, run as they stand, and the self-tests in the ways in which Slicer runs
them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import slicer

from CAMOverlayLib.contract.errors import UntrustedBundleError
from CAMOverlayLib.demo import DEMO_BUNDLE
from CAMOverlayLib.scene.overlay import node as overlays

README = Path(__file__).resolve().parents[3] / "README.md"


def examples() -> list[str]:
    section = README.read_text(encoding="utf-8").partition("## In 3D Slicer")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.mark.parametrize("number", range(len(examples())))
def test_the_examples_of_the_readme_run(host, demoVolume, panel, number):
    demoVolume.SetName("MRHead")
    text = examples()[number].replace("/path/to/bundle", str(DEMO_BUNDLE)).replace('"lesion"', '"bright lesion"')
    names = {"slicer": slicer, "getNode": slicer.util.getNode}
    exec(text, names)
    if "run" in names:
        names["run"].wait(60)
    made = [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if overlays.isOverlay(node)]
    assert made


def test_there_are_examples():
    assert len(examples()) >= 2


def test_what_was_trusted_in_the_panel_is_trusted_in_the_console(host, demoVolume, panel, demoCopy):
    logic = slicer.util.getModuleLogic("CAMOverlay")
    with pytest.raises(UntrustedBundleError, match="trust"):
        logic.process(demoVolume, demoCopy)
    panel.explainDemo(demoCopy)
    assert overlays.isOverlay(logic.process(demoVolume, demoCopy))


def test_the_shipped_bundle_needs_no_trust_in_the_console(host, demoVolume, panel):
    assert overlays.isOverlay(slicer.util.getModuleLogic("CAMOverlay").process(demoVolume, DEMO_BUNDLE))


@pytest.mark.slow  # reloading and testing, below, runs them too
def test_the_self_tests_pass(host, panel, caplog):
    with caplog.at_level("INFO"):
        slicer.selfTests["CAMOverlay"](msec=0)
    assert "All tests passed" in caplog.text and "left out" not in caplog.text


def test_the_self_tests_pass_as_a_unittest(host, panel):
    import sys
    import unittest

    tests = unittest.defaultTestLoader.loadTestsFromTestCase(sys.modules["CAMOverlay"].CAMOverlayTest)
    result = unittest.TestResult()
    names = {test._testMethodName for test in tests}
    assert names == {
        f"test_{name}" for name in ("export", "explanation", "placement", "overlay", "cancel", "error", "scene_reload")
    }
    next(test for test in tests if "export" in test._testMethodName).run(result)
    assert result.wasSuccessful() and result.testsRun == 1


def test_reload_and_test(host, panel):
    panel.widget.onReloadAndTest()
    panel.widget = slicer.modules.CAMOverlayWidget


def test_the_demo_volume_is_among_the_sample_data(host):
    import SampleData

    source = slicer.modules.sampleDataSources["CAM Overlay"][0]
    assert Path(source.thumbnailFileName).is_file() and source.uris[0].startswith("file://")
    assert SampleData.downloadSample("CAMOverlayDemo").GetName() == "BrainWithLesion"
