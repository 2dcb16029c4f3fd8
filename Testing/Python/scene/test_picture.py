"""The picture: the right pixels in the right place, readable, and the user's scene untouched."""

from __future__ import annotations

import dataclasses

import color_tables
import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from scene.helpers import (
    GEOMETRIES,
    affine,
    blob,
    makeHeatmap,
    makeResult,
    makeVector,
    makeVolume,
    putUnderTransform,
    realVolumes,
    rotation,
)
from support import SLOW
from vtk.util import numpy_support

from CAMOverlayLib.contract.errors import OutputError, VolumeError
from CAMOverlayLib.contract.request import FieldOfView, Target
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.figure import canvas, picture
from CAMOverlayLib.scene.figure.slices import (
    AXES,
    ORIENTATIONS,
    PATIENT,
    SliceRenderer,
    directionLetters,
    isPhoto,
    orientationsOf,
    planesOf,
)
from CAMOverlayLib.scene.io import volumes
from CAMOverlayLib.scene.overlay import colormaps
from CAMOverlayLib.scene.overlay import node as overlay

SHAPE = (40, 36, 30)


def makeOverlay(folder, matrix, center, shape=SHAPE, gray=600, sigma=6.0, **changes):
    """A volume of even grey between black and white, and a blob on it."""
    inputVolume = makeVolume(np.full(shape, gray, np.int16), matrix, "MRHead")
    display = inputVolume.GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(0, 1000)
    heat = makeHeatmap(folder, blob(shape, matrix, center, sigma), matrix)
    return inputVolume, overlay.addOverlay(makeResult(heat, **changes), inputVolume)


def centerOf(matrix, ijk=(23, 14, 17)):
    return (matrix @ [*ijk, 1])[:3]


def readPng(path) -> np.ndarray:
    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    image = reader.GetOutput()
    width, height, _ = image.GetDimensions()
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_overlay_lies_where_the_analytic_blob_is(tmp_path, geometry, orientation):
    matrix = GEOMETRIES[geometry]
    center = centerOf(matrix) + 0.3  # off the voxel's centre
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    sigma = min(5 * spacing.max(), 0.3 * (spacing * SHAPE).min())  # wide enough to measure, and within the volume
    inputVolume, node = makeOverlay(tmp_path, matrix, center, sigma=sigma)
    overlay.setThreshold(node, 0.6)
    scale = 3.0
    plain = SliceRenderer(inputVolume).render(orientation, center, scale)
    rendered = SliceRenderer(inputVolume, node, 1.0).render(orientation, center, scale)
    changed = np.abs(rendered.pixels - plain.pixels).max(axis=2) > 0.02
    rows, columns = np.nonzero(changed)
    middle = rendered.rasFromPixel @ [columns.mean(), rows.mean(), 0, 1]
    depth = AXES[orientation][2]
    assert middle[depth] == pytest.approx(center[depth], abs=1e-9)
    assert np.abs(middle[:3] - center).max() < spacing.max() / 2
    # The edge of what is shown is where the analytic blob passes the threshold.
    radius = sigma * np.sqrt(-2 * np.log(0.6))
    assert np.sqrt(changed.sum() / np.pi) / scale == pytest.approx(radius, rel=0.08)


def test_blended_pixels_are_the_overlays_colour_over_the_volume(tmp_path):
    matrix = GEOMETRIES["axis-aligned"]
    inputVolume, node = makeOverlay(tmp_path, matrix, centerOf(matrix))
    for opacity in (0.0, 0.3, 1.0):
        rendered = SliceRenderer(inputVolume, node, opacity).render("Axial", centerOf(matrix), 2.0)
        column, row = np.round(rendered.pixelOf(centerOf(matrix))).astype(int)
        expected = opacity * color_tables.colors("heat")[-1, :3] + (1 - opacity) * 0.6
        np.testing.assert_allclose(rendered.pixels[row, column], expected, atol=4 / 255)
        far = rendered.pixels[3, 3]
        np.testing.assert_allclose(far, 0.6, atol=1.5 / 255, err_msg="a low heatmap leaves the volume as it is")


@pytest.mark.parametrize("components", [3, 4])
@pytest.mark.parametrize(
    ("plane", "orientation"), [((0, 1, 2), "Axial"), ((0, 2, 1), "Coronal"), ((1, 2, 0), "Sagittal")]
)
def test_a_photo_shows_its_face_in_its_own_colours_under_the_overlay(tmp_path, components, plane, orientation):
    """Where the columns, the rows and the thin axis of a picture of one slice point in the patient decides the view."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[:, list(plane)]
    photo = makeVector(np.full((60, 40, 1, components), (200, 100, 50, 255)[:components], np.uint8), matrix)
    photo.GetDisplayNode().SetAutoWindowLevel(False)
    photo.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    heat = makeHeatmap(tmp_path, blob((60, 40, 1), matrix, centerOf(matrix, (20, 30, 0))), matrix)
    node = overlay.addOverlay(makeResult(heat), photo)
    assert orientationsOf(photo) == (orientation,)
    rendered = SliceRenderer(photo, node, 0.5).render(orientation, centerOf(matrix, (20, 30, 0)), 2.0)
    shown = np.array([200, 100, 50]) / 255
    np.testing.assert_allclose(rendered.pixels[2, 2], shown, atol=1.5 / 255)
    column, row = np.round(rendered.pixelOf(centerOf(matrix, (20, 30, 0)))).astype(int)
    np.testing.assert_allclose(
        rendered.pixels[row, column], (shown + color_tables.colors("heat")[-1, :3]) / 2, atol=4 / 255
    )
    assert readPng(picture.savePicture(tmp_path / "photo.png", photo, node)).shape[1] < 1300


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_orientation_letters_are_true(geometry):
    """A mark on the patient's left appears at the edge that says L, whatever the voxels' order; and so on."""
    matrix = GEOMETRIES[geometry]
    middle = (matrix @ [19.5, 17.5, 14.5, 1])[:3]
    expected = {
        "Axial": {"left": "R", "right": "L", "top": "A", "bottom": "P"},
        "Coronal": {"left": "R", "right": "L", "top": "S", "bottom": "I"},
        "Sagittal": {"left": "A", "right": "P", "top": "S", "bottom": "I"},
    }
    radius = np.linalg.norm(matrix[:3, :3], axis=0).min() * 5
    marks = {"L": (-1, 0, 0), "A": (0, 1, 0), "S": (0, 0, 1)}
    for letter, direction in marks.items():
        place = middle + np.array(direction) * radius
        voxels = (blob(SHAPE, matrix, place, sigma=radius / 2) * 1000).astype(np.int16)
        renderer = SliceRenderer(makeVolume(voxels, matrix))
        for orientation in ORIENTATIONS:
            rendered = renderer.render(orientation, middle, 2.0)
            assert rendered.letters == expected[orientation]
            weights = rendered.pixels.mean(axis=2)
            rows, columns = np.indices(weights.shape)
            away = np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()
            away -= rendered.pixelOf(middle)
            side = next((edge for edge, there in rendered.letters.items() if there == letter), None)
            if side is None:  # the mark is straight in front of or behind this slice
                continue
            toSide = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}[side]
            assert np.dot(away, toSide) > radius, f"{letter} is on the {side} of the {orientation} slice"


@pytest.mark.parametrize("geometry", ["anisotropic", "oblique", "sheared"])
def test_pixels_are_square_and_the_whole_volume_is_shown(geometry):
    matrix = GEOMETRIES[geometry]
    renderer = SliceRenderer(makeVolume(np.full(SHAPE, 9, np.int16), matrix))
    corners = np.array([(matrix @ [i, j, k, 1])[:3] for i in (0, 39) for j in (0, 35) for k in (0, 29)])
    for orientation in ORIENTATIONS:
        rendered = renderer.render(orientation, corners.mean(axis=0), 2.5)
        steps = np.linalg.norm(rendered.rasFromPixel[:3, :2], axis=0)
        np.testing.assert_allclose(steps, 1 / 2.5, rtol=1e-6)
        height, width = rendered.pixels.shape[:2]
        for corner in corners:
            column, row = rendered.pixelOf(corner)
            assert 0 <= column < width and 0 <= row < height


def test_a_volume_under_a_transform_is_drawn_where_it_is_in_the_world(tmp_path):
    matrix = GEOMETRIES["oblique"]
    inputVolume, node = makeOverlay(tmp_path, matrix, centerOf(matrix))
    move = affine(rotation(10, 0, 25), (1, 1, 1), (30, -20, 5))
    transform = putUnderTransform(inputVolume, move)
    node.SetAndObserveTransformNodeID(transform.GetID())
    world = (move @ [*centerOf(matrix), 1])[:3]
    np.testing.assert_allclose(overlay.peakWorld(node), world, atol=1e-9)
    rendered = SliceRenderer(inputVolume, node, 1.0).render("Coronal", world, 2.0)
    column, row = np.round(rendered.pixelOf(world)).astype(int)
    np.testing.assert_allclose(rendered.pixels[row, column], color_tables.colors("heat")[-1, :3], atol=12 / 255)


def test_a_nonlinear_transform_is_followed(tmp_path):
    matrix = GEOMETRIES["axis-aligned"]
    inputVolume, node = makeOverlay(tmp_path, matrix, centerOf(matrix))
    warp = vtk.vtkThinPlateSplineTransform()
    warp.SetBasisToR()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in ((-100, -100, 0), (100, -100, 0), (0, 100, 80), (0, 0, -100), (0, 0, 100)):
        source.InsertNextPoint(point)
        target.InsertNextPoint([1.2 * x + 7 for x in point])
    warp.SetSourceLandmarks(source)
    warp.SetTargetLandmarks(target)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(warp)
    for volume in (inputVolume, node):
        volume.SetAndObserveTransformNodeID(transform.GetID())
    world = overlay.peakWorld(node)
    np.testing.assert_allclose(world, 1.2 * centerOf(matrix) + 7, atol=1e-6)
    rendered = SliceRenderer(inputVolume, node, 1.0).render("Axial", world, 2.0)
    column, row = np.round(rendered.pixelOf(world)).astype(int)
    np.testing.assert_allclose(rendered.pixels[row, column], color_tables.colors("heat")[-1, :3], atol=12 / 255)


def fingerprint():
    """Everything that a picture might disturb: nodes, their times of change, the views and their layers."""
    scene = slicer.mrmlScene
    nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]
    views = [
        (n.GetOrientation(), n.GetFieldOfView(), n.GetDimensions(), str(n.GetSliceToRAS()))
        for n in nodes
        if n.IsA("vtkMRMLSliceNode")
    ]
    return [
        (n.GetID(), n.GetMTime(), n.GetModifiedSinceRead() if n.IsA("vtkMRMLStorableNode") else None) for n in nodes
    ], views


def test_savePicture_leaves_the_scene_alone(tmp_path):
    matrix = GEOMETRIES["oblique"]
    inputVolume, node = makeOverlay(tmp_path, matrix, centerOf(matrix))
    events = []
    slicer.mrmlScene.AddObserver(vtk.vtkCommand.AnyEvent, lambda caller, event: events.append(event))
    before = fingerprint()
    assert picture.savePicture(tmp_path / "p.png", inputVolume, node) == tmp_path / "p.png"
    assert fingerprint() == before
    assert events == []
    slicer.mrmlScene.RemoveAllObservers()


def test_savePicture_writes_the_page_that_was_drawn(tmp_path):
    matrix = GEOMETRIES["anisotropic"]
    inputVolume, node = makeOverlay(tmp_path, matrix, centerOf(matrix))
    picture.savePicture(tmp_path / "p.png", inputVolume, node, title="T", subtitle="S", footer=["F"], verdict="V")
    drawn = np.asarray(picture.drawPicture(inputVolume, node, "T", "S", ["F", "V"]).image) / 255
    saved = readPng(tmp_path / "p.png")
    assert saved.shape == drawn.shape
    assert np.abs(saved / 255.0 - drawn).max() <= 0.5 / 255 + 1e-6
    assert sorted(p.name for p in tmp_path.iterdir()) == ["heatmap.npy", "p.png"]
    more = np.asarray(picture.drawPicture(inputVolume, node, "T", "S", ["F", "V", "W"]).image) / 255
    assert more.shape[0] > drawn.shape[0], "a page grows with its footer"


def test_the_colour_bar_shows_the_overlays_own_colours(tmp_path):
    matrix = GEOMETRIES["axis-aligned"]
    inputVolume, node = makeOverlay(tmp_path, matrix, centerOf(matrix))
    for key in colormaps.COLOR_MAPS:
        overlay.setColorMap(node, key)
        overlay.setThreshold(node, 0.3)
        pixels = np.asarray(picture.drawPicture(inputVolume, node, "", "", [], opacity=0.0).image) / 255
        colors = color_tables.colors(key)[:, :3]
        distance = np.abs(pixels[:, :, None, :] - colors[None, None, [100, 180, 255]]).max(axis=-1)
        assert (distance.min(axis=(0, 1)) < 0.6 / 255).all(), "the colours above the threshold are there"
        hidden = np.abs(pixels - colors[40]).max(axis=-1)
        assert hidden.min() > 0.05, "those below it are not"


def test_words_tell_target_prediction_and_place(tmp_path):
    matrix = GEOMETRIES["axis-aligned"]
    inputVolume, node = makeOverlay(tmp_path, matrix, centerOf(matrix))
    title, subtitle, footer = picture._words(inputVolume, node)
    assert title == "Evidence for “lesion”"
    assert subtitle == "MRHead   ·   predicted class, probability 98.2 %"
    assert "gradcam at layer encoder.layer4" in footer[0] and "16 × 16 × 20 mm" in footer[0]
    assert "L 8.5  A 26.2  S 57.0 mm, voxel (23, 14, 17)" in footer[1]

    other = makeResult(makeHeatmap(tmp_path, np.zeros(SHAPE), matrix), target=Target(0, "healthy", "output"))
    node = overlay.addOverlay(other, inputVolume, node)
    title, subtitle, footer = picture._words(inputVolume, node)
    assert title == "Evidence for “healthy”"
    assert subtitle == "MRHead   ·   probability 1.8 %, predicted class: lesion, probability 98.2 %"
    assert "No positive evidence" in footer[1]

    for changes, subtitle in (
        ({"activation": "none"}, "MRHead   ·   output -1.5"),
        ({"activation": "sigmoid"}, "MRHead   ·   probability 1.8 %"),
        ({"voxels": (1200, 7)}, "MRHead   ·   predicted in 1,200 voxels of the output"),
    ):
        prediction = dataclasses.replace(other.prediction, **changes)
        overlay.setProvenance(node, dataclasses.replace(other, prediction=prediction), inputVolume)
        assert picture._words(inputVolume, node)[1] == subtitle


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((64, 48, 1), (1, 1, 5)), ((8, 8, 8), (0.01, 0.01, 0.01)), ((5, 5, 60), (1, 1, 20)), ((90, 4, 4), (1, 1, 1))],
    ids=["single slice", "microscopic", "tall", "wide"],
)
def test_odd_proportions_still_give_a_page(tmp_path, shape, spacing):
    matrix = affine(np.eye(3), spacing)
    center = (matrix @ [*(np.array(shape) // 2), 1])[:3]
    inputVolume, node = makeOverlay(tmp_path, matrix, center, shape=shape, sigma=max(spacing))
    picture.savePicture(tmp_path / "p.png", inputVolume, node)
    height, width, _ = readPng(tmp_path / "p.png").shape
    assert 400 < height < 1200 and 1000 < width < 2200


# Oblique volumes, slices and photographs ------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [(0, 0, 0), (2, 0, 0), (0, 0, -2.5), (8, 0, 0), (17, -33, 49), (0, 40, 0)], ids=str)
@pytest.mark.parametrize(
    "directions",
    [np.eye(3), np.diag([-1, -1, 1]), np.eye(3)[[1, 2, 0]], np.diag([1, 1, -1])],
    ids=["RAS", "LPS", "permuted", "left-handed"],
)
def test_an_oblique_volume_is_cut_along_its_own_planes(tmp_path, turn, directions):
    """The slice through a voxel shows the voxels with the same index along one axis, no others, and all of them."""
    matrix = affine(rotation(*turn) @ directions, (1, 1.2, 3))
    index = np.indices(SHAPE)
    voxel = (23, 14, 17)
    planes = planesOf(makeVolume(np.zeros(SHAPE, np.int16), matrix))
    assert [plane.name for plane in planes] == list(ORIENTATIONS)
    if max(map(abs, turn)) <= 3:
        assert planes == tuple(PATIENT.values())
        return
    assert sorted(plane.axis for plane in planes) == [0, 1, 2]
    for plane in planes:
        marked = makeVolume(np.where(index[plane.axis] == voxel[plane.axis], 1000, 0).astype(np.int16), matrix)
        marked.GetDisplayNode().SetAutoWindowLevel(False)
        marked.GetDisplayNode().SetWindowLevelMinMax(0, 1000)
        marked.GetDisplayNode().SetInterpolate(False)
        rendered = SliceRenderer(marked).render(plane, centerOf(matrix, voxel), 2.0)
        assert (rendered.pixels[3:-3, 3:-3] > 0.95).all(), "the whole slice, edge to edge, and nothing but it"
        direction = matrix[:3, plane.axis] / np.linalg.norm(matrix[:3, plane.axis])
        assert abs(plane.normal @ direction) == pytest.approx(1)
        like = PATIENT[plane.name]
        assert plane.up @ np.array(like.up) > 0 and plane.across @ np.array(like.across) > 0
        for edge, step in {"right": plane.across, "top": plane.up}.items():
            assert rendered.letters[edge] == directionLetters(np.array(step))


def test_letters_of_an_oblique_edge_name_both_directions():
    assert directionLetters(np.array([-1, 0.1, 0.2])) == "L"
    assert directionLetters(np.array([0.5, -0.8, 0])) == "PR"
    assert directionLetters(np.array([1, 1, -1.01])) == "IRA"


def test_the_slices_of_a_2D_network_are_shown_as_it_saw_them(tmp_path):
    matrix = affine(rotation(2, 1, 0), (1, 1, 4))
    volume = makeVolume(np.zeros(SHAPE, np.int16), matrix)
    assert all(plane.axis is None for plane in planesOf(volume))
    assert [plane.axis for plane in planesOf(volume, flat=True)] == [2, 1, 0]
    node = overlay.addOverlay(
        makeResult(
            makeHeatmap(tmp_path, blob(SHAPE, matrix, centerOf(matrix)), matrix), network_input_shape=(64, 64, 1)
        ),
        volume,
    )
    assert picture.seesSlices(overlay.resultOf(node))
    assert (
        picture.caption(planesOf(volume, flat=True)[0], volume, centerOf(matrix))
        == "Oblique axial   slice 18 of 30 (K)"
    )


@pytest.mark.parametrize("turn", [(0, 0, 0), (20, 30, 10), (60, 0, 0)], ids=str)
def test_a_single_oblique_slice_is_no_sliver(tmp_path, turn):
    matrix = affine(rotation(*turn), (1, 1, 5))
    volume = makeVolume(np.full((60, 40, 1), 500, np.int16), matrix)
    (plane,) = planesOf(volume)
    width, height = sorted(SliceRenderer(volume).size(plane, 1.0))
    assert (width, height) == (40, 60)


@pytest.mark.parametrize("colours", [True, False], ids=["colours", "grey"])
def test_a_photo_has_pixels_and_no_patient(tmp_path, colours):
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    values = np.random.default_rng(0).integers(0, 255, (60, 40, 1, 3)).astype(np.uint8)
    photo = makeVector(values, matrix) if colours else makeVolume(values[..., 0], matrix)
    photo.GetDisplayNode().SetAutoWindowLevel(False)
    photo.GetDisplayNode().SetWindowLevelMinMax(0, 255)
    heat = makeHeatmap(tmp_path, blob((60, 40, 1), matrix, centerOf(matrix, (20, 30, 0))), matrix)
    node = overlay.addOverlay(makeResult(heat, activation_spacing=(8.0, 9.0, 1.0), peak=(20, 30, 0)), photo)
    assert isPhoto(photo) and not isPhoto(makeVolume(values[..., 0], affine(np.eye(3), (1, 1, 1))))
    (plane,) = planesOf(photo)
    rendered = SliceRenderer(photo).render(plane, centerOf(matrix, (20, 30, 0)), 1.0)
    expected = values[:, :, 0].transpose(1, 0, 2) / 255 if colours else values[:, :, 0, :1].transpose(1, 0, 2) / 255
    np.testing.assert_allclose(rendered.pixels, np.broadcast_to(expected, (40, 60, 3)), atol=1.5 / 255)
    assert rendered.letters == {} and picture.caption(plane, photo, centerOf(matrix)) == "60 × 40 pixels"
    footer = picture._words(photo, node)[2]
    assert (
        "8 × 9 pixels" in footer[0] and "column 20, row 30" in footer[1] and not any(" mm" in line for line in footer)
    )


def test_the_peak_is_the_results_where_the_voxels_bear_it_out(tmp_path):
    """What the picture, the slice views and the console say is the middle of the plateau, whatever the report
    claims."""
    matrix = GEOMETRIES["axis-aligned"]
    volume = makeVolume(np.zeros(SHAPE, np.int16), matrix)
    plateau = np.zeros(SHAPE)
    plateau[10:14, 10:15, 10:15] = 1
    for said, expected in (
        ((12, 12, 12), (12, 12, 12)),
        ((0, 0, 0), (11, 12, 12)),
        ((99, 0, 0), (11, 12, 12)),
        (None, (11, 12, 12)),
    ):
        node = overlay.addOverlay(makeResult(makeHeatmap(tmp_path, plateau, matrix), peak=said), volume)
        for _stored in (False, True):  # a scene that was loaded has the report alone
            assert overlay.peakVoxel(node) == expected
            np.testing.assert_allclose(overlay.peakWorld(node), (matrix @ [*expected, 1])[:3])
            assert overlay.jumpToPeak(node) == pytest.approx(tuple((matrix @ [*expected, 1])[:3]))
            assert f"voxel {expected}" in picture._words(volume, node)[2][1]
            node.GetImageData().Modified()
    node = overlay.addOverlay(makeResult(makeHeatmap(tmp_path, 0 * plateau, matrix), peak=None), volume)
    assert overlay.peakVoxel(node) is None and volumes.peakIJK(node) is None
    assert "No positive evidence" in picture._words(volume, node)[2][1]
    picture.savePicture(tmp_path / "zero.png", volume, node)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (FieldOfView(0.8, ((1.0, 0.0, 0.0, 1.5, 7.5),)), "Outlined: the 80 % of"),
        (FieldOfView(0.8, ()), "The network saw 80 % of"),
        (FieldOfView(0.8, None), "The network saw 80 % of"),
        (FieldOfView(1.0, ()), None),
        (FieldOfView(1.0, None), None),
        (FieldOfView(0.998, ((1.0, 0.0, 0.0, 0.5, 39.5),)), "Outlined: the 99.8 % of"),
    ],
)
def test_outlined_is_said_where_something_is(tmp_path, seen, words):
    matrix = GEOMETRIES["axis-aligned"]
    inputVolume, node = makeOverlay(tmp_path, matrix, centerOf(matrix), field_of_view=seen)
    lines = [line for line in picture._words(inputVolume, node)[2] if "network saw" in line]
    assert len(lines) == (words is not None) and all(line.startswith(words) for line in lines)
    picture.savePicture(tmp_path / "p.png", inputVolume, node)


def test_errors(tmp_path):
    matrix = GEOMETRIES["axis-aligned"]
    inputVolume, node = makeOverlay(tmp_path, matrix, centerOf(matrix))
    with pytest.raises(OutputError, match="ends in .png"):
        picture.savePicture(tmp_path / "p.jpg", inputVolume, node)
    with pytest.raises(OutputError, match="does not exist; create it"):
        picture.savePicture(tmp_path / "nowhere" / "p.png", inputVolume, node)
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(VolumeError, match="'empty' has no voxels"):
        picture.savePicture(tmp_path / "p.png", empty, node)
    assert [p.name for p in tmp_path.iterdir()] == ["heatmap.npy"]


def test_text_is_drawn_and_fitted():
    mask, baseline = canvas.renderText("Hg", 20)
    plain, other = canvas.renderText("x", 20)
    assert mask.max() == 1 and mask.shape[0] == plain.shape[0] and baseline == other, "lines of one size align"
    assert mask[baseline:].max() > 0.5 and plain[baseline:].max() < 0.2, "only g goes below the baseline"
    assert canvas.renderText("", 20)[0].shape[1] == 0
    long = "a very long name of a volume that does not fit " * 5
    short = canvas.fitText(long, 20, 300)
    assert canvas.textWidth(short, 20) <= 300 and "..." in short and short.startswith("a very")
    assert canvas.fitText("short", 20, 300) == "short"
    page = canvas.Canvas(50, 20, (0, 0, 0))
    page.text(-20, -5, "clipped at every edge", 20, (1, 1, 1))
    page.rectangle(-5, -5, 100, 7, (1, 0, 0))
    drawn = np.asarray(page.image)
    assert drawn.shape == (20, 50, 3) and (drawn[0] == (255, 0, 0)).all()


@pytest.mark.parametrize("path", [*realVolumes[:1], *map(SLOW, realVolumes[1:])], ids=lambda path: path.name)
def test_real_volumes(tmp_path, path):
    inputVolume = core.loadVolume(path)
    matrix, shape = volumes.affineFromNode(inputVolume), inputVolume.GetImageData().GetDimensions()
    center = (matrix @ [*(np.array(shape) * 0.4), 1])[:3]
    node = overlay.addOverlay(makeResult(makeHeatmap(tmp_path, blob(shape, matrix, center, 10), matrix)), inputVolume)
    overlay.setOpacity(node, 1)
    peak = overlay.peakWorld(node)
    for orientation in ORIENTATIONS:
        rendered = SliceRenderer(inputVolume, node, 1.0).render(orientation, peak, 2.0)
        column, row = np.round(rendered.pixelOf(peak)).astype(int)
        np.testing.assert_allclose(rendered.pixels[row, column], color_tables.colors("heat")[-1, :3], atol=8 / 255)
    picture.savePicture(tmp_path / "p.png", inputVolume, node)
    assert readPng(tmp_path / "p.png").shape[1] > 1000
