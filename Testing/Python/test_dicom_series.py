"""A DICOM series as a volume: where its voxels lie, what they are worth, and what is refused with its place."""

from __future__ import annotations

import builtins
import sys

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_series import GEOMETRIES, IDENTIFYING, ORIGIN, SHAPE, affine_of, voxels, write_series
from pydicom.fileset import FileSet
from pydicom.uid import JPEG2000Lossless, RLELossless, generate_uid

from CAMOverlayLib.contract.errors import VolumeError
from CAMOverlayLib.dicom.account import Account
from CAMOverlayLib.dicom.objects import write_segmentation
from CAMOverlayLib.dicom.series import read_series
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io import volumes

core.ensureScene()


def loaded(path):
    """Voxels I×J×K and affine of the node that a path becomes."""
    node = core.loadVolume(path)
    return volumes.voxelsOf(node), volumes.affineFromNode(node)


def in_order_of(stored, name, affine):
    """Stored voxels as the grid of ``affine`` counts them, by where each lies and nothing else."""
    back = np.linalg.inv(affine) @ affine_of(name)
    index = np.indices(stored.shape).reshape(3, -1)
    there = back[:3, :3] @ index + back[:3, 3:]
    assert np.abs(there - np.round(there)).max() < 1e-4
    placed = np.full(stored.shape, np.nan)
    placed[tuple(np.round(there).astype(int))] = stored[tuple(index)]
    return placed


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_voxel_lies_where_the_slices_say_and_where_slicers_own_reader_puts_it(tmp_path, name):
    files = write_series(tmp_path / "s", name)
    found, affine = loaded(tmp_path / "s")
    assert found.dtype == np.int16 and np.array_equal(found, in_order_of(voxels() * 1.0 - 1024, name, affine))
    assert np.linalg.det(affine[:3, :3]) > 0

    names = core.vtk.vtkStringArray()
    for file in files:
        names.InsertNextValue(str(file))
    other = core._volumesLogic().AddArchetypeVolume(str(files[0]), "other", 0, names)
    np.testing.assert_allclose(affine, volumes.affineFromNode(other), atol=1e-6)
    assert np.array_equal(found, volumes.voxelsOf(other))


def test_a_tilted_gantry_is_a_sheared_grid_and_stays_one_in_a_scene(tmp_path):
    write_series(tmp_path / "s", "tilted")
    series = read_series(tmp_path / "s")
    assert series.is_tilted and not read_series_of(tmp_path / "a", "axial").is_tilted
    node = core.loadVolume(tmp_path / "s")
    node.SetName("the tilted one")
    affine, voxel = volumes.affineFromNode(node), (5, 9, 3)
    world = volumes.worldFromIJK(node, voxel)
    np.testing.assert_allclose(world, affine[:3, :3] @ voxel + affine[:3, 3], atol=1e-9)
    core.saveScene(tmp_path / "scene.mrb")  # the first time every node gets what saves it
    before = core.ensureScene().GetNumberOfNodes()
    core.saveScene(tmp_path / "scene.mrb")
    assert core.ensureScene().GetNumberOfNodes() == before and node.GetTransformNodeID() is None
    assert np.array_equal(volumes.affineFromNode(node), affine)
    again = core.loadScene(tmp_path / "scene.mrb").GetFirstNodeByName(node.GetName())
    np.testing.assert_allclose(volumes.worldFromIJK(again, voxel), world, atol=1e-4)
    np.testing.assert_allclose(volumes.worldFromIJK(again, (0, 0, 0)), affine[:3, 3], atol=1e-4)


def read_series_of(folder, name, **options):
    write_series(folder, name, **options)
    return read_series(folder)


# Values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "slope", "intercept", "becomes"),
    [
        (np.int16, 1, 0, np.int16),
        (np.int16, 1, -1024, np.int16),
        (np.uint16, 1, 0, np.uint16),
        (np.uint16, 1, -1024, np.int32),
        (np.int16, 3, -1024, np.int16),
        (np.int16, 40, 7, np.int32),
        (np.uint16, 0.37, -5.5, np.float32),
    ],
)
def test_slope_and_intercept_make_the_values_that_are_meant(tmp_path, kind, slope, intercept, becomes):
    stored = (voxels().astype(int) + (40000 if kind is np.uint16 else 0)).astype(kind)
    write_series(tmp_path / "s", stored=stored, slope=slope, intercept=intercept)
    found, _ = loaded(tmp_path / "s")
    assert found.dtype == becomes
    np.testing.assert_allclose(found, stored * float(slope) + intercept, rtol=1e-6)


def test_every_slice_has_a_slope_of_its_own_in_pet(tmp_path):
    def edit(header, k):
        header.RescaleSlope, header.RescaleIntercept = 0.25 * (k + 1), 0

    write_series(tmp_path / "s", edit=edit)
    found, _ = loaded(tmp_path / "s")
    np.testing.assert_allclose(found, voxels() * 0.25 * np.arange(1, SHAPE[2] + 1), rtol=1e-6)


def test_a_compressed_series_is_decoded_and_one_that_cannot_be_says_what_to_do(tmp_path):
    write_series(tmp_path / "rle", syntax=RLELossless)
    assert pydicom.dcmread(next((tmp_path / "rle").iterdir())).file_meta.TransferSyntaxUID == RLELossless
    assert np.array_equal(loaded(tmp_path / "rle")[0], voxels() - 1024)

    def spoil(header, k):
        header.file_meta.TransferSyntaxUID = JPEG2000Lossless
        header.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51nothing"])

    write_series(tmp_path / "j2k", edit=spoil)
    with pytest.raises(VolumeError, match=r"is compressed \(JPEG 2000.*Install one .*or decompress the series"):
        core.loadVolume(tmp_path / "j2k")


def test_a_file_that_was_cut_short_is_named_by_its_slice(tmp_path):
    files = write_series(tmp_path / "s")
    files[2].write_bytes(files[2].read_bytes()[:-100])
    with pytest.raises(VolumeError, match="Slice 3 of the DICOM series is damaged or cut short"):
        core.loadVolume(tmp_path / "s")


# What makes no volume -------------------------------------------------------------------------------------------------


def leave_out(header, k):
    return k != 3


def leave_out_two(header, k):
    return k not in (2, 3)


def push(header, k):
    header.ImagePositionPatient[2] += 0.4 * (k == 4)


def push_aside(header, k):
    header.ImagePositionPatient[0] += 3 * (k == 4)


def bent(header, k):
    header.ImagePositionPatient[2] += 0.03 * k * (5 - k)


def twice(header, k):
    if k == 4:
        header.ImagePositionPatient = [float(x) for x in ORIGIN + np.array([0, 0, 7.5])]


def turn(header, k):
    if k == 2:
        header.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def shrink(header, k):
    if k == 2:
        header.Rows, header.PixelData = 7, header.PixelData[: len(header.PixelData) // 2]


def unplaced(header, k):
    if k == 2:
        del header.ImagePositionPatient


def flat(header, k):
    header.PixelSpacing = [0, 0]


def colours(header, k):
    header.SamplesPerPixel = 3


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (leave_out, r"lacks 1 slice between slice 3 at 106\.50 mm and slice 5 at 111\.50 mm .*at 109\.00 mm"),
        (leave_out_two, r"lacks 2 slices between slice 2 at 104\.00 mm and slice 5.* at 106\.50, 109\.00 mm"),
        (push, r"not evenly spaced: 2\.9 mm between slice 4 at 109\.00 mm and slice 5 at 111\.90 mm.* 2\.5 mm else"),
        (push_aside, r"not evenly spaced: slice 5, at 111\.50 mm along the normal, lies 3\.00 mm beside"),
        (bent, r"not evenly spaced: slice \d, at 10\d\.\d\d mm along the normal, lies 0\.18 mm beside"),
        (twice, r"two slices at one place: numbers (4 and 5|5 and 4), both at 109\.00 mm"),
        (turn, r"mixes orientations or spacings: slice 3 is turned by 90\.0° against slice 1"),
        (shrink, r"mixes sizes: slice \d has 18 × (14|7) pixels, slice \d 18 × (14|7)"),
        (unplaced, "Slice 3 of the DICOM series does not say where it lies"),
        (flat, "impossible geometry .spacing .0.0, 0.0. mm"),
        (colours, "is in colours"),
    ],
)
def test_what_makes_no_volume_is_refused_with_the_place(tmp_path, edit, words):
    write_series(tmp_path / "s", edit=edit)
    before = core.ensureScene().GetNumberOfNodes()
    with pytest.raises(VolumeError, match=words) as raised:
        core.loadVolume(tmp_path / "s")
    assert not any(part in str(raised.value) for part in IDENTIFYING)
    assert core.ensureScene().GetNumberOfNodes() == before


def test_a_missing_slice_is_found_in_any_orientation(tmp_path):
    for name in ("sagittal", "oblique", "tilted", "reversed"):
        write_series(tmp_path / name, name, edit=leave_out)
        with pytest.raises(VolumeError, match="lacks 1 slice between slice"):
            core.loadVolume(tmp_path / name)


def test_positions_that_were_written_with_one_digit_are_even(tmp_path):
    def rounded(header, k):
        header.ImagePositionPatient = [f"{x:.1f}" for x in ORIGIN + np.array([0, 0, 1.25 * k])]

    series = read_series_of(tmp_path / "s", "axial", edit=rounded)
    assert abs(series.grid.spacing[2] - 1.25) < 0.03
    with pytest.raises(VolumeError, match="not evenly spaced"):
        read_series_of(tmp_path / "t", "axial", edit=lambda h, k: rounded(h, k + 0.3 * (k == 3)))


# Which series ---------------------------------------------------------------------------------------------------------


def test_several_series_are_named_without_the_patient_and_one_can_be_chosen(tmp_path):
    write_series(tmp_path / "disc/one", "axial", number=3)
    files = write_series(tmp_path / "disc/two", "sagittal", number=4, stored=voxels(seed=9))
    with pytest.raises(
        VolumeError, match=r"holds 2 DICOM series; choose one: .*disc#3 \(CT, 6 images of 18 × 14\); .*#4"
    ) as raised:
        core.loadVolume(tmp_path / "disc")
    assert not any(part in str(raised.value) for part in IDENTIFYING)
    uid = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
    for which in ("4", uid):
        found, affine = loaded(f"{tmp_path / 'disc'}#{which}")
        assert np.array_equal(found, in_order_of(voxels(seed=9) * 1.0 - 1024, "sagittal", affine))
    with pytest.raises(VolumeError, match=r"has no DICOM series 5; there are .*#3"):
        core.loadVolume(f"{tmp_path / 'disc'}#5")
    write_series(tmp_path / "disc/three", "axial", number=3)
    with pytest.raises(VolumeError, match=r"#1\.2\.826\.\S+ \(CT"):  # the number names two of them
        core.loadVolume(f"{tmp_path / 'disc'}#3")


def test_a_folder_with_a_hash_in_its_name_is_a_folder(tmp_path):
    write_series(tmp_path / "case#7")
    assert np.array_equal(loaded(tmp_path / "case#7")[0], voxels() - 1024)


def test_what_is_no_volume_is_in_nobodys_way(tmp_path):
    """Notes, a localiser's picture, and what was written for the series before."""
    folder = tmp_path / "s"
    write_series(folder)
    (folder / "notes.txt").write_text("mine")
    write_series(folder / "scout", "sagittal", number=1, edit=lambda h, k: k == 0)
    series = read_series(f"{folder}#3")
    labels = np.ones(SHAPE, np.uint8)
    write_segmentation(series, labels, {1: "all"}, Account("Grad-CAM", "x", "y", "z", "1"), folder / "regions.dcm")
    assert np.array_equal(loaded(folder)[0], voxels() - 1024)


def test_a_dicomdir_is_the_series_it_lists(tmp_path):
    files = write_series(tmp_path / "s", "oblique")
    listing = FileSet()
    for file in files:
        listing.add(file)
    listing.write(tmp_path / "disc")
    found, affine = loaded(tmp_path / "disc/DICOMDIR")
    again = loaded(tmp_path / "disc")
    assert np.array_equal(found, in_order_of(voxels() * 1.0 - 1024, "oblique", affine)) and np.array_equal(
        found, again[0]
    )
    next(path for path in (tmp_path / "disc").rglob("*") if path.is_file() and path.name != "DICOMDIR").unlink()
    with pytest.raises(VolumeError, match="lists 6 images, of which 1 are not there"):
        core.loadVolume(tmp_path / "disc/DICOMDIR")


def multiframe(folder, name):
    """An enhanced multi-frame file whose frames are in no order."""
    headers = [pydicom.dcmread(file) for file in write_series(folder / "parts", name)]
    made = highdicom.legacy.LegacyConvertedEnhancedCTImage(headers, generate_uid(), 5, generate_uid(), 1)
    made.FrameOfReferenceUID = headers[0].FrameOfReferenceUID
    order = [3, 0, 5, 1, 4, 2]
    groups = list(made.PerFrameFunctionalGroupsSequence)
    made.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    pixels = np.frombuffer(made.PixelData, np.int16).reshape(len(order), -1)
    made.PixelData = pixels[order].tobytes()
    made.save_as(folder / "whole.dcm", enforce_file_format=True)
    return folder / "whole.dcm"


@pytest.mark.parametrize("name", ["oblique", "tilted"])
def test_a_multi_frame_file_is_a_volume(tmp_path, name):
    file = multiframe(tmp_path, name)
    found, affine = loaded(file)
    assert np.array_equal(found, in_order_of(voxels() * 1.0 - 1024, name, affine))


def test_frames_without_a_place_are_refused(tmp_path):
    def film(header, k):
        header.NumberOfFrames = 2
        header.PixelData = header.PixelData * 2
        return k == 0

    (file,) = write_series(tmp_path / "s", edit=film)
    with pytest.raises(VolumeError, match="holds 2 frames and does not say where each lies"):
        core.loadVolume(file)


def test_a_picture_of_no_place_is_left_to_slicers_reader(tmp_path):
    def xray(header, k):
        del header.ImagePositionPatient, header.ImageOrientationPatient
        return k == 0

    (file,) = write_series(tmp_path / "s", edit=xray)
    assert volumes.voxelsOf(core.loadVolume(file)).shape == (*SHAPE[:2], 1)


def test_without_pydicom_a_folder_says_what_to_install_and_a_file_is_read_as_before(tmp_path, monkeypatch):
    files = write_series(tmp_path / "s")
    before = builtins.__import__
    for name in [name for name in sys.modules if name.split(".")[0] == "pydicom"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert builtins.__import__ is before
    with pytest.raises(VolumeError, match=r"the package pydicom is needed.*Install it there \(pip install highdicom"):
        core.loadVolume(tmp_path / "s")
    monkeypatch.setattr("CAMOverlayLib.dicom.library.is_installed", lambda: False)
    assert volumes.voxelsOf(core.loadVolume(files[0])).shape == (*SHAPE[:2], 1)
