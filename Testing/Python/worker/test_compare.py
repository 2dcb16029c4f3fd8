"""One volume explained several times by a worker, or here: into the scene all together or not at all."""

from __future__ import annotations

import tempfile
import time

import numpy as np
import pytest
from scene.helpers import GEOMETRIES, makeVolume, nodeIDs

from CAMOverlayLib.contract.errors import Cancelled, ComparisonError, PlacementError, TargetError, UntrustedBundleError
from CAMOverlayLib.logic import OverlayLogic
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io.volumes import voxelsOf
from CAMOverlayLib.scene.overlay import node as overlay


@pytest.fixture(autouse=True)
def scene(tmp_path, monkeypatch):
    """An empty scene, and a temporary folder that is empty again in the end."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    scene = core.ensureScene()
    scene.Clear(0)
    yield scene
    scene.Clear(0)
    assert list(temporary.iterdir()) == []


@pytest.fixture
def volume():
    voxels = np.random.default_rng(0).normal(100, 20, (24, 20, 16)).astype(np.int16)
    return makeVolume(voxels, GEOMETRIES["oblique"], "Head")


@pytest.fixture
def logic(worker):
    return OverlayLogic(worker=worker)


QUIET = {"trust": True, "checks": "none"}


def test_classes_are_explained_as_each_is_alone_with_progress_over_all(logic, volume, fault_bundle):
    bundle, told, results = fault_bundle(), [], []
    run = logic.startComparison(
        volume, bundle, targets=[0, "artefact"], onProgress=told.append, onResult=results.append, **QUIET
    )
    comparison = run.wait(60)
    assert results == [comparison] and run.state == "done" and comparison.kind == "class"
    assert comparison.names == ("healthy", "artefact")
    fractions = [one.fraction for one in told]
    assert fractions == sorted(fractions) and max(fractions) < 1
    assert "class 0, 1 of 2" in told[0].message and any("artefact, 2 of 2" in one.message for one in told)
    for name in comparison.names:
        alone = logic.process(volume, bundle, target=name, **QUIET)
        np.testing.assert_allclose(voxelsOf(comparison.node(name)), voxelsOf(alone), atol=1e-6)
        one, other = overlay.resultOf(alone), overlay.resultOf(comparison.node(name))
        assert (one.magnitude, one.target, one.layer) == (
            pytest.approx(other.magnitude, rel=1e-5),
            other.target,
            other.layer,
        )


def test_here_it_is_what_the_worker_gives_and_the_model_is_read_once(logic, volume, fault_bundle, monkeypatch):
    from CAMOverlayLib.engine.cache import Cache

    asked = []
    monkeypatch.setattr(Cache, "__init__", _counted(Cache.__init__, asked))
    bundle = fault_bundle()
    here = OverlayLogic().compare(volume, bundle, methods=["gradcam", "layercam"], **QUIET)
    assert len(asked) == 1
    there = logic.compare(volume, bundle, methods=["gradcam", "layercam"], **QUIET)
    assert here.names == there.names == ("Grad-CAM", "LayerCAM")
    for name in here.names:
        np.testing.assert_allclose(voxelsOf(here.node(name)), voxelsOf(there.node(name)), atol=1e-5)


def _counted(function, calls):
    def counted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return counted


@pytest.mark.slow
def test_two_models_by_the_same_call(logic, volume, fault_bundle):
    first, second = fault_bundle(), fault_bundle({"what": "sleep", "value": 0.0})
    comparison = logic.compare(volume, models=[first, second], target=1, **QUIET)
    assert comparison.kind == "model" and comparison.names == (f"{first.name} 0.1.0", f"{second.name} 0.1.0")
    assert [overlay.resultOf(node).bundle for node in comparison.nodes] == [str(first), str(second)]


def test_one_scale_is_by_choice_and_refused_before_anything_is_computed(logic, volume, fault_bundle):
    bundle = fault_bundle()
    comparison = logic.compare(volume, bundle, targets=[0, 1, 2], oneScale=True, **QUIET)
    peaks = [float(voxelsOf(node).max()) for node in comparison.nodes]
    assert max(peaks) == 1 and min(peaks) < 1
    assert len({overlay.resultOf(node).magnitude for node in comparison.nodes}) == 1
    before = nodeIDs()
    with pytest.raises(ComparisonError, match="different units"):
        logic.startComparison(volume, bundle, methods=["gradcam", "layercam"], oneScale=True, **QUIET)
    assert nodeIDs() == before


@pytest.mark.parametrize("there", [True, False])
def test_what_cannot_be_explained_is_a_sentence_beside_the_others(logic, volume, fault_bundle, there):
    logic = logic if there else OverlayLogic()
    comparison = logic.compare(volume, fault_bundle(), targets=[0, "no such class", 2], **QUIET)
    assert comparison.names == ("healthy", "artefact")
    (missing,) = comparison.notExplained
    assert missing.name == "no such class" and "no such class" in missing.words


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.slow
def test_where_none_can_be_explained_the_first_reason_is_raised(logic, volume, fault_bundle, there):
    logic, before = logic if there else OverlayLogic(), nodeIDs()
    with pytest.raises(TargetError, match="'x'"):
        logic.compare(volume, fault_bundle(), targets=["x", "y"], **QUIET)
    with pytest.raises(UntrustedBundleError):
        logic.compare(volume, fault_bundle(), targets=[0, 1])
    assert nodeIDs() == before


def test_cancelled_in_the_second_explanation_it_leaves_the_scene_as_it_was(logic, volume, fault_bundle):
    before, told = nodeIDs(), []
    bundle = fault_bundle(network={"_target_": "scripts.faults.sleepy_network", "backward": 0.4})
    run = logic.startComparison(volume, bundle, targets=[0, 1, 2], onError=told.append, **QUIET)
    end = time.monotonic() + 60
    while run.progress.fraction < 0.4:
        assert time.monotonic() < end and not run.ended, run.error
        logic.worker.pump(0.01)
    run.cancel()
    with pytest.raises(Cancelled):
        run.wait(10)
    assert run.state == "cancelled" and told == [run.error] and nodeIDs() == before
    again = logic.compare(volume, bundle, targets=[0, 1], **QUIET)
    assert len(again.names) == 2


@pytest.mark.slow
def test_another_run_ends_it_and_raising_from_progress_does(logic, volume, fault_bundle):
    bundle = fault_bundle({"what": "sleep", "value": 0.2})
    run = logic.startComparison(volume, bundle, targets=[0, 1], **QUIET)
    _waitForStage(logic, run, "preprocess")
    other = logic.start(volume, bundle, **QUIET)
    with pytest.raises(Cancelled):
        run.wait(30)
    assert overlay.isOverlay(other.wait(60))
    before = nodeIDs()

    def raising(progress):
        if "2 of 2" in progress.message:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        logic.compare(volume, bundle, targets=[0, 1], report=raising, **QUIET)
    assert nodeIDs() == before


def _waitForStage(logic, run, stage):
    end = time.monotonic() + 60
    while run.progress.stage != stage:
        assert time.monotonic() < end and not run.ended, run.error
        logic.worker.pump(0.01)


@pytest.mark.slow
def test_a_volume_that_is_edited_meanwhile_gets_nothing(logic, volume, fault_bundle):
    bundle = fault_bundle()
    before = nodeIDs()

    def edit(progress):
        if "2 of 2" in progress.message:
            voxelsOf(volume)[0, 0, 0] += 1

    with pytest.raises(PlacementError, match="was edited during the run"):
        logic.compare(volume, bundle, targets=[0, 1], report=edit, **QUIET)
    assert nodeIDs() == before
