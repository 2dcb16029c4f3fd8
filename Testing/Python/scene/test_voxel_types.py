"""Every voxel type can be loaded, explained and drawn: 64-bit integers, which Slicer's slice pipeline refuses, too."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import slicer.util
from scene.helpers import _makeVolume, makeHeatmap, makeResult, makeVolume

from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.figure import picture, slices
from CAMOverlayLib.scene.io import volumes
from CAMOverlayLib.scene.overlay import node as overlay

TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "q", "Q", "l", "L", "f4", "f8"]
SHAPE = (20, 18, 16)
RAMP = np.broadcast_to(np.arange(SHAPE[0])[:, None, None] * 5, SHAPE)


def axial(node):
    world = volumes.worldFromIJK(node, (10, 9, 8))
    return slices.SliceRenderer(node).render("Axial", world, 2).pixels


@pytest.fixture
def expected():
    return axial(makeVolume(RAMP.astype("i2"), name="plain"))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("display", [True, False], ids=["shown before", "never shown"])
def test_a_node_of_any_type_is_drawn(tmp_path, dtype, display, expected):
    node = makeVolume(RAMP.astype(dtype), name="any", display=display)
    kind, stamp = node.GetImageData().GetScalarType(), node.GetImageData().GetMTime()
    if display:
        np.testing.assert_allclose(
            axial(node), expected, atol=6 / 255
        )  # the automatic window of floats is another by that
    heat = makeHeatmap(tmp_path, np.random.default_rng(0).random(SHAPE), np.eye(4))
    node2 = overlay.addOverlay(makeResult(heat), node)
    assert picture.savePicture(tmp_path / "picture.png", node, node2).stat().st_size > 1000
    assert (node.GetImageData().GetScalarType(), node.GetImageData().GetMTime()) == (kind, stamp), (
        "the input is as it was"
    )
    exported = np.load(volumes.exportVolume(node, tmp_path).path)
    assert exported.dtype == np.dtype(dtype) and np.array_equal(exported, RAMP)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_a_file_of_any_type_is_loaded_and_drawn(tmp_path, dtype, order, expected):
    kind = np.dtype(dtype).newbyteorder(order)
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(kind)
    image = nibabel.Nifti1Image(RAMP.astype(kind), np.eye(4), header)
    nibabel.save(image, tmp_path / "any.nii.gz")
    node = core.loadVolume(tmp_path / "any.nii.gz")
    assert np.array_equal(slicer.util.arrayFromVolume(node).T, RAMP)
    node.GetDisplayNode().CopyContent(makeVolume(RAMP.astype("i2")).GetDisplayNode())
    np.testing.assert_allclose(axial(node), expected, atol=2 / 255)
    assert node.GetImageData().GetScalarTypeAsString() not in (
        "long",
        "long long",
        "unsigned long",
        "unsigned long long",
    )


def test_64_bits_that_do_not_fit_into_32_become_doubles(tmp_path):
    voxels = RAMP.astype("i8") - (1 << 40)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4), dtype="i8"), tmp_path / "large.nii.gz")
    node = core.loadVolume(tmp_path / "large.nii.gz")
    assert node.GetImageData().GetScalarTypeAsString() == "double"
    assert np.array_equal(slicer.util.arrayFromVolume(node).T, voxels)
    assert np.ptp(axial(node)) > 0.5


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_a_vector_volume_of_64_bits(dtype):
    voxels = np.repeat(RAMP.astype(dtype).ravel(order="F")[:, None], 3, axis=1)
    # Without a display node: the histogram that one computes of such a volume ends the process, in VTK.
    node = _makeVolume(SHAPE, voxels, np.eye(4), "colours", False, "vtkMRMLVectorVolumeNode")
    drawable = core.drawableImage(node.GetImageData())
    assert drawable.GetNumberOfScalarComponents() == 3 and drawable.GetScalarTypeAsString() == "int"
    assert np.ptp(axial(node)) > 0.1
