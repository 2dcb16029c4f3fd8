"""Work in pieces: the heatmap's file as VTK's memory, and what may happen while the event loop turns."""

from __future__ import annotations

import dataclasses
import gc
import os

import numpy as np
import pytest
import slicer
import slicer.util
from scene.helpers import GEOMETRIES, makeHeatmap, makeResult, makeVector, makeVolume, nodeIDs

from CAMOverlayLib.contract.errors import OutputError, PlacementError
from CAMOverlayLib.contract.pieces import TURN, Stepper, at_once
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io import volumes
from CAMOverlayLib.scene.io.exported import ExportedVolumes
from CAMOverlayLib.scene.overlay import node as overlay

SHAPE = (40, 36, 32)
MATRIX = GEOMETRIES["oblique"]


@pytest.fixture
def heat():
    values = np.random.default_rng(0).random(SHAPE).astype(np.float32) * 0.9
    values[11, 12, 13] = 1
    return values


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(volumes, "CHUNK", 4096)


def mapped(path) -> bool:
    with open("/proc/self/maps") as maps:
        return any(str(path) in line for line in maps)


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="asks Linux which files are mapped")


# The memory.


@needs_proc
def test_the_file_is_the_memory_and_goes_with_the_scene(tmp_path, heat):
    # In no slice view: these keep what they draw until they draw again.
    result = makeResult(makeHeatmap(tmp_path, heat, MATRIX))
    node = overlay.addOverlay(result, makeVolume(heat, MATRIX), opacity=None)
    file = tmp_path / "heatmap.npy"
    assert mapped(file), "nothing was copied"
    file.unlink()
    assert np.array_equal(slicer.util.arrayFromVolume(node).T, heat)
    kept = len(volumes._lent)
    slicer.mrmlScene.Clear(0)
    del node
    gc.collect()
    assert len(volumes._lent) < kept and not mapped(file)  # those of earlier tests may go as well


def test_an_edit_in_slicer_does_not_reach_the_file(tmp_path, heat):
    file = makeHeatmap(tmp_path, heat, MATRIX)
    node = volumes.importHeatmap(file, makeVolume(heat, MATRIX))
    slicer.util.arrayFromVolume(node)[:] = 7
    slicer.util.arrayFromVolumeModified(node)
    assert np.array_equal(np.load(file.path), heat)
    assert (slicer.util.arrayFromVolume(node) == 7).all()


def test_a_file_that_is_written_anew_does_not_change_the_overlay(tmp_path, heat):
    file = makeHeatmap(tmp_path, heat, MATRIX)
    node = volumes.importHeatmap(file, makeVolume(heat, MATRIX))
    os.unlink(file.path)
    makeHeatmap(tmp_path, heat * 0, MATRIX)
    assert np.array_equal(slicer.util.arrayFromVolume(node).T, heat)


def test_clones_saved_scenes_and_larger_images_have_memory_of_their_own(tmp_path, heat):
    node = volumes.importHeatmap(makeHeatmap(tmp_path, heat, MATRIX), makeVolume(heat, MATRIX, "in"), name="heat")
    clone = slicer.mrmlScene.AddNode(slicer.vtkMRMLScalarVolumeNode())
    clone.CopyContent(node, True)
    shared = slicer.mrmlScene.AddNode(slicer.vtkMRMLScalarVolumeNode())
    shared.SetAndObserveImageData(node.GetImageData())
    (tmp_path / "heatmap.npy").unlink()
    core.saveScene(tmp_path / "scene.mrb")
    slicer.util.arrayFromVolume(clone)[:] = 3
    assert np.array_equal(slicer.util.arrayFromVolume(node).T, heat)
    slicer.mrmlScene.RemoveNode(node)
    del node
    gc.collect()
    assert np.array_equal(slicer.util.arrayFromVolume(shared).T, heat), "the last who uses it keeps it"
    scalars = shared.GetImageData().GetPointData().GetScalars()
    scalars.Resize(scalars.GetNumberOfTuples() + 1000)
    scalars.SetValue(scalars.GetNumberOfTuples() - 1, 2.0)
    core.loadScene(tmp_path / "scene.mrb")
    assert np.array_equal(slicer.util.arrayFromVolume(slicer.util.getNode("heat")).T, heat)


@pytest.mark.parametrize(
    "store",
    [
        lambda a: np.ascontiguousarray(a),
        lambda a: np.asfortranarray(a.astype("f8")),
        lambda a: np.asfortranarray(a.astype(">f4")),
        lambda a: np.asfortranarray(a),
    ],
    ids=["C order", "double", "big-endian", "Windows"],
)
def test_what_cannot_be_mapped_is_copied(tmp_path, heat, store, request, monkeypatch):
    if "Windows" in request.node.name:
        monkeypatch.setattr(volumes.os, "name", "nt")
    file = makeHeatmap(tmp_path, heat, MATRIX)
    np.save(file.path, store(heat))
    image = at_once(volumes.readHeatmap(file, makeVolume(heat, MATRIX)))
    monkeypatch.undo()
    node = volumes.importHeatmap(file, slicer.util.getNode("volume"), image=image)
    gc.collect()
    assert np.array_equal(slicer.util.arrayFromVolume(node).T, heat)
    assert not os.path.exists("/proc/self/maps") or not mapped(file.path), "and the file can be deleted"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (39, 35, 31), (7, 20, 5)])
def test_one_voxel_that_is_not_finite_is_found_anywhere(tmp_path, heat, small_chunks, value, place):
    heat[place] = value
    node = makeVolume(np.zeros(SHAPE, "u1"), MATRIX)
    ids = nodeIDs()
    with pytest.raises(PlacementError, match="NaN or infinite"):
        volumes.importHeatmap(makeHeatmap(tmp_path, heat, MATRIX), node)
    assert nodeIDs() == ids


def test_large_finite_values_are_finite(tmp_path, heat):
    node = volumes.importHeatmap(makeHeatmap(tmp_path, heat * 1e30, MATRIX), makeVolume(heat, MATRIX))
    assert slicer.util.arrayFromVolume(node).max() > 9e29


# The peak.


def test_the_peak_of_the_computation_is_not_searched_again(tmp_path, heat, monkeypatch):
    result = makeResult(makeHeatmap(tmp_path, heat, MATRIX), peak=(11, 12, 13))
    node = overlay.addOverlay(result, makeVolume(heat, MATRIX))
    searches = []
    search = volumes.peak_of
    monkeypatch.setattr(volumes, "peak_of", lambda voxels: searches.append(1) or search(voxels))
    np.testing.assert_allclose(overlay.peakWorld(node), (MATRIX @ [11, 12, 13, 1])[:3])
    assert volumes.peakIJK(node) == (11, 12, 13) and not searches
    slicer.util.arrayFromVolume(node)[5, 6, 7] = 2  # K, J, I
    slicer.util.arrayFromVolumeModified(node)
    assert volumes.peakIJK(node) == (7, 6, 5) and overlay.jumpToPeak(node) and len(searches) == 1


@pytest.mark.parametrize("said", [(0, 0, 0), (99, 0, 0), (-1, 0, 0), (), None])
def test_a_wrong_peak_is_not_believed(tmp_path, heat, said):
    node = overlay.addOverlay(makeResult(makeHeatmap(tmp_path, heat, MATRIX), peak=said), makeVolume(heat, MATRIX))
    assert volumes.peakIJK(node) == (11, 12, 13)


# While the loop turns.


@pytest.mark.parametrize("make", [makeVolume, makeVector], ids=["scalar", "vector"])
def test_pieces_make_the_same_file(tmp_path, make, small_chunks):
    shape = (*SHAPE, 3) if make is makeVector else SHAPE
    voxels = np.random.default_rng(0).integers(-99, 99, shape).astype(np.int16)
    exported = ExportedVolumes.planned((make(voxels, MATRIX),), str(tmp_path))
    assert not os.path.exists(exported.files[0].path)
    pieces = list(exported.writing())
    array = np.load(exported.files[0].path, mmap_mode="r")
    assert len(pieces) > 10 and np.array_equal(array, voxels) and array.flags.f_contiguous
    assert len(list(exported.comparing())) > 10


def edits(node):
    """Changes that may happen while the loop turns, each with the words of the error."""
    smaller = slicer.vtkMRMLScalarVolumeNode()
    smaller.CopyContent(makeVolume(np.zeros((4, 4, 4), np.int16)))
    return {
        "removed": (lambda: slicer.mrmlScene.RemoveNode(node), "removed"),
        "cropped": (lambda: node.SetAndObserveImageData(smaller.GetImageData()), "edited"),
        "emptied": (lambda: node.SetAndObserveImageData(None), "edited"),
        "its memory is another": (
            lambda: node.GetImageData().AllocateScalars(node.GetImageData().GetScalarType(), 1),
            "edited",
        ),
        "another type": (lambda: node.GetImageData().AllocateScalars(10, 1), "edited"),
        "edited at the beginning": (
            lambda: (slicer.util.arrayFromVolume(node).__setitem__(0, 5), slicer.util.arrayFromVolumeModified(node)),
            "edited",
        ),
        "edited at the end, silently": (lambda: slicer.util.arrayFromVolume(node).__setitem__(-1, 5), "edited"),
    }


@pytest.mark.parametrize(
    "edit",
    [
        "removed",
        "cropped",
        "emptied",
        "its memory is another",
        "another type",
        "edited at the beginning",
        "edited at the end, silently",
    ],
)
@pytest.mark.parametrize("when", ["writing", "comparing"])
def test_what_happens_while_the_loop_turns_is_noticed(tmp_path, small_chunks, edit, when):
    node = makeVolume(np.random.default_rng(0).integers(-99, 99, SHAPE).astype(np.int16), MATRIX, display=False)
    exported = ExportedVolumes.planned((node,), str(tmp_path))
    change, words = edits(node)[edit]
    if when == "comparing":
        at_once(exported.writing())
    pieces = exported.writing() if when == "writing" else exported.comparing()
    next(pieces)
    next(pieces)
    change()
    if when == "comparing":
        with pytest.raises(PlacementError, match=words):
            at_once(pieces)
        return
    try:
        at_once(pieces)
        at_once(exported.comparing())
    except PlacementError as error:
        assert words in str(error)
    else:
        # Written after the edit: file and volume agree, so that the heatmap shows what the volume is now.
        assert np.array_equal(np.load(exported.files[0].path), slicer.util.arrayFromVolume(node).T)


def test_a_volume_that_is_edited_without_end(tmp_path, small_chunks):
    node = makeVolume(np.zeros(SHAPE, np.int16), MATRIX, display=False)
    exported = ExportedVolumes.write((node,), str(tmp_path))
    with pytest.raises(PlacementError, match="edited"):
        for _ in exported.comparing():
            node.GetImageData().Modified()


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    exported = ExportedVolumes.planned((makeVolume(np.zeros(SHAPE, np.int16), MATRIX),), str(tmp_path))
    file = dataclasses.replace(exported.files[0], path="/dev/full")
    if not os.path.exists(file.path):
        pytest.skip("no /dev/full here")
    monkeypatch.setattr(volumes.Path, "unlink", lambda *_, **__: None)
    with pytest.raises(OutputError, match="cannot be written: No space left"):
        at_once(volumes.writeVoxels(exported.nodes[0], file))


def test_a_stepper_takes_a_turn_where_it_is_told_to_and_stops_when_it_is_told_to():
    later, ended, done = [], [], []

    def work():
        try:
            for number in range(3):
                done.append(number)
                yield TURN
            return "value"
        finally:
            done.append("closed")

    stepper = Stepper(work(), lambda *end: ended.append(end), later.append)
    stepper.step()
    assert done == [0] and len(later) == 1
    while later:
        later.pop()()
    assert ended == [("value", None)] and done == [0, 1, 2, "closed"]

    done.clear()
    stepper = Stepper(work(), lambda *end: ended.append(end), later.append)
    stepper.step()
    stepper.stop()
    later.pop()()
    assert done == [0, "closed"] and len(ended) == 1
