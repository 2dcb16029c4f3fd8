"""What hangs on an overlay beside the heatmap: put with it, renewed with it, saved with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import slicer
import slicer.util

from CAMOverlayLib.contract.errors import PlacementError
from CAMOverlayLib.contract.request import FurtherVolume
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io.volumes import affineFromNode, voxelsOf
from CAMOverlayLib.scene.overlay import colormaps, further
from CAMOverlayLib.scene.overlay import node as overlay

from .helpers import GEOMETRIES, makeHeatmap, makeResult, makeVolume, nodeIDs, putUnderTransform, rotation

SHAPE = (9, 8, 7)


@pytest.fixture
def explained(tmp_path):
    """An oblique volume under a transform, and a function that makes results of it with scalar maps of these names."""
    matrix = GEOMETRIES["oblique"]
    volume = makeVolume(np.zeros(SHAPE, np.int16), matrix)
    turn = np.eye(4)
    turn[:3, :3] = rotation(10, 20, 30)
    putUnderTransform(volume, turn)

    def make(*names, seed=0, shape=SHAPE, highest=1.0):
        random = np.random.default_rng(seed)
        maps = [
            FurtherVolume(name, makeHeatmap(tmp_path, random.random(shape), matrix, name), f"words of {name}", highest)
            for name in names
        ]
        return makeResult(makeHeatmap(tmp_path, random.random(SHAPE), matrix), further=tuple(maps))

    return volume, make


def test_a_map_lies_on_the_volumes_grid_under_its_transform_with_colours_of_its_own(explained):
    volume, make = explained
    result = make("probability", "deviation", highest=0.5)
    node = overlay.addOverlay(result, volume)
    found = further.nodes(node)
    assert sorted(found) == ["deviation", "probability"]
    for said in result.further:
        one = found[said.name]
        np.testing.assert_array_equal(voxelsOf(one), np.load(said.file.path))
        np.testing.assert_allclose(affineFromNode(one), affineFromNode(volume), atol=1e-9)
        assert one.GetTransformNodeID() == volume.GetTransformNodeID()
        assert one.GetName() == f"{node.GetName()} - {said.name}" and one.GetDescription() == f"words of {said.name}"
        display = one.GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 0.5)
        assert further.isFurther(one) and not overlay.isOverlay(one)
    tables = {one.GetDisplayNode().GetColorNode().GetName() for one in (node, *found.values())}
    assert len(tables) == 3
    assert found["probability"].GetDisplayNode().GetColorNode() is colormaps.colorTableNode(slicer.mrmlScene, "leaf")
    assert all(one.file.path == "" for one in overlay.resultOf(node).further)
    assert [one.words for one in overlay.resultOf(node).further] == ["words of probability", "words of deviation"]


def test_computed_anew_they_are_renewed_in_place_and_what_was_not_asked_again_goes(explained):
    volume, make = explained
    node = overlay.addOverlay(make("probability", "entropy"), volume)
    before = further.nodes(node)
    before["probability"].GetDisplayNode().SetWindowLevelMinMax(0.2, 0.7)
    before["probability"].SetName("mine")
    count = len(nodeIDs())
    again = make("probability", seed=5)
    assert overlay.addOverlay(again, volume, node) is node
    now = further.nodes(node)
    assert list(now) == ["probability"] and now["probability"] is before["probability"]
    np.testing.assert_array_equal(voxelsOf(now["probability"]), np.load(again.further[0].file.path))
    assert now["probability"].GetDisplayNode().GetWindowLevelMax() == pytest.approx(0.7), "the user's choice stays"
    assert now["probability"].GetName() == "mine"
    assert before["entropy"].GetScene() is None and len(nodeIDs()) == count - 2, "with its display"
    other = replace(make("probability"), target=replace(again.target, name="another"))
    overlay.addOverlay(other, volume, node)
    assert node.GetName().endswith("another - encoder.layer4") and now["probability"].GetName() == "mine"


@pytest.mark.parametrize("wrong", ["shape", "missing", "nan"])
def test_all_or_nothing(explained, wrong):
    volume, make = explained
    result = make("probability", "entropy", shape=(3, 4, 5) if wrong == "shape" else SHAPE)
    if wrong == "missing":
        result = replace(
            result,
            further=tuple(replace(one, file=replace(one.file, path=one.file.path + "x")) for one in result.further),
        )
    if wrong == "nan":
        path = result.further[1].file.path
        np.save(path, np.asfortranarray(np.where(np.load(path) > 0.9, np.nan, 0).astype(np.float32)))
    before = nodeIDs()
    with pytest.raises(PlacementError, match=r"map 'entropy'|map 'probability'"):
        overlay.addOverlay(result, volume)
    assert nodeIDs() == before


def test_they_are_saved_with_the_scene_and_found_again(explained, tmp_path):
    volume, make = explained
    result = make("probability", "entropy")
    node = overlay.addOverlay(result, volume)
    identifier = node.GetID()
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    found = further.nodes(slicer.mrmlScene.GetNodeByID(identifier))
    assert sorted(found) == ["entropy", "probability"]
    for said in result.further:
        np.testing.assert_allclose(voxelsOf(found[said.name]), np.load(said.file.path), atol=1e-6)
    assert found["entropy"].GetDisplayNode().GetColorNode().GetName() == "CAMOverlay plum"


def test_the_views_show_one_of_them_or_the_heat(explained):
    volume, make = explained
    node = overlay.addOverlay(make("probability", "entropy"), volume)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    foregrounds = lambda: {c.GetForegroundVolumeID() for c in composites}
    assert further.foregroundOf(node) == "" and foregrounds() == {node.GetID()}
    further.toForeground(node, "entropy")
    assert further.foregroundOf(node) == "entropy" and foregrounds() == {further.nodes(node)["entropy"].GetID()}
    overlay.addOverlay(make("probability", "entropy", seed=2), volume, node)
    assert further.foregroundOf(node) == "entropy", "who looked at it goes on looking at it"
    overlay.addOverlay(make("probability", seed=3), volume, node)
    assert foregrounds() == {node.GetID()}, "it is gone, and the heat is shown"
    further.toForeground(node, "probability")
    further.toForeground(node, "")
    assert foregrounds() == {node.GetID()}
