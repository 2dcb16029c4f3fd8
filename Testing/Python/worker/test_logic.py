"""The scene changes while a worker computes: the overlay goes onto the right volume, or nowhere."""

from __future__ import annotations

import tempfile
import time

import numpy as np
import pytest
import slicer
import slicer.util
import torch
from scene.helpers import GEOMETRIES, makeSegmentation, makeVolume, nodeIDs, putUnderTransform
from support import FEW
from worker.helpers import wait_for_stage

from CAMOverlayLib.contract.errors import Cancelled, PlacementError, TargetError, VolumeError
from CAMOverlayLib.logic import OverlayLogic
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io.exported import ExportedVolumes
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


@pytest.fixture
def started(logic, volume, fault_bundle):
    """A run that is well under way and takes a moment more, and what it tells."""
    told = []
    run = logic.start(
        volume, fault_bundle({"what": "sleep", "value": 0.4}), trust=True, onResult=told.append, onError=told.append
    )
    run.told = told
    wait_for_stage(run, "preprocess")
    return run


def test_process_waits_and_returns_the_node(logic, volume, fault_bundle):
    stages = []
    node = logic.process(volume, fault_bundle(), trust=True, target="lesion", report=lambda p: stages.append(p.stage))
    assert overlay.isOverlay(node) and overlay.resultOf(node).target.name == "lesion"
    assert overlay.inputVolumeOf(node) is volume and "forward" in stages


def test_it_is_the_overlay_that_computing_here_gives(logic, volume, fault_bundle):
    bundle = fault_bundle()
    there, here = logic.process(volume, bundle, trust=True), OverlayLogic().process(volume, bundle, trust=True)
    difference = slicer.util.arrayFromVolume(there) - slicer.util.arrayFromVolume(here)
    assert abs(difference).max() < 1e-5  # another number of threads may round differently


def test_a_network_in_memory_is_shown_as_its_bundle_is(logic, volume, fault_bundle):
    from support import read_bundle

    folder = fault_bundle()
    bundle = read_bundle(folder, trust=True)
    network, chain = bundle.network(torch.device("cpu")), bundle.preprocessing()
    node = logic.explainModel(volume, network, chain, target=1)
    expected = logic.process(volume, folder, trust=True, target=1)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), slicer.util.arrayFromVolume(expected), atol=1e-5)
    assert overlay.resultOf(node).bundle_name == type(network).__name__


def test_start_returns_at_once(logic, volume, fault_bundle):
    before = time.monotonic()
    run = logic.start(volume, fault_bundle({"what": "sleep", "value": 0.4}), trust=True)
    assert time.monotonic() - before < 0.3 and not run.ended
    assert overlay.isOverlay(run.wait(60))


def test_the_result_is_told_once(started):
    node = started.wait(60)
    assert started.told == [node]


def test_an_error_leaves_the_scene_as_it_was(logic, volume, fault_bundle):
    before = nodeIDs()
    with pytest.raises(VolumeError):
        logic.process(volume, fault_bundle(channels=3), trust=True)
    assert nodeIDs() == before


@pytest.mark.parametrize("there", [True, False], ids=["worker", "here"])
def test_a_segment_of_the_scene_is_what_is_asked_about(worker, volume, segmenting, there):
    """The segmentation moved with the patient, and the volume did too: the same voxels are found."""
    logic = OverlayLogic(worker=worker) if there else OverlayLogic()
    drawn, moved = np.zeros((24, 20, 16)), np.diag([1.0, 1, 1, 1])
    drawn[4:12, 6:10, 2:6] = 1
    outline = makeSegmentation({"tumor": drawn, "other": drawn[::-1]}, GEOMETRIES["oblique"])
    moved[:3, 3] = 10, -20, 30
    for node in (volume, outline):
        putUnderTransform(node, moved)
    node = logic.process(volume, segmenting, trust=True, target="lesion", minus=0, mask=outline, segment="tumor")
    target = overlay.resultOf(node).target
    assert target.name == "lesion − healthy" and "over the 128 voxels of mask 'tumor'" in target.description


def test_a_point_of_the_scene_is_what_is_asked_about(logic, volume, segmenting):
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
    points.AddControlPoint(*(GEOMETRIES["oblique"] @ [5, 6, 7, 1])[:3])
    for point in (points, (GEOMETRIES["oblique"] @ [5, 6, 7, 1])[:3]):
        node = logic.process(volume, segmenting, trust=True, target=1, point=point)
        assert "voxel (5, 6, 7) of the output" in overlay.resultOf(node).target.description


def test_a_place_that_does_not_fit_leaves_the_scene_as_it_was(logic, volume, fault_bundle):
    outline = makeSegmentation({"tumor": np.zeros((24, 20, 16))})
    before = nodeIDs()
    with pytest.raises(TargetError, match="'tumor' is empty"):
        logic.process(volume, fault_bundle(), trust=True, mask=outline)
    with pytest.raises(TargetError, match="one answer for the whole volume"):
        logic.process(volume, fault_bundle(), trust=True, point=(0, 0, 0))
    assert nodeIDs() == before


def test_a_volume_that_cannot_be_exported_is_refused_at_once(logic, fault_bundle):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(VolumeError, match="no voxels"):
        logic.start(empty, fault_bundle(), trust=True)


def test_cancel_leaves_the_scene_as_it_was(logic, volume, started):
    before = nodeIDs()
    started.cancel()
    with pytest.raises(Cancelled):
        started.wait(10)
    assert nodeIDs() == before and [type(e) for e in started.told] == [Cancelled]


def test_two_applies_in_a_row(logic, volume, started, fault_bundle):
    second = logic.start(volume, fault_bundle(), trust=True)
    node = second.wait(60)
    assert started.state == "cancelled" and overlay.isOverlay(node)
    assert len([n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if overlay.isOverlay(n)]) == 1


def test_a_renamed_volume_is_still_the_volume(volume, started):
    volume.SetName("Other")
    node = started.wait(60)
    assert overlay.inputVolumeOf(node) is volume and node.GetName().startswith("Other - ")


def test_a_transform_meanwhile_carries_the_overlay_too(volume, started):
    transform = putUnderTransform(volume, np.diag([1, 1, 1, 1.0]))
    assert started.wait(60).GetTransformNodeID() == transform.GetID()


def test_another_window_level_changes_nothing(volume, started):
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(10, 20)
    volume.GetImageData().Modified()
    assert overlay.isOverlay(started.wait(60))


def remove(volume):
    slicer.mrmlScene.RemoveNode(volume)


def close(volume):
    slicer.mrmlScene.Clear(0)


def replace(volume):
    """Another scene, in which another volume has the ID of this one."""
    slicer.mrmlScene.Clear(0)
    other = makeVolume(np.zeros((24, 20, 16), np.int16), name="Somebody else")
    assert other is not volume


def edit(volume):
    slicer.util.arrayFromVolume(volume)[3, 4, 5] += 1
    slicer.util.arrayFromVolumeModified(volume)


def edit_in_secret(volume):
    slicer.util.arrayFromVolume(volume)[3, 4, 5] += 1


def crop(volume):
    slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(volume)[1:].copy())


def retype(volume):
    slicer.util.updateVolumeFromArray(volume, slicer.util.arrayFromVolume(volume).astype(np.float32))


def move(volume):
    volume.SetOrigin(0, 0, 0)


def flip(volume):
    volume.SetIJKToRASDirections(-1, 0, 0, 0, 1, 0, 0, 0, 1)


def empty(volume):
    volume.SetAndObserveImageData(None)


CHANGES = {
    remove: "'Head' was removed from the scene",
    close: "'Head' was removed from the scene",
    replace: "'Head' was removed from the scene",
    edit: "'Head' was edited",
    edit_in_secret: "'Head' was edited",
    crop: "'Head' was edited",
    retype: "'Head' was edited",
    empty: "'Head' was edited",
    move: "'Head' was moved or its geometry edited",
    flip: "'Head' was moved or its geometry edited",
}


@pytest.mark.parametrize("change", FEW(CHANGES, remove, edit_in_secret, crop, move), ids=lambda f: f.__name__)
def test_a_heatmap_of_what_is_no_more_is_dropped(volume, started, change):
    change(volume)
    before = nodeIDs()
    with pytest.raises(PlacementError, match=CHANGES[change]):
        started.wait(60)
    assert nodeIDs() == before and [type(e) for e in started.told] == [PlacementError]


def test_the_output_is_overwritten_or_missed(logic, volume, fault_bundle):
    output = logic.process(volume, fault_bundle(), trust=True)
    assert logic.process(volume, fault_bundle(), trust=True, target=2, overlayVolume=output) is output
    assert overlay.resultOf(output).target.index == 2
    slow = fault_bundle({"what": "sleep", "value": 0.4})  # a bundle that nothing is remembered of
    run = logic.start(volume, slow, trust=True, overlayVolume=output)
    wait_for_stage(run, "preprocess")
    slicer.mrmlScene.RemoveNode(output)
    before = nodeIDs()
    with pytest.raises(PlacementError, match="output volume was removed"):
        run.wait(60)
    assert nodeIDs() == before


def test_the_second_channel_counts_too(volume, tmp_path):
    other = makeVolume(np.ones((24, 20, 16), np.float32) * np.nan, GEOMETRIES["oblique"], "Second")
    exported = ExportedVolumes.write((volume, other), str(tmp_path))
    exported.requireUnchanged()  # NaN are what they were
    slicer.util.arrayFromVolume(other)[0] = 0
    with pytest.raises(PlacementError, match="'Second' was edited"):
        exported.requireUnchanged()


def test_comparing_a_large_volume_takes_no_time(tmp_path):
    large = makeVolume(np.arange(512 * 512 * 240, dtype=np.int32).astype(np.int16).reshape(512, 512, 240), name="CT")
    exported = ExportedVolumes.write((large,), str(tmp_path))
    started = time.monotonic()
    exported.requireUnchanged()
    print(f"comparing 512×512×240 takes {time.monotonic() - started:.3f} s")
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("there", [True, False], ids=["worker", "here"])
@pytest.mark.some(1)
def test_paths_are_meant_from_here(worker, volume, segmenting, there, tmp_path, monkeypatch):
    """Of bundle, mask, structures and trail, in a target's words too; ``~`` is the user's folder."""
    import nibabel

    drawn = np.zeros((24, 20, 16), np.uint8)
    drawn[4:12, 6:10, 2:6] = 1
    nibabel.save(nibabel.Nifti1Image(drawn, GEOMETRIES["oblique"]), tmp_path / "mask.nii.gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    logic = OverlayLogic(worker=worker) if there else OverlayLogic()
    for number, here in enumerate(("", "~/")):
        (tmp_path / f"trail{number}").mkdir()
        asked = [{"target": f"1@mask={here}mask.nii.gz"}, {"target": 1, "mask": f"{here}mask.nii.gz"}]
        for options in asked:
            options["intermediatesFolder"] = f"{here}trail{number}"
            options["structures"] = [f"{here}mask.nii.gz", f"drawn={here}mask.nii.gz"]
            node = logic.process(volume, f"{here}{segmenting.name}", trust=True, **options)
            assert "over the 128 voxels of mask" in overlay.resultOf(node).target.description
            names = [one.name for one in overlay.resultOf(node).structures]
            assert names == ["mask", "drawn"]
        assert OverlayLogic.loadIntermediates(f"{here}trail{number}")
