"""The heat faded where it is not stable: a volume that follows the overlay, in its place, saved with the scene."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import slicer.util

from CAMOverlayLib.contract.errors import VolumeError
from CAMOverlayLib.contract.request import FurtherVolume
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io.volumes import affineFromNode, voxelsOf
from CAMOverlayLib.scene.overlay import faded, further
from CAMOverlayLib.scene.overlay import node as overlay

from .helpers import GEOMETRIES, makeHeatmap, makeResult, makeVolume, nodeIDs

SHAPE = (9, 8, 7)


@pytest.fixture
def explained(tmp_path):
    """A volume, and a function that makes results of it: heat, and its deviation unless there is none."""
    matrix = GEOMETRIES["oblique"]
    volume = makeVolume(np.zeros(SHAPE, np.int16), matrix)

    def make(seed=0, deviation=True):
        random = np.random.default_rng(seed)
        spread = makeHeatmap(tmp_path, random.random(SHAPE) / 2, matrix, "deviation")
        also = (FurtherVolume("deviation", spread, "how much it changes", 0.5),) if deviation else ()
        return makeResult(makeHeatmap(tmp_path, random.random(SHAPE), matrix), further=also)

    return volume, make


def expected(result):
    return np.maximum(np.load(result.heatmap.path) - np.load(result.further[0].file.path), 0)


def foregrounds():
    return {one.GetForegroundVolumeID() for one in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}


def test_it_is_the_heat_less_its_deviation_in_the_place_and_the_colours_of_the_heat(explained):
    volume, make = explained
    result = make()
    node = overlay.addOverlay(result, volume)
    heat = np.array(voxelsOf(node))
    overlay.setColorMap(node, "sea")
    overlay.setThreshold(node, 0.3)
    faded.fadeUnstable(node)
    made = further.nodes(node)["faded"]
    np.testing.assert_allclose(voxelsOf(made), expected(result), atol=1e-6)
    np.testing.assert_array_equal(voxelsOf(node), heat)
    np.testing.assert_allclose(affineFromNode(made), affineFromNode(node), atol=1e-9)
    assert faded.faded(node) and foregrounds() == {made.GetID()}
    for change in (
        lambda: None,
        lambda: overlay.setColorMap(node, "ice"),
        lambda: overlay.setThreshold(node, 0.1, 0.8),
    ):
        change()
        one, other = made.GetDisplayNode(), node.GetDisplayNode()
        assert one is not other and one.GetColorNodeID() == other.GetColorNodeID()
        assert (one.GetLowerThreshold(), one.GetUpperThreshold()) == (
            other.GetLowerThreshold(),
            other.GetUpperThreshold(),
        )
    overlay.setOpacity(node, 0.7)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {round(one.GetForegroundOpacity(), 6) for one in composites} == {0.7}
    count = len(nodeIDs())
    faded.fadeUnstable(node, False)
    assert not faded.faded(node) and foregrounds() == {node.GetID()}
    faded.fadeUnstable(node)
    assert len(nodeIDs()) == count, "it is used again"


def test_a_new_result_renews_it_and_one_without_deviation_shows_the_heat(explained):
    volume, make = explained
    node = overlay.addOverlay(make(), volume)
    faded.fadeUnstable(node)
    again = make(seed=7)
    overlay.addOverlay(again, volume, node)
    assert faded.faded(node)
    np.testing.assert_allclose(voxelsOf(further.nodes(node)["faded"]), expected(again), atol=1e-6)
    overlay.addOverlay(make(seed=8, deviation=False), volume, node)
    assert further.nodes(node) == {} and foregrounds() == {node.GetID()} and not faded.canFade(node)
    with pytest.raises(VolumeError, match="checks='full'"):
        faded.fadeUnstable(node)
    faded.fadeUnstable(node, False)


def test_it_is_saved_with_the_scene(explained, tmp_path):
    volume, make = explained
    result = make()
    node = overlay.addOverlay(result, volume)
    faded.fadeUnstable(node)
    identifier = node.GetID()
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    node = slicer.mrmlScene.GetNodeByID(identifier)
    assert faded.faded(node)
    np.testing.assert_allclose(voxelsOf(further.nodes(node)["faded"]), expected(result), atol=1e-6)
    faded.fadeUnstable(node, False)
    assert foregrounds() == {identifier}
