"""An overlay is in the scene before its map is checked, has its checks afterwards, and goes where none come."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import slicer.util
from scene.helpers import GEOMETRIES, makeVolume, nodeIDs

from CAMOverlayLib.cli.computation import computation
from CAMOverlayLib.contract.errors import MethodError
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.demo import DEMO_BUNDLE, DEMO_VOLUME
from CAMOverlayLib.logic import OverlayLogic, computeHere
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.overlay import further
from CAMOverlayLib.scene.overlay import node as overlay
from CAMOverlayLib.scene.overlay.views import composites, stateOf


@pytest.fixture(autouse=True)
def scene():
    scene = core.ensureScene()
    scene.Clear(0)
    yield scene
    scene.Clear(0)


def seen(scene):
    return [stateOf(view) for view in composites(scene)]


@pytest.fixture
def view(scene):
    one = slicer.vtkMRMLSliceCompositeNode()
    one.SetLayoutName("Red")
    scene.AddNode(one)
    return one


def in_a_process(request, report):
    with computation(sys.executable, request.model) as compute:
        return compute(request, report)


@pytest.mark.parametrize("compute", [computeHere, in_a_process])
def test_the_overlay_comes_before_its_checks_and_is_the_same(scene, compute):
    volume, early = core.loadVolume(str(DEMO_VOLUME)), []

    def made(node):
        early.append((node, overlay.resultOf(node), slicer.util.arrayFromVolume(node).copy(), node.GetName()))

    node = OverlayLogic(compute).process(volume, DEMO_BUNDLE, trust=True, also=["probability"], onMap=made)
    ((same, before, voxels, name),) = early
    assert same is node and name == node.GetName() and before.checks == ()
    after = overlay.resultOf(node)
    assert [check.name for check in after.checks] == ["class", "network"]
    assert (before.prediction, before.peak, before.placement.words) == (
        after.prediction,
        after.peak,
        after.placement.words,
    )
    assert voxels.max() == 1 and np.array_equal(voxels, slicer.util.arrayFromVolume(node))
    alone = OverlayLogic(compute).process(volume, DEMO_BUNDLE, trust=True, also=["probability"])
    assert [one.name for one in overlay.resultOf(alone).checks] == ["class", "network"]
    assert np.array_equal(voxels, slicer.util.arrayFromVolume(alone))


@pytest.fixture
def head():
    voxels = np.random.default_rng(0).normal(100, 20, (24, 20, 16)).astype(np.int16)
    return makeVolume(voxels, GEOMETRIES["oblique"], "Head")


def test_a_run_that_fails_after_the_map_leaves_the_scene_as_it_was(scene, view, head, segmenting):
    ask = {"trust": True, "target": 1, "also": ["probability", "prediction"]}
    view.SetForegroundOpacity(0.25)
    nodes, views, shown = nodeIDs(), seen(scene), []

    def compute(request, report):
        computeHere(request, report)
        raise MethodError("The check broke.")

    with pytest.raises(MethodError, match="broke"):
        OverlayLogic(compute).process(head, segmenting, onMap=lambda node: shown.append(further.nodes(node)), **ask)
    assert [set(names) for names in shown] == [{"probability", "prediction"}]
    assert nodeIDs() == nodes and seen(scene) == views


def test_a_node_that_is_overwritten_waits_for_the_checks(scene):
    volume, early = core.loadVolume(str(DEMO_VOLUME)), []
    first = OverlayLogic().process(volume, DEMO_BUNDLE, trust=True, checks="none")
    again = OverlayLogic().process(
        volume,
        DEMO_BUNDLE,
        trust=True,
        target=1,
        overlayVolume=first,
        onMap=lambda node: early.append(len(overlay.resultOf(node).checks)),
    )
    assert again is first and early == [2]
    assert len(overlay.resultOf(first).checks) == 2


def test_another_machine_is_not_asked_for_it(tmp_path):
    from CAMOverlayLib.contract.request import Request
    from CAMOverlayLib.worker.remote.parcel import Parcel

    request = Request((), ModelSource(str(tmp_path)), str(tmp_path), unchecked=True, sketch=True)
    assert not Parcel.of_request(request).payload["unchecked"]


def test_what_else_was_asked_hangs_on_it_from_the_start_and_once(head, segmenting):
    early = []
    ask = {"trust": True, "target": 1, "also": ["probability", "entropy"], "checks": "full"}
    node = OverlayLogic().process(
        head, segmenting, onMap=lambda made: early.append((made, set(further.nodes(made)))), **ask
    )
    assert early == [(node, {"probability", "entropy"})]
    assert set(further.nodes(node)) == {one.name for one in overlay.resultOf(node).further} >= early[0][1]
    assert len(overlay.resultOf(node).checks) == 4
