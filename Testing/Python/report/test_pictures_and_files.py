"""Slices, the viewer's data and files against what is known of them: where voxels lie in the patient."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import replace
from xml.etree import ElementTree

import nibabel
import numpy as np
import pytest
from geometries import GEOMETRIES, world_grid
from PIL import Image
from scene.helpers import SHEAR, affine, makeHeatmap, makeResult, rotation

from CAMOverlayLib.contract.errors import CAMOverlayError
from CAMOverlayLib.contract.findings import Check, HotSpot
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.report import viewer
from CAMOverlayLib.report.drawing import FIRST_ROW
from CAMOverlayLib.report.files import SAVERS
from CAMOverlayLib.report.shown import Shown
from CAMOverlayLib.report.slices import nearest_axes, slices_through
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io.volumes import affineFromNode, voxelsOf

SHAPE, VOXEL = (13, 11, 9), (9, 3, 6)


def of_world(matrix, axis: int) -> Shown:
    """A volume whose every voxel says where it is along a RAS axis; heat at one voxel."""
    image, heat = world_grid(SHAPE, matrix)[..., axis], np.zeros(SHAPE, np.float32)
    heat[VOXEL] = 1
    return Shown("v", image, heat, matrix, (float(image.min()), float(image.max())))


@pytest.mark.parametrize("matrix", GEOMETRIES.values(), ids=GEOMETRIES)
def test_slices_lie_on_the_page_as_the_patient_does(matrix):
    """R to the left of axial and coronal slices, A to the left of sagittal ones and to the top of axial ones, S up."""
    across = {"Axial": (0, "left"), "Coronal": (0, "left"), "Sagittal": (1, "left")}
    upward = {"Axial": 1, "Coronal": 2, "Sagittal": 2}
    for axis in range(3):
        for one in slices_through(of_world(matrix, axis), VOXEL):
            grey = one.grey.astype(float)
            if across[one.plane][0] == axis:
                assert (np.diff(grey.mean(axis=0)) <= 0).all() and grey[:, 0].mean() > grey[:, -1].mean()
                assert one.letters["left"][0] == "RAS"[axis] and one.letters["right"][0] == "LPI"[axis]
            if upward[one.plane] == axis:
                assert grey[0].mean() > grey[-1].mean() and one.letters["top"][0] == "RAS"[axis]
            assert one.heat[one.mark] == 1 and (one.heat > 0).sum() == 1
    assert [one.plane for one in slices_through(of_world(matrix, 0), VOXEL)] == ["Axial", "Coronal", "Sagittal"]


def test_one_slice_and_a_photo_are_shown_by_their_face():
    flat = Shown("v", np.zeros((13, 1, 9)), np.zeros((13, 1, 9), np.float32), np.diag([1.0, 2, 3, 1]))
    assert [one.plane for one in slices_through(flat, (2, 0, 3))] == ["Coronal"]
    colours = np.zeros((6, 4, 1, 3), np.uint8)
    colours[5, 0, 0] = 10, 20, 30
    photo = Shown("p", colours, np.zeros((6, 4, 1), np.float32), np.eye(4), photo=True)
    (one,) = slices_through(photo, (5, 0, 0))
    assert one.grey.shape == (4, 6, 3) and one.grey[0, 5].tolist() == [10, 20, 30] and one.mark == (0, 5)
    assert not one.letters


@pytest.mark.parametrize(
    "matrix", [GEOMETRIES["permuted and left-handed"], affine(rotation(5, 10, 15) @ SHEAR, (1, 1.3, 2))]
)
@pytest.mark.parametrize("most", [10**9, 300])
def test_the_viewer_gets_every_voxel_where_it_is(matrix, most, monkeypatch):
    """The mean of a linear function over a block is its value at the block's middle."""
    monkeypatch.setattr(viewer, "MOST_VOXELS", most)
    for axis in range(3):
        shown = of_world(matrix, axis)
        made = viewer.small(shown)
        assert (made.factors == (1, 1, 1)) == (most > 300) and np.prod(made.shape) <= most
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(made.image))
        whole = tuple(slice(0, n // f) for n, f in zip(SHAPE, made.factors))  # the last block may be of fewer voxels
        step = np.ptp(shown.image) / 255
        np.testing.assert_allclose(
            image.get_fdata()[whole], world_grid(image.shape, image.affine)[whole][..., axis], atol=step + 1e-4
        )
    heat = nibabel.Nifti1Image.from_bytes(gzip.decompress(made.heat))
    np.testing.assert_allclose(heat.affine, image.affine)
    # A share of the box, as niivue has it, counts along the axes nearest to R, A and S.
    share, axes = np.array(viewer.share_of(shown, made, VOXEL)), list(nearest_axes(shown.grid))
    forward = Grid(SHAPE, matrix).directions[range(3), axes] > 0
    own = np.where(forward, share, 1 - share) * np.array(made.shape)[axes] - 0.5
    index = np.empty(3)
    index[axes] = own
    np.testing.assert_allclose((heat.affine @ [*index, 1])[:3], Grid(SHAPE, matrix).to_ras(VOXEL), atol=1e-3)


def test_image_and_heat_are_made_smaller_until_they_fit():
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 50)).astype(np.uint8)
    shown = Shown("v", noise, noise.astype(np.float32) / 255, np.eye(4), (0, 255))
    made = viewer.small(shown, 60_000)
    assert 20_000 < made.size <= 60_000 and max(made.factors) <= 3


def test_files_are_what_they_should_be(tmp_path):
    matrix = GEOMETRIES["permuted and left-handed"]
    shown = of_world(matrix, 0)
    heat = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    spot = HotSpot(1, VOXEL, (0.0, 0.0, 0.0), 8.0, 1.0, 1.0, 1.0)
    check = Check(
        "answer", "passed", "", {"intact": 1.5}, {"x": (0, 1), "deletion <map>": (1, 0), "deletion b": (1, 1)}
    )
    result = makeResult(makeHeatmap(tmp_path, np.zeros((2, 2, 2)), np.eye(4)), peak=VOXEL)
    result = replace(result, findings=(spot,), checks=(check,), channels={"=HYPERLINK(1)": 0.25, "T2, <b>": 0.75})
    folder = tmp_path / "files"
    folder.mkdir()
    for save in SAVERS.values():
        save(folder, result, replace(shown, heat=heat))
    node = core.loadVolume(folder / "heatmap.nrrd")
    found = np.linalg.inv(affineFromNode(node)) @ matrix  # Slicer may count an axis from the other end
    corners = np.array([[0, 0, 0, 1], [*(np.array(SHAPE) - 1), 1], [*VOXEL, 1]]).T
    at = np.rint(found @ corners)[:3].astype(int)
    np.testing.assert_allclose(found @ corners, np.vstack([at, np.ones(3)]), atol=1e-4)
    np.testing.assert_array_equal(voxelsOf(node)[tuple(at)], heat[tuple(corners[:3])])
    picture = Image.open(folder / "montage.png")
    assert picture.format == "PNG" and picture.width > 600
    left, top, right, bottom = map(int, picture.info[FIRST_ROW].split(","))  # the slices, without words and colour bar
    assert left == 24 and top == 58 and right < picture.width - 100 and bottom < picture.height
    assert (
        np.asarray(picture.convert("RGB"))[top - 6, left:right].max()
        < 60
        < np.asarray(picture.convert("RGB"))[top + 9].max()
    )
    for name in ("plot-answer-deletion.svg", "plot-channels.svg"):
        root = ElementTree.fromstring((folder / name).read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "<map>" in "".join(ElementTree.fromstring((folder / "plot-answer-deletion.svg").read_text()).itertext())
    rows = {name: list(csv.reader(io.StringIO((folder / name).read_text()))) for name in ("channels.csv", "checks.csv")}
    assert rows["channels.csv"][1:] == [["'=HYPERLINK(1)", "0.25"], ["T2, <b>", "0.75"]]
    assert rows["checks.csv"][1:] == [["answer", "verdict", "passed"], ["answer", "intact", "1.5"]]
    assert (folder / "structures.csv").read_text().startswith("name,volume_mm3,share,")
    assert len((folder / "classes.csv").read_text().splitlines()) == 1 + len(result.prediction.classes)


def test_an_explanation_shows_itself_in_a_notebook(tmp_path, monkeypatch):
    from monai.networks.nets import DenseNet
    from monai.transforms import EnsureChannelFirst

    from CAMOverlayLib import explain

    network = DenseNet(3, 1, 2, init_features=8, growth_rate=4, block_config=(2,)).eval()
    image = np.random.default_rng(0).normal(size=(20, 18, 16)).astype(np.float32)
    found = explain(network, [EnsureChannelFirst()], (image, np.diag([1.0, 1, 2, 1])), target=1, checks="none")
    html = found._repr_html_()
    assert html.count("data:image/png;base64,") == 1 and "Prediction" in html and "<script" not in html
    path = found.report(tmp_path / "r.html", viewer=False)
    assert "found = explain(" in path.read_text() and [p.name for p in tmp_path.iterdir()] == ["r.html"]
    monkeypatch.setitem(__import__("sys").modules, "ipyniivue", None)
    with pytest.raises(CAMOverlayError, match="pip install ipyniivue"):
        found.view()
