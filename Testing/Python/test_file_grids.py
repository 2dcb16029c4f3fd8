"""A voxel on the command line is one of the file, whatever Slicer's reader turns over; so is every voxel it answers."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

ORIENTATIONS = ["LAS", "RPS", "RAI", "RAS", "LPS", "PIL", "LPI", "ASL", "IRP"]
SHAPE = (20, 16, 12)

# Without Orientationd: the network gets the voxels in the order in which the file has them.
CHAIN = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "ScaleIntensityd", "keys": "image"},
    {"_target_": "EnsureTyped", "keys": "image"},
]
SEGMENTER = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8], "strides": [2]}


def oriented(codes: str, spacing=(1.5, 1.5, 2.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(codes):
        row, sign = next((row, 1 if code == "RAS"[row] else -1) for row in range(3) if code in ("RL", "AP", "SI")[row])
        affine[row, axis] = sign * spacing[axis]
        affine[row, 3] = -sign * spacing[axis] * (SHAPE[axis] - 1) / 2  # around the origin: mirror images fill one box
    return affine


def write(path, affine, qform=None):
    voxels = np.random.default_rng(3).integers(0, 900, SHAPE).astype(np.int16)
    image = nibabel.Nifti1Image(voxels, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine if qform is None else qform, 1)
    nibabel.save(image, path)
    return path


def both(path, bundle, tmp_path, target):
    """What the command line and the Python API make of the same file: report, heatmap; result, heatmap."""
    from CAMOverlayLib import explain
    from CAMOverlayLib.cli import main
    from CAMOverlayLib.engine.bundle import Bundle

    out = tmp_path / "out"
    asked = ["explain", str(path), "--bundle", str(bundle), "--output", str(out), "--trust", "--target", target]
    assert main(asked) == 0
    loaded = Bundle(str(bundle), True)
    import torch

    found = explain(loaded.network(torch.device("cpu")), loaded.preprocessing(), str(path), target=target, classes=loaded.info.classes)
    return json.loads((out / "report.json").read_text()), nibabel.load(out / "heatmap.nii.gz"), found


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_the_command_line_and_python_mean_the_same_voxel(make_bundle, tmp_path, capfd, codes):
    path = write(tmp_path / "head.nii.gz", oriented(codes))
    assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == codes
    report, heatmap, found = both(path, make_bundle(network=SEGMENTER, chain=CHAIN), tmp_path, "1@voxel=13,4,9")
    assert heatmap.shape == SHAPE
    np.testing.assert_allclose(heatmap.affine, nibabel.load(path).affine, atol=1e-6)
    np.testing.assert_allclose(np.asarray(heatmap.dataobj), np.asarray(found.heatmap.dataobj), atol=1e-5)
    assert tuple(report["peak"]) == found.result.peak
    assert f"peak         voxel {found.result.peak}" in capfd.readouterr().out
    np.testing.assert_allclose(report["peak_ras"], found.result.peak_ras, atol=1e-3)
    assert report["target"]["description"] == found.result.target.description
    assert np.asarray(heatmap.dataobj)[tuple(report["peak"])] == np.asarray(heatmap.dataobj).max()
    np.testing.assert_allclose(report["heatmap"]["affine"], heatmap.affine, atol=1e-6)


def test_the_scenes_node_holds_the_same_in_its_own_voxels(make_bundle, tmp_path):
    from CAMOverlayLib.file_grids import OnFileGrids
    from CAMOverlayLib.logic import OverlayLogic, computeHere
    from CAMOverlayLib.scene import core, overlay, volumes

    path = write(tmp_path / "head.nii.gz", oriented("LAS"))
    node = core.loadVolume(path)
    there = OnFileGrids([str(path)], [node], computeHere)
    chain = [*CHAIN[:2], {"_target_": "SpatialCropd", "keys": "image", "roi_start": [2, 0, 4], "roi_end": [18, 16, 12]}, *CHAIN[2:]]
    shown = OverlayLogic(there).process(node, make_bundle(network=SEGMENTER, chain=chain), trust=True, target=1)
    in_node = overlay.resultOf(shown)
    assert volumes.peakIJK(shown) == in_node.peak != there.result.peak
    np.testing.assert_allclose(volumes.worldFromIJK(shown, in_node.peak), in_node.peak_ras, atol=1e-3)

    def seen(planes):
        index = np.indices(SHAPE)
        inside = np.ones(SHAPE, bool)
        for *factors, low, high in planes:
            value = np.tensordot(factors, index, 1)
            inside &= (low - 1e-6 <= value) & (value <= high + 1e-6)
        return inside

    in_file = seen(there.result.field_of_view.planes)
    assert 0 < in_file.sum() < in_file.size
    assert np.array_equal(seen(in_node.field_of_view.planes), in_file[:, :, ::-1])


def test_the_sform_is_taken_and_said_where_the_qform_differs(make_bundle, tmp_path, capfd):
    from CAMOverlayLib.scene import core, volumes

    for number, (sform, qform) in enumerate([("RAS", "LPS"), ("LAS", "RAS"), ("RAS", "RAI"), ("RAI", "RAS"), ("RAS", "LAS")]):
        moved = oriented(sform)
        path = write(tmp_path / f"head{number}.nii.gz", moved, oriented(qform))
        node = core.loadVolume(path)
        voxels = np.asarray(nibabel.load(path).dataobj)
        for voxel in [(0, 0, 0), (13, 4, 9)]:  # the same number at the same place in the patient
            at = np.rint(np.linalg.inv(volumes.affineFromNode(node)) @ moved @ [*voxel, 1])[:3].astype(int)
            assert volumes.voxelsOf(node).reshape(SHAPE)[tuple(at)] == voxels[voxel]
    report, heatmap, found = both(path, make_bundle(network=SEGMENTER, chain=CHAIN), tmp_path, "1@voxel=13,4,9")
    np.testing.assert_allclose(heatmap.affine, moved, atol=1e-6)
    np.testing.assert_allclose(np.asarray(heatmap.dataobj), np.asarray(found.heatmap.dataobj), atol=1e-5)
    (note,) = [warning for warning in report["warnings"] if "sform" in warning]
    assert note in found.result.warnings and note in capfd.readouterr().out
