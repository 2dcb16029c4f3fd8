"""A voxel on the command line is one of the file, whatever Slicer's reader turns over; so is every voxel it answers."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from support import FEW, read_bundle

ORIENTATIONS = ["LAS", "RPS", "RAI", "RAS", "LPS", "PIL", "LPI", "ASL", "IRP"]
SHAPE = (20, 16, 12)

# Without Orientationd: the network gets the voxels in the order in which the file has them.
CHAIN = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "ScaleIntensityd", "keys": "image"},
    {"_target_": "EnsureTyped", "keys": "image"},
]
SEGMENTER = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
}


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
    from CAMOverlayLib.cli.main import main

    out = tmp_path / "out"
    asked = ["explain", str(path), "--bundle", str(bundle), "--output", str(out), "--trust", "--target", target]
    assert main(asked) == 0
    loaded = read_bundle(bundle, trust=True)
    import torch

    found = explain(
        loaded.network(torch.device("cpu")),
        loaded.preprocessing(),
        str(path),
        target=target,
        classes=loaded.info.classes,
    )
    return json.loads((out / "report.json").read_text()), nibabel.load(out / "heatmap.nii.gz"), found


@pytest.mark.parametrize("codes", FEW(ORIENTATIONS, "LAS", "RAI"))
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


def test_what_else_is_asked_of_every_voxel_lies_on_the_files_grid_too(make_bundle, tmp_path, capfd):
    """Of a left-handed file, whose node counts K from the other end: the files as Python has them, the nodes turned."""
    import slicer
    import torch

    from CAMOverlayLib import explain
    from CAMOverlayLib.cli.main import main
    from CAMOverlayLib.cli.taken_away import shown_in_file
    from CAMOverlayLib.file_grid import fileGrid
    from CAMOverlayLib.scene import core
    from CAMOverlayLib.scene.io.volumes import voxelsOf
    from CAMOverlayLib.scene.overlay import further
    from CAMOverlayLib.scene.overlay import node as overlay

    core.ensureScene()
    slicer.mrmlScene.Clear(0)  # of the overlays of tests before
    path, out = write(tmp_path / "head.nii.gz", oriented("LAS")), tmp_path / "out"
    bundle = make_bundle(network=SEGMENTER, chain=CHAIN)
    asked = ["explain", str(path), "--bundle", str(bundle), "--output", str(out), "--trust", "--checks", "none"]
    assert main([*asked, "--also", "prediction,probability", "--also", "entropy", "--target", "1"]) == 0
    loaded, names = read_bundle(bundle, trust=True), ("prediction", "entropy", "probability")
    found = explain(
        loaded.network(torch.device("cpu")), loaded.preprocessing(), str(path), target=1, checks="none", also=names
    )
    report = json.loads((out / "report.json").read_text())
    assert [one["file"]["path"] for one in report["further"]] == [f"{name}.nii.gz" for name in names]
    assert {path.name for path in out.iterdir()} >= {f"{name}.nii.gz" for name in names}
    overlayNode = next(n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if further.nodes(n))
    for name in names:
        image = nibabel.load(out / f"{name}.nii.gz")
        np.testing.assert_allclose(image.affine, nibabel.load(path).affine, atol=1e-6)
        voxels, wanted = np.asarray(image.dataobj), np.asarray(found.further[name].dataobj)
        assert voxels.dtype == wanted.dtype
        np.testing.assert_allclose(voxels, wanted, atol=1e-6)
        node = further.nodes(overlayNode)[name]
        if name != "prediction":
            np.testing.assert_array_equal(voxelsOf(node)[:, :, ::-1], voxels)
        else:
            assert node.GetSegmentation().GetNumberOfSegments() == len(np.unique(voxels[voxels > 0]))
    volume = overlay.inputVolumeOf(overlayNode)
    drawn = shown_in_file(fileGrid(path, volume), volume, overlayNode)  # as the report has them
    assert {one.name for one in drawn.further} == set(names)
    for one in drawn.further:
        voxels = np.asarray(nibabel.load(out / f"{one.name}.nii.gz").dataobj)
        np.testing.assert_array_equal(one.values > 0, voxels > 0)
        if not one.classes:
            np.testing.assert_array_equal(one.values, voxels)
    assert "also         prediction:" in capfd.readouterr().out


def test_a_wrong_name_beside_the_heatmap_is_one_line(make_bundle, tmp_path, capfd):
    from CAMOverlayLib.cli.main import main

    path = write(tmp_path / "head.nii.gz", oriented("RAS"))
    asked = ["explain", str(path), "--bundle", str(tmp_path), "--output", str(tmp_path / "out"), "--trust"]
    assert main([*asked, "--also", "segmentation"]) == 2
    assert "no 'segmentation' to compute beside the heatmap; choose from prediction, prob" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_scenes_node_holds_the_same_in_its_own_voxels(make_bundle, tmp_path):
    from CAMOverlayLib.cli.file_grids import OnFileGrids
    from CAMOverlayLib.logic import OverlayLogic, computeHere
    from CAMOverlayLib.scene import core
    from CAMOverlayLib.scene.io import volumes
    from CAMOverlayLib.scene.overlay import node as overlay

    path = write(tmp_path / "head.nii.gz", oriented("LAS"))
    node = core.loadVolume(path)
    there = OnFileGrids([str(path)], [node], computeHere, tmp_path / "heatmap.nii.gz")
    chain = [
        *CHAIN[:2],
        {"_target_": "SpatialCropd", "keys": "image", "roi_start": [2, 0, 4], "roi_end": [18, 16, 12]},
        *CHAIN[2:],
    ]
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
    from CAMOverlayLib.scene import core
    from CAMOverlayLib.scene.io import volumes

    for number, (sform, qform) in enumerate(
        [("RAS", "LPS"), ("LAS", "RAS"), ("RAS", "RAI"), ("RAI", "RAS"), ("RAS", "LAS")]
    ):
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


# NRRD and MetaImage, whose geometry stands in a header of text. Written here by hand: the truth owes nothing to a
# reader.

SPACES = {"left-posterior-superior": (-1, -1, 1), "RAS": (1, 1, 1), "left-anterior-superior": (-1, 1, 1)}
TEXT = ["nrrd", "nhdr", "mha", "mhd"]


def oblique(affine):
    tilt = np.eye(4)
    tilt[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    return tilt @ affine


def listed(numbers, separator=" "):
    return separator.join(repr(float(number)) for number in numbers)


def write_nrrd(path, voxels, affine, space="left-posterior-superior"):
    """Voxels I×J×K, or I×J×K×3 of colours, as they lie in memory."""
    there = np.diag([*SPACES[space], 1]) @ affine
    vectors = " ".join(f"({listed(axis, ',')})" for axis in there[:3, :3].T)
    colour = voxels.ndim == 4
    kinds = {np.dtype(np.int16): "short", np.dtype(np.uint8): "uchar"}
    header = [
        "NRRD0005",
        "# a remark",
        f"type: {kinds[voxels.dtype]}",
        f"dimension: {voxels.ndim}",
        f"space: {space}",
        "sizes: " + " ".join(map(str, ((3,) if colour else ()) + voxels.shape[:3])),
        "space directions: " + ("none " if colour else "") + vectors,
        "kinds: " + ("vector " if colour else "") + "domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: ({listed(there[:3, 3], ',')})",
        "space directions:=(9,9,9)",
    ]
    raw = np.moveaxis(voxels, -1, 0).tobytes("F") if colour else voxels.tobytes("F")
    if path.suffix == ".nhdr":
        path.with_suffix(".raw").write_bytes(raw)
        header.insert(-1, f"data file: {path.stem}.raw")
    text = "\n".join(header) + "\n"
    path.write_bytes(text.encode() + (b"" if path.suffix == ".nhdr" else b"\n" + raw))


def write_meta(path, voxels, affine):
    there = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(there[:3, :3], axis=0)
    data = "LOCAL" if path.suffix == ".mha" else f"{path.stem}.raw"
    header = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"TransformMatrix = {listed((there[:3, :3] / spacing).T.ravel())}",
        f"Offset = {listed(there[:3, 3])}",
        f"ElementSpacing = {listed(spacing)}",
        "DimSize = " + " ".join(map(str, voxels.shape)),
        "ElementType = MET_SHORT",
        f"ElementDataFile = {data}",
    ]
    path.write_bytes(("\n".join(header) + "\n").encode() + (voxels.tobytes("F") if data == "LOCAL" else b""))
    if data != "LOCAL":
        path.with_suffix(".raw").write_bytes(voxels.tobytes("F"))


def write_text(path, voxels, affine, **options):
    (write_meta if path.suffix in (".mha", ".mhd") else write_nrrd)(path, voxels, affine, **options)
    return path


def require_the_files_grid(path, voxels, affine):
    """Of what the scene made of a file: each voxel by the file's number and at the file's place."""
    from CAMOverlayLib.file_grid import fileGrid
    from CAMOverlayLib.scene import core
    from CAMOverlayLib.scene.io import volumes

    node = core.loadVolume(path)
    grid = fileGrid(path, node)
    np.testing.assert_allclose(grid.grid.affine, affine, atol=1e-5)
    assert np.array_equal(grid.array(volumes.voxelsOf(node)), voxels)
    here = volumes.affineFromNode(node) @ [*grid.voxel((13, 4, 9)), 1]
    np.testing.assert_allclose(here, affine @ [13, 4, 9, 1], atol=1e-4)
    return grid


@pytest.mark.parametrize("ending", TEXT)
def test_a_header_of_text_says_which_axes_were_turned(tmp_path, ending):
    voxels = np.random.default_rng(3).integers(0, 900, SHAPE).astype(np.int16)
    for codes in ORIENTATIONS:
        for name, affine in ((codes, oriented(codes)), (f"{codes}-oblique", oblique(oriented(codes)))):
            grid = require_the_files_grid(write_text(tmp_path / f"{name}.{ending}", voxels, affine), voxels, affine)
            assert grid.turned == ((2,) if np.linalg.det(affine) < 0 else ())


@pytest.mark.parametrize("space", SPACES)
def test_the_spaces_of_nrrd_and_its_colours(tmp_path, space):
    random = np.random.default_rng(3)
    colours = random.integers(0, 255, (*SHAPE, 3)).astype(np.uint8)
    for codes in ("LAS", "LPS", "PIL"):
        affine = oblique(oriented(codes))
        for name, voxels in (("grey", colours[..., 0].astype(np.int16)), ("colour", colours)):
            path = write_text(tmp_path / f"{name}{codes}.nrrd", voxels, affine, space=space)
            require_the_files_grid(path, voxels, affine)


DAMAGED = [
    b"",
    b"NRRD",
    b"NRRD0004\n",
    b"NRRD0004\nspace directions: (1,0,0) (0,1,0)\n\n",
    b"NRRD0004\nspace directions: (1,0,0) (0,1,0) (0,0,x)\n\n",
    b"NRRD0004\nspace directions: (nan,0,0) (0,1,0) (0,0,1)\n\n",
    b"NRRD0004\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (1,2)\n\n",
    b"NRRD\xff\xfe\x00: \n\n",
]
METAS = [
    b"",
    b"NDims = x\n",
    b"NDims = -3\n",
    b"NDims = 3\nTransformMatrix = 1 0\n",
    b"NDims = 3\nOffset = 1 2\n",
    b"NDims = 99999\n",
]


@pytest.mark.parametrize(("ending", "content"), [("nrrd", c) for c in DAMAGED] + [("mha", c) for c in METAS])
def test_a_header_that_makes_no_sense_says_nothing(tmp_path, ending, content):
    from CAMOverlayLib.scene.io.headers import headerAffine

    path = tmp_path / f"volume.{ending}"
    path.write_bytes(content)
    assert headerAffine(path) is None


@pytest.fixture
def pointwise(make_bundle):
    """A network that answers for each voxel by that voxel alone: HiResCAM of one voxel's answer is that very voxel."""
    import torch

    one = {"0.weight": torch.ones(2, 1, 1, 1, 1), "0.bias": torch.zeros(2)}
    two = {"2.weight": torch.ones(3, 2, 1, 1, 1), "2.bias": torch.zeros(3)}
    layers = "torch.nn.Conv3d(1, 2, 1), torch.nn.ReLU(), torch.nn.Conv3d(2, 3, 1)"
    folder = make_bundle(network=f"$torch.nn.Sequential({layers})", chain=CHAIN, weights=None)
    torch.save({**one, **two}, folder / "models" / "model.pt")
    return folder


@pytest.mark.parametrize(
    ("ending", "codes"),
    [
        ("nhdr", "RPS"),
        ("mha", "RAI"),
        ("mhd", "PIL"),
        ("nrrd", "LPS"),
        pytest.param("nrrd", "LAS", marks=pytest.mark.slow),
        pytest.param("nii.gz", "LAS", marks=pytest.mark.slow),
    ],
)
@pytest.mark.some(3)
def test_the_voxel_that_is_asked_for_is_the_files(pointwise, tmp_path, capfd, ending, codes):
    from CAMOverlayLib.cli.main import main

    voxels, affine, asked = (
        np.random.default_rng(3).integers(1, 900, SHAPE).astype(np.int16),
        oblique(oriented(codes)),
        (13, 4, 9),
    )
    path = tmp_path / f"head.{ending}"
    if ending == "nii.gz":
        nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    else:
        write_text(path, voxels, affine)
    out = tmp_path / "out"
    options = ["--target", "1@voxel=13,4,9", "--method", "hirescam", "--layer", "1", "--trust"]
    assert main(["explain", str(path), "--bundle", str(pointwise), "--output", str(out), *options]) == 0
    report, heatmap = json.loads((out / "report.json").read_text()), nibabel.load(out / "heatmap.nii.gz")
    heat = np.asarray(heatmap.dataobj)
    np.testing.assert_allclose(heatmap.affine, affine, atol=1e-4)
    assert tuple(report["peak"]) == asked and heat[asked] == heat.max() == 1 and np.count_nonzero(heat > 1e-3) == 1
    np.testing.assert_allclose(report["peak_ras"], (affine @ [*asked, 1])[:3], atol=1e-3)
    assert (
        f"peak         voxel {asked}" in capfd.readouterr().out
        and "voxel (13, 4, 9)" in report["target"]["description"]
    )
