"""What the views show while a run is under way: its map as soon as it is there, and what they showed before where the
run does not end well."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scene.helpers import shownSketches
from support import SLOW

from CAMOverlayLib.scene.overlay import node as overlays
from CAMOverlayLib.scene.overlay.sketch import ATTRIBUTE
from CAMOverlayLib.scene.overlay.views import composites


def anySketch():
    return any(node.GetAttribute(ATTRIBUTE) for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))


def foregrounds():
    return [(c.GetForegroundVolumeID(), c.GetForegroundOpacity()) for c in composites(slicer.mrmlScene)]


@pytest.fixture
def explained(panel, demoVolume):
    panel.explainDemo()
    return panel


def test_another_class_is_sketched_before_its_overlay(host, explained):
    panel, before = explained, overlays.resultOf(explained.overlay).target.name
    host.choose(panel.ui.targetSelector, "dark lesion")
    host.wait(shownSketches, 60)
    assert overlays.resultOf(panel.overlay).target.name == before, "the overlay is still that of before"
    panel.finish()
    assert overlays.resultOf(panel.overlay).target.name == "dark lesion"
    assert not anySketch()
    assert {one for one, _ in foregrounds()} == {panel.overlay.GetID()}


def pixels(host):
    """What each slice view draws: rows × columns × RGB."""
    manager = slicer.app.layoutManager()
    views = (host.real(manager.sliceWidget(name)).sliceView() for name in manager.sliceViewNames())
    return [view.pixels()[..., :3].astype(int) for view in views]


@pytest.mark.parametrize("method", [SLOW("Grad-CAM"), "Refined (all resolutions)"])
def test_the_views_look_as_they_will(host, explained, method):
    panel = explained
    host.choose(panel.ui.methodSelector, method)
    panel.finish()
    before = pixels(host)
    host.choose(panel.ui.targetSelector, "dark lesion")
    host.wait(shownSketches, 60)
    early = pixels(host)
    panel.finish()
    finished = pixels(host)
    assert any((one != other).any() for one, other in zip(before, early))
    for one, other in zip(early, finished, strict=True):
        assert (np.abs(one - other).max(-1) > 10).mean() < 0.01, "of 255, in one of 100 pixels"
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.998


def test_cancelled_after_its_first_round_occlusion_leaves_the_views_as_they_were(host, explained):
    panel, before = explained, foregrounds()
    node, result = panel.overlay, overlays.resultOf(panel.overlay)
    host.choose(panel.ui.methodSelector, "Occlusion sensitivity")
    if not panel.panel.busy:
        host.click(panel.ui.applyButton)
    host.wait(shownSketches, 60)
    assert panel.panel.busy
    host.click(panel.ui.applyButton)
    panel.finish()
    assert not anySketch()
    assert foregrounds() == before
    assert panel.overlay is node
    assert overlays.resultOf(node) == result


def test_a_scene_closed_over_a_sketch_stays_empty(host, explained):
    panel = explained
    host.choose(panel.ui.targetSelector, "dark lesion")
    host.wait(shownSketches, 60)
    slicer.mrmlScene.Clear(0)
    panel.finish()
    assert not anySketch()
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
