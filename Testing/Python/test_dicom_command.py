"""From a folder of slices to DICOM objects: command line, console, and a volume that Slicer's DICOM module loaded."""

from __future__ import annotations

import gzip
import json
import zipfile

import nibabel
import numpy as np
import pydicom
import pytest
import slicer
from dicom_series import IDENTIFYING, PATIENT, affine_of, voxels, write_series

from CAMOverlayLib.cli.main import FILES, main
from CAMOverlayLib.contract.bundle_content import content_hash
from CAMOverlayLib.contract.errors import OutputError, PlacementError, VolumeError
from CAMOverlayLib.logic import OverlayLogic
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io import dicom, volumes

SEGMENTER = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
}
CHAIN = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "ScaleIntensityd", "keys": "image"},
    {"_target_": "EnsureTyped", "keys": "image"},
]
SHAPE = (20, 16, 8)


def stored():
    return voxels(SHAPE)


@pytest.fixture
def bundle(make_bundle):
    return make_bundle(network=SEGMENTER, chain=CHAIN)


def run(folder, bundle, tmp_path, *more):
    asked = ["explain", folder, "--model", bundle, "--trust", "--output", tmp_path / "out", "--target", "1", *more]
    return main([str(one) for one in asked])


def everything_in(path):
    """The bytes of a file, and of what is packed in it."""
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as whole:
            for name in whole.namelist():
                inner = whole.read(name)
                yield name.encode()
                yield inner
                if inner[:4] == b"NRRD":
                    yield inner.partition(b"\n\n")[0]


WORDS = [text for part in IDENTIFYING if len(part) > 3 for text in (part, part.lower())] + ["Zwölfer", "Zwoelfer"]


def names_the_patient(data):
    return [word for word in WORDS for code in ("utf-8", "latin-1", "utf-16-le") if word.encode(code) in data]


def test_a_folder_of_slices_is_explained_and_only_dicom_objects_name_the_patient(bundle, tmp_path, capfd):
    write_series(tmp_path / "series", "tilted", stored=stored())
    assert (
        run(
            tmp_path / "series",
            bundle,
            tmp_path,
            "--dicom",
            tmp_path / "objects",
            "--dicom-picture",
            "--also",
            "prediction",
        )
        == 0
    )
    printed, complained = capfd.readouterr()
    assert (
        "dicom        " in printed
        and "heatmap.dcm (8 frames)" in printed
        and "read back, every frame within 0.0" in printed
    )
    assert names_the_patient((printed + complained).encode()) == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [*FILES, "report.html", "prediction.nii.gz"]
    )
    for path in (tmp_path / "out").iterdir():
        for data in everything_in(path):
            assert names_the_patient(data) == [], path
            assert b"1.2.826.0.1.3680043.8.498" not in data, path  # nor the numbers of its slices
    heatmap, report = (
        nibabel.load(tmp_path / "out/heatmap.nii.gz"),
        json.loads((tmp_path / "out/report.json").read_text()),
    )
    np.testing.assert_allclose(heatmap.affine, affine_of("tilted"), atol=1e-5)
    assert heatmap.shape == SHAPE and report["inputs"] == ["CT 3"]

    written = sorted(path.name for path in (tmp_path / "objects").iterdir())
    always = {"heatmap.dcm", "picture.dcm", "prediction.dcm"}
    assert always <= set(written) <= {*always, "hot-spots.dcm"}
    said = pydicom.dcmread(tmp_path / "objects/prediction.dcm")
    predicted = np.asarray(nibabel.load(tmp_path / "out/prediction.nii.gz").dataobj)
    assert [one.SegmentLabel for one in said.SegmentSequence] == [
        report["prediction"]["classes"][n] for n in np.unique(predicted) if n
    ]
    assert np.count_nonzero(said.pixel_array) == np.count_nonzero(predicted) > 0
    dataset = pydicom.dcmread(tmp_path / "objects/heatmap.dcm")
    assert dataset.PatientName == PATIENT["PatientName"]
    assert content_hash(bundle) in str(dataset)
    assert np.array_equal(dataset.pixel_array.T, np.asarray(heatmap.dataobj, np.float32))
    spots = report["findings"]
    if spots:
        hot = pydicom.dcmread(tmp_path / "objects/hot-spots.dcm")
        assert len(hot.SegmentSequence) == len(spots)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dicom", "objects"], "The first volume is not a DICOM series"),
        (["--dicom-picture"], "goes into the folder of --dicom"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_computed(
    bundle, tmp_path, capfd, monkeypatch, arguments, words
):
    nibabel.save(nibabel.Nifti1Image(stored(), np.eye(4)), tmp_path / "head.nii.gz")
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path / "head.nii.gz", bundle, tmp_path, *arguments) == 2
    said = capfd.readouterr().err
    assert words in said and "Running the network" not in said
    assert not (tmp_path / "out").exists() and not (tmp_path / "objects").exists()


def test_errors_tell_nothing_of_the_patient_and_leave_nothing(bundle, tmp_path, capfd):
    def spoil(header, k):
        del header.FrameOfReferenceUID
        header.add_new(0x00100030, "LO", "19330217 not a date")  # what a library would complain about

    write_series(tmp_path / "series", stored=stored(), edit=spoil)
    assert run(tmp_path / "series", bundle, tmp_path, "--dicom", tmp_path / "objects") == 2
    printed, complained = capfd.readouterr()
    assert "has no FrameOfReferenceUID" in complained and names_the_patient((printed + complained).encode()) == []
    assert not (tmp_path / "out").exists() and not (tmp_path / "objects").exists()


def test_several_series_are_not_guessed_at(bundle, tmp_path, capfd):
    for number in (3, 4):
        write_series(tmp_path / f"disc/{number}", "axial", stored=stored(), number=number)
    assert run(tmp_path / "disc", bundle, tmp_path) == 2
    complained = capfd.readouterr().err
    assert "holds 2 DICOM series; choose one" in complained and names_the_patient(complained.encode()) == []


@pytest.fixture
def overlay_of_slicers_volume(bundle, tmp_path, monkeypatch):
    """An overlay of a volume as Slicer's DICOM module leaves it: loaded by its reader, with the UIDs of its files, that
    the database knows. The database stands in for Slicer's, which is not in its core."""
    files = write_series(tmp_path / "series", "reversed", stored=stored())
    known = {str(pydicom.dcmread(file).SOPInstanceUID): str(file) for file in files}

    class Database:
        def fileForInstance(self, uid):
            return known.get(uid, "")

    core.ensureScene()
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    names = core.vtk.vtkStringArray()
    for file in files:
        names.InsertNextValue(str(file))
    node = core._volumesLogic().AddArchetypeVolume(str(files[0]), "3: Thorax Zwoelfer", 0, names)
    node.SetAttribute(dicom.INSTANCES, " ".join(known))
    overlay = OverlayLogic().process(node, bundle, trust=True, target=1)
    return overlay, node, known


def test_a_volume_of_slicers_dicom_database_knows_its_series_as_long_as_it_is_that(
    overlay_of_slicers_volume, bundle, tmp_path
):
    overlay, node, known = overlay_of_slicers_volume
    placed = OverlayLogic.writeDicom(overlay, tmp_path / "objects", withPicture=True)
    assert placed["heatmap.dcm"].frames == SHAPE[2] and placed["heatmap.dcm"].millimetres < 1e-3
    assert {path.name for path in (tmp_path / "objects").iterdir()} == set(placed)
    dataset = pydicom.dcmread(tmp_path / "objects/heatmap.dcm")
    assert np.array_equal(dataset.pixel_array.T, volumes.voxelsOf(overlay)) and content_hash(bundle) in str(dataset)

    computed_by = content_hash(bundle)
    (bundle / "configs/notes.json").write_text("{}")  # what is there now has not computed it
    OverlayLogic.writeDicom(overlay, tmp_path / "again")
    again = str(pydicom.dcmread(tmp_path / "again/heatmap.dcm"))
    assert computed_by in again and content_hash(bundle) not in again

    (tmp_path / "file").write_text("")
    refused = tmp_path / "refused"
    with pytest.raises(OutputError, match="Nothing can be written to"):
        OverlayLogic.writeDicom(overlay, tmp_path / "file")
    slicer.util.arrayFromVolume(node)[2, 3, 4] += 50
    with pytest.raises(PlacementError, match="are not those of its DICOM series"):
        OverlayLogic.writeDicom(overlay, refused)
    known.popitem()
    with pytest.raises(VolumeError, match="Of the 8 files of this volume's DICOM series 1 are not in"):
        OverlayLogic.writeDicom(overlay, refused)
    node.RemoveAttribute(dicom.INSTANCES)
    with pytest.raises(VolumeError, match="comes from no DICOM series that is known here"):
        OverlayLogic.writeDicom(overlay, refused)
    assert not refused.exists() and [path for path in tmp_path.iterdir() if path.name.startswith(".cam")] == []
