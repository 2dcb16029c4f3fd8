"""Out of the scene and back: the same voxels in the same place, whatever the geometry."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scene.helpers import (
    GEOMETRIES,
    affine,
    blob,
    makeHeatmap,
    makeVector,
    makeVolume,
    nodeIDs,
    putUnderTransform,
    realVolumes,
    rotation,
)
from support import examples

from CAMOverlayLib.contract.errors import OutputError, PlacementError, VolumeError
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io import volumes
from CAMOverlayLib.scene.io.exported import ExportedVolumes

SCALAR_TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
TRANSFORM = affine(rotation(20, 30, -40), (1.1, 1, 0.9), (5, -7, 11))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_export_then_import_is_the_identity(tmp_path, geometry):
    matrix = GEOMETRIES[geometry]
    voxels = np.random.default_rng(0).random((7, 5, 3)).astype(np.float32)
    node = makeVolume(voxels, matrix)
    exported = volumes.exportVolume(node, tmp_path)
    np.testing.assert_allclose(exported.affine, matrix, rtol=0, atol=1e-12)
    assert np.array_equal(np.load(exported.path), voxels)

    overlay = volumes.importHeatmap(exported, node)
    assert slicer.util.arrayFromVolume(overlay).tobytes() == slicer.util.arrayFromVolume(node).tobytes()
    np.testing.assert_allclose(volumes.affineFromNode(overlay), matrix, rtol=0, atol=1e-6)


spacings = st.tuples(*[st.floats(0.05, 20)] * 3)
angles = st.tuples(*[st.floats(-180, 180)] * 3)
origins = st.tuples(*[st.floats(-500, 500)] * 3)
shears = st.tuples(*[st.floats(-0.6, 0.6)] * 3)
signs = st.sampled_from([1, -1])


@settings(max_examples=examples(150))
@given(
    dtype=st.sampled_from(SCALAR_TYPES),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    data=st.data(),
    spacing=spacings,
    angle=angles,
    origin=origins,
    shear=shears,
    sign=signs,
    permutation=st.permutations([0, 1, 2]),
)
def test_identity_for_any_type_and_geometry(
    tmp_path_factory, dtype, shape, data, spacing, angle, origin, shear, sign, permutation
):
    folder = tmp_path_factory.mktemp("identity")
    voxels = data.draw(arrays.arrays(dtype, shape))
    skew = np.array([[1, shear[0], shear[1]], [0, 1, shear[2]], [0, 0, sign]])
    matrix = affine(rotation(*angle) @ skew @ np.eye(3)[list(permutation)], spacing, origin)
    # Without a display node: the histogram that one computes of doubles near 1e308 can abort the process, in VTK.
    node = makeVolume(voxels, matrix, display=False)

    exported = volumes.exportVolume(node, folder)
    array = np.load(exported.path)
    assert array.dtype == voxels.dtype and array.shape == shape
    assert array.tobytes(order="F") == voxels.tobytes(order="F"), "bit for bit, NaN included"
    assert np.load(exported.path, mmap_mode="r").flags.f_contiguous
    assert np.abs(np.array(exported.affine) - matrix).max() < 1e-9

    heat = makeHeatmap(folder, np.linspace(0, 1, voxels.size).reshape(shape), matrix)
    overlay = volumes.importHeatmap(heat, node)
    assert np.array_equal(slicer.util.arrayFromVolume(overlay).T, np.load(heat.path))
    assert np.abs(volumes.affineFromNode(overlay) - volumes.affineFromNode(node)).max() < 1e-6
    slicer.mrmlScene.Clear(0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_world_position_of_an_analytic_blob(tmp_path, geometry):
    matrix, shape = GEOMETRIES[geometry], (24, 20, 22)
    center = matrix[:3, :3] @ [14.3, 8.6, 12.2] + matrix[:3, 3]
    node = makeVolume(np.zeros(shape, np.int16), matrix)
    overlay = volumes.importHeatmap(makeHeatmap(tmp_path, blob(shape, matrix, center), matrix), node)
    peak = volumes.peakIJK(overlay)
    halfVoxel = np.abs(np.linalg.inv(matrix[:3, :3]) @ (volumes.worldFromIJK(overlay, peak) - center))
    assert halfVoxel.max() <= 0.5 + 1e-6 or "sheared" in geometry
    # On a sheared grid the nearest voxel need not be the rounded one, but it is never further than half a diagonal.
    diagonal = np.linalg.norm(np.abs(matrix[:3, :3]).sum(axis=1)) / 2
    assert np.linalg.norm(volumes.worldFromIJK(overlay, peak) - center) <= diagonal


def test_a_volume_under_a_transform_is_exported_in_its_own_space(tmp_path):
    matrix = GEOMETRIES["oblique"]
    node = makeVolume(np.zeros((6, 5, 4), np.int16), matrix)
    transform = putUnderTransform(node, TRANSFORM)
    exported = volumes.exportVolume(node, tmp_path)
    np.testing.assert_allclose(exported.affine, matrix, atol=1e-12)

    heat = np.zeros((6, 5, 4), np.float32)
    heat[4, 1, 2] = 1
    overlay = volumes.importHeatmap(makeHeatmap(tmp_path, heat, exported.affine), node)
    assert overlay.GetTransformNodeID() == transform.GetID()
    world = TRANSFORM @ matrix @ [4, 1, 2, 1]
    np.testing.assert_allclose(volumes.worldFromIJK(overlay, volumes.peakIJK(overlay)), world[:3], atol=1e-9)


def test_export_leaves_the_scene_alone(tmp_path):
    node = makeVolume(np.random.default_rng(0).integers(0, 99, (6, 5, 4)).astype(np.int16))
    ids, voxels, time = nodeIDs(), slicer.util.arrayFromVolume(node).copy(), node.GetMTime()
    volumes.exportVolume(node, tmp_path, baseName="channel-0")
    assert (nodeIDs(), node.GetMTime()) == (ids, time)
    assert np.array_equal(slicer.util.arrayFromVolume(node), voxels)
    assert [p.name for p in tmp_path.iterdir()] == ["channel-0.npy"]


def test_import_overwrites_a_node_in_place(tmp_path):
    matrix = GEOMETRIES["flipped"]
    node = makeVolume(np.zeros((6, 5, 4), np.int16), matrix)
    overlay = makeVolume(np.ones((2, 2, 2), np.uint8), name="old")
    putUnderTransform(overlay, TRANSFORM)
    ids, changes = nodeIDs(), []
    overlay.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: changes.append(overlay.GetImageData().GetDimensions()))
    heat = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    assert volumes.importHeatmap(makeHeatmap(tmp_path, heat, matrix), node, overlay) is overlay
    assert nodeIDs() == ids and overlay.GetName() == "old"
    assert overlay.GetTransformNodeID() is None, "no transform, as the input"
    assert np.array_equal(slicer.util.arrayFromVolume(overlay).T, heat)
    assert set(changes) == {(6, 5, 4)}, "observers never see a half-finished overlay"


def test_import_does_not_depend_on_the_file_afterwards(tmp_path):
    node = makeVolume(np.zeros((6, 5, 4), np.int16))
    heat = makeHeatmap(tmp_path, np.full((6, 5, 4), 0.5), np.eye(4))
    overlay = volumes.importHeatmap(heat, node)
    (tmp_path / "heatmap.npy").unlink()
    assert (slicer.util.arrayFromVolume(overlay) == 0.5).all()


@pytest.mark.parametrize(("dtype", "components", "kept"), [("u1", 3, 3), ("u1", 4, 3), ("f4", 4, 4), ("i2", 3, 3)])
def test_a_vector_volume_leaves_with_its_components_last(tmp_path, dtype, components, kept):
    """Four bytes a voxel are red, green, blue and alpha, which is how to draw it; four of anything else are
    channels."""
    voxels = np.random.default_rng(0).integers(0, 99, (6, 5, 4, components)).astype(dtype)
    node = makeVector(voxels, GEOMETRIES["oblique"])
    exported = ExportedVolumes.write((node,), str(tmp_path))
    array = np.load(exported.files[0].path, mmap_mode="r")
    assert array.dtype == dtype and array.flags.f_contiguous and np.array_equal(array, voxels[..., :kept])
    np.testing.assert_allclose(exported.files[0].affine, GEOMETRIES["oblique"], atol=1e-12)

    exported.requireUnchanged()
    slicer.util.arrayFromVolume(node)[3, 4, 5, 2] += 1
    with pytest.raises(PlacementError, match="was edited"):
        exported.requireUnchanged()


def test_a_heatmap_lies_on_a_vector_volume(tmp_path):
    matrix, heat = GEOMETRIES["left-handed"], np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
    node = makeVector(np.zeros((6, 5, 4, 3), np.uint8), matrix)
    overlay = volumes.importHeatmap(makeHeatmap(tmp_path, heat, matrix), node)
    assert overlay.GetClassName() == "vtkMRMLScalarVolumeNode"
    assert np.array_equal(slicer.util.arrayFromVolume(overlay).T, heat)


def broken(heat, **changes):
    return dataclasses.replace(heat, **changes)


@pytest.mark.parametrize("existing", [False, True])
def test_import_is_all_or_nothing(tmp_path, existing):
    node = makeVolume(np.zeros((6, 5, 4), np.int16))
    overlay = makeVolume(np.ones((2, 2, 2), np.uint8), name="old") if existing else None
    ids = nodeIDs()
    good = makeHeatmap(tmp_path, np.zeros((6, 5, 4)), np.eye(4))
    (tmp_path / "junk.npy").write_bytes(b"junk")
    singular = tuple(map(tuple, np.diag([1.0, 0, 1, 1]).tolist()))
    cases = {
        "6 × 5 × 4": makeHeatmap(tmp_path, np.zeros((4, 5, 6)), np.eye(4), "turned"),
        "cannot be read": broken(good, path=str(tmp_path / "missing.npy")),
        "cannot be read .": broken(good, path=str(tmp_path / "junk.npy")),
        "NaN": makeHeatmap(tmp_path, np.full((6, 5, 4), np.nan), np.eye(4), "nan"),
        "inverted": broken(good, affine=singular),
    }
    for cause, heat in cases.items():
        with pytest.raises(PlacementError, match=cause):
            volumes.importHeatmap(heat, node, overlay, name="new")
        assert nodeIDs() == ids
        if overlay is not None:
            assert overlay.GetName() == "old" and (slicer.util.arrayFromVolume(overlay) == 1).all()
    with pytest.raises(PlacementError, match="overwrite its own input"):
        volumes.importHeatmap(good, node, node)


def test_export_says_what_is_wrong(tmp_path):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(VolumeError, match="'empty' has no voxels"):
        volumes.exportVolume(node, tmp_path)

    node.SetAndObserveImageData(vtk.vtkImageData())
    with pytest.raises(VolumeError, match="'empty' has (no voxels|zero size)"):
        volumes.exportVolume(node, tmp_path)

    with pytest.raises(VolumeError, match="2 numbers per voxel .* Vector to Scalar Volume"):
        volumes.exportVolume(makeVector(np.zeros((2, 3, 4, 2), np.uint8)), tmp_path)

    flat = makeVolume(np.zeros((3, 3, 3), np.uint8), name="flat")
    flat.SetIJKToRASDirections([[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    with pytest.raises(VolumeError, match="singular"):
        volumes.exportVolume(flat, tmp_path)
    assert list(tmp_path.iterdir()) == []

    with pytest.raises(OutputError, match="cannot be written"):
        volumes.exportVolume(makeVolume(np.zeros((3, 3, 3), np.uint8)), tmp_path / "nowhere")


@pytest.mark.parametrize("path", realVolumes, ids=lambda path: path.name)
def test_real_volumes_survive_the_round_trip(tmp_path, path):
    node = core.loadVolume(path)
    exported = volumes.exportVolume(node, tmp_path)
    assert np.array_equal(np.load(exported.path, mmap_mode="r"), slicer.util.arrayFromVolume(node).T)
    overlay = volumes.importHeatmap(exported, node, name="identity")
    assert np.array_equal(slicer.util.arrayFromVolume(overlay), slicer.util.arrayFromVolume(node).astype(np.float32))
    np.testing.assert_allclose(volumes.affineFromNode(overlay), volumes.affineFromNode(node), rtol=0, atol=1e-6)
