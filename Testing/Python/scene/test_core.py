"""Starting the Slicer core, loading a volume, saving the scene."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import slicer
import slicer.util
import vtk
from scene.helpers import GEOMETRIES, makeVolume, nodeIDs, realVolumes

from CAMOverlayLib.contract import packed as packed_module
from CAMOverlayLib.contract.errors import CAMOverlayError, OutputError, VolumeError
from CAMOverlayLib.contract.packed import write_gz
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io import packed_scene, volumes


def save(path: Path, voxels: np.ndarray, matrix: np.ndarray | None = np.eye(4), **options) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels, matrix, **options), path)
    return path


def test_ensureScene_is_idempotent_and_slicer_util_works():
    scene = core.ensureScene()
    assert core.ensureScene() is scene is slicer.mrmlScene
    node = makeVolume(np.zeros((3, 4, 5), np.int16), name="brain")
    assert slicer.util.getNode("brain") is node
    assert slicer.util.arrayFromVolume(node).shape == (5, 4, 3)
    slicer.util.setSliceViewerLayers(background=node)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert {c.GetLayoutName() for c in composites} == {"Red", "Yellow", "Green"}
    assert {c.GetBackgroundVolumeID() for c in composites} == {node.GetID()}
    orientations = {n.GetName(): n.GetOrientation() for n in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    assert orientations == {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
    assert core.applicationLogic().GetSliceLogics().GetNumberOfItems() == 3


@pytest.mark.parametrize(
    ("how", "moment"),
    [
        ("KeyboardInterrupt", "afterwards"),
        ("SystemExit(3)", "while the core starts"),
        ("ZeroDivisionError", "afterwards"),
        pytest.param("KeyboardInterrupt", "while the core starts", marks=pytest.mark.slow),
        pytest.param("SystemExit(3)", "afterwards", marks=pytest.mark.slow),
        pytest.param("ZeroDivisionError", "while the core starts", marks=pytest.mark.slow),
    ],
)
def test_python_ends_in_order_whatever_ends_it(moment, how):
    """Scene and logics are let go of before Python's modules are, also by the frames of what was raised."""
    program = (
        "import gc, atexit, weakref, slicer\n"
        "from CAMOverlayLib.scene import core\n"
        "dead = []\n"
        "atexit.register(lambda: print('let go of', gc.collect() >= 0 and all(one() is None for one in dead)))\n"
        "class Logic(slicer.vtkMRMLSliceLogic):\n"
        "    def AddSliceNode(self, name):\n"
        f"        if {moment!r} == 'while the core starts' and name == 'Yellow':\n"
        f"            raise {how}\n"
        "        return super().AddSliceNode(name)\n"
        "slicer.vtkMRMLSliceLogic = Logic\n"
        "def work():\n"
        "    scene = core.ensureScene()\n"
        "    dead.append(weakref.ref(scene))\n"
        f"    raise {how}\n"
        "work()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == {"KeyboardInterrupt": -2, "SystemExit(3)": 3, "ZeroDivisionError": 1}[how], done.stderr
    assert done.stdout == "let go of True\n"


def test_scene_made_by_a_host_is_used():
    program = (
        "import slicer\nslicer.mrmlScene = scene = slicer.vtkMRMLScene()\n"
        "from CAMOverlayLib.scene import core\nassert core.ensureScene() is scene\n"
        "assert scene.GetNumberOfNodes() == 0 and core.applicationLogic() is None\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_loadVolume_reads_voxels_and_geometry(tmp_path, dtype):
    matrix = GEOMETRIES["oblique"]
    voxels = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(dtype)
    node = core.loadVolume(save(tmp_path / "a.brain.nii.gz", voxels, matrix))
    assert node.GetName() == "a.brain"
    assert node.GetDisplayNode() is not None
    array = slicer.util.arrayFromVolume(node)
    assert array.dtype == dtype and np.array_equal(array.T, voxels)
    np.testing.assert_allclose(volumes.affineFromNode(node), matrix, atol=1e-5)  # the file keeps float32


def test_loadVolume_reads_one_file_and_not_its_neighbours(tmp_path):
    for number in range(3):
        save(tmp_path / f"slice{number}.nii.gz", np.full((4, 5, 1), number, np.int16))
    node = core.loadVolume(tmp_path / "slice1.nii.gz")
    assert node.GetImageData().GetDimensions() == (4, 5, 1)
    assert (slicer.util.arrayFromVolume(node) == 1).all()
    assert node.GetDisplayNode().GetAutoWindowLevel()


@pytest.mark.parametrize("path", realVolumes, ids=lambda path: path.name)
@pytest.mark.some(1)
def test_loadVolume_agrees_with_nibabel_on_real_volumes(path):
    node, image = core.loadVolume(path), nibabel.load(path)
    expected = np.asanyarray(image.dataobj)  # scaled by the header: float32 in Slicer, float64 in nibabel
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node).T, expected, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(volumes.affineFromNode(node), image.affine, atol=1e-4)


def test_loadVolume_takes_colours(tmp_path):
    voxels = np.zeros((5, 6, 7), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    voxels["R"], voxels["B"] = 7, 9
    node = core.loadVolume(save(tmp_path / "x.nii.gz", voxels))
    assert node.IsA("vtkMRMLVectorVolumeNode") and volumes.voxelsOf(node).shape == (5, 6, 7, 3)
    assert (volumes.voxelsOf(node) == [7, 0, 9]).all()


def missing(folder):
    return folder / "missing.nii.gz"


def directory(folder):
    return folder


def text(folder):
    (folder / "note.txt").write_text("hello")
    return folder / "note.txt"


def notNifti(folder):
    (folder / "x.nii").write_bytes(b"hello" * 100)
    return folder / "x.nii"


def notCompressed(folder):
    (folder / "x.nii.gz").write_bytes(b"hello" * 100)
    return folder / "x.nii.gz"


def empty(folder):
    (folder / "x.nrrd").touch()
    return folder / "x.nrrd"


def cut(folder):
    path = save(folder / "x.nii", np.zeros((5, 6, 7)))
    path.write_bytes(path.read_bytes()[:1000])
    return path


def cutCompressed(folder):
    path = save(folder / "x.nii.gz", np.random.default_rng(0).random((15, 16, 17)))
    path.write_bytes(path.read_bytes()[:9000])
    return path


def fourD(folder):
    return save(folder / "x.nii.gz", np.zeros((5, 6, 7, 3), np.float32))


def fourDNrrd(folder):
    (folder / "x.nrrd").write_bytes(
        b"NRRD0004\ntype: uchar\ndimension: 4\nsizes: 2 3 4 5\nspace dimension: 3\n"
        b"space directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: list domain domain domain\nencoding: raw\n\n"
        + bytes(120)
    )
    return folder / "x.nrrd"


def nifti2(folder):
    nibabel.save(nibabel.Nifti2Image(np.ones((3, 4, 5), np.int16), np.eye(4)), folder / "x.nii")
    return folder / "x.nii"


def zeroSpacing(folder):
    image = nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), None)
    image.header["pixdim"][1] = 0
    nibabel.save(image, folder / "x.nii.gz")
    return folder / "x.nii.gz"


def singular(folder):
    image = nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), None)
    image.header["sform_code"], image.header["srow_x"] = 1, 0
    nibabel.save(image, folder / "x.nii.gz")
    return folder / "x.nii.gz"


def notFinite(folder):
    voxels = np.zeros((5, 6, 7), np.float32)
    voxels[1, 2, 3], voxels[4, 5, 6] = np.nan, -np.inf
    return save(folder / "x.nii.gz", voxels)


def bigEndianNotFinite(folder):
    header = nibabel.Nifti1Header(endianness=">")
    image = nibabel.Nifti1Image(np.full((2, 2, 2), np.inf, ">f8"), np.eye(4), header)
    nibabel.save(image, folder / "x.nii")
    return folder / "x.nii"


def sheared(folder):
    return save(folder / "x.nii.gz", np.zeros((5, 6, 7), np.int16), GEOMETRIES["sheared"])


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (missing, "does not exist"),
        (directory, "is a folder"),
        (text, "no reader knows this format"),
        (notNifti, "not a NIfTI file"),
        (notCompressed, "cut short or damaged"),
        (empty, "no reader knows this format"),
        (cut, "cut short: 648 bytes of voxels where its header tells 1680"),
        (cutCompressed, "cut short or damaged"),
        (fourD, "4-D input of 5 × 6 × 7 × 3"),
        (fourDNrrd, "2 numbers per voxel .*4-D input"),
        (nifti2, "convert it to NIfTI-1"),
        (zeroSpacing, r"singular geometry .spacing .0\.0, 1\.0, 1\.0. mm"),
        (singular, "singular geometry .sform with the axes"),
        (notFinite, "2 voxels that are NaN or infinite; replace them"),
        (bigEndianNotFinite, "8 voxels that are NaN or infinite"),
        (sheared, "sheared"),
    ],
)
def test_loadVolume_says_what_is_wrong_in_one_line(tmp_path, capfd, make, cause):
    before = nodeIDs()
    path = make(tmp_path)
    with pytest.raises(VolumeError, match=cause) as error:
        core.loadVolume(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert ";" in str(error.value), "the remedy"
    assert nodeIDs() == before
    assert capfd.readouterr() == ("", ""), "nothing but the error reaches the user"


def test_messages_are_kept_and_the_error_log_is_put_back():
    before = vtk.vtkOutputWindow.GetInstance()
    verbosity = vtk.vtkLogger.GetCurrentVerbosityCutoff()
    with pytest.raises(KeyError), core.vtkMessages() as messages:
        slicer.vtkMRMLVolumeArchetypeStorageNode().ReadData(None)
        assert "ERROR" in messages()
        raise KeyError
    assert vtk.vtkOutputWindow.GetInstance() is before
    assert vtk.vtkLogger.GetCurrentVerbosityCutoff() == verbosity


def test_saveScene_holds_the_volumes_and_leaves_the_scene_alone(tmp_path):
    loaded = core.loadVolume(save(tmp_path / "loaded.nii.gz", np.ones((3, 4, 5), np.int16)))
    made = makeVolume(np.random.default_rng(0).random((6, 5, 4)), GEOMETRIES["sheared"], "made")
    voxels = slicer.util.arrayFromVolume(made).copy()
    (tmp_path / "s.mrb").write_text("an older file")
    assert core.saveScene(tmp_path / "s.mrb") == tmp_path / "s.mrb"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["loaded.nii.gz", "s.mrb"]
    assert loaded.GetStorageNode().GetFileName() == str(tmp_path / "loaded.nii.gz")

    with zipfile.ZipFile(tmp_path / "s.mrb") as archive:
        assert archive.testzip() is None
    core.loadScene(tmp_path / "s.mrb")
    assert np.array_equal(slicer.util.arrayFromVolume(slicer.util.getNode("loaded")), np.ones((5, 4, 3)))
    assert np.array_equal(slicer.util.arrayFromVolume(slicer.util.getNode("made")), voxels)


def test_saveScene_packs_what_Slicer_would_pack(tmp_path):
    """The volumes are packed on all cores; the scene says and holds what it would if Slicer had done it."""
    names = ["für 日本", 'a <c> "q"', "p%20q", "not packed"]
    voxels = [np.random.default_rng(n).integers(0, 9, (4, 5, 6)).astype(np.float32) for n in range(len(names))]
    nodes = [makeVolume(array, GEOMETRIES["oblique"], name) for array, name in zip(voxels, names)]
    nodes[-1].AddDefaultStorageNode()
    nodes[-1].GetStorageNode().SetUseCompression(0)
    core.saveScene(tmp_path / "für.mrb")

    kept = {node.GetName(): node.GetStorageNode().GetUseCompression() for node in nodes if node.GetStorageNode()}
    assert kept == dict.fromkeys(names[:3], 1) | {"not packed": 0}
    with zipfile.ZipFile(tmp_path / "für.mrb") as archive:
        files = [archive.read(name) for name in archive.namelist() if name.endswith(".nrrd")]
        scene = archive.read("scene/scene.mrml").decode()
    assert sorted(b"encoding: raw" in file for file in files) == [False, False, False, True]
    assert scene.count('useCompression="0"') == 1
    headers = [nrrd_header(file) for file in files]
    assert {header["space directions"] for header in headers} == {headers[0]["space directions"]}

    core.loadScene(tmp_path / "für.mrb")
    for array, name in zip(voxels, names):
        found = next(one for one in slicer.util.getNodesByClass("vtkMRMLVolumeNode") if one.GetName() == name)
        assert np.array_equal(slicer.util.arrayFromVolume(found), array.T)


KINDS = ["u1", "i2", "u2", "i4", "u4", "f4", "f8"]


def test_saveScene_holds_voxels_out_and_writes_the_files_that_Slicer_would(tmp_path):
    """Slicer saves a single voxel; header and voxels are those of its own file of the whole, and nothing else moves."""
    random = np.random.default_rng(0)
    nodes = [
        makeVolume(random.integers(0, 99, (5, 6, 1 + n)).astype(kind), affine, "the same name")
        for n, (kind, affine) in enumerate(zip(KINDS, itertools.cycle(GEOMETRIES[g] for g in ("oblique", "LPS"))))
    ]
    labels = slicer.vtkMRMLLabelMapVolumeNode()
    slicer.mrmlScene.AddNode(labels).SetName("labels")
    slicer.util.updateVolumeFromArray(labels, random.integers(0, 3, (4, 1, 6)).astype(np.int16))
    colours = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colours")
    slicer.util.updateVolumeFromArray(colours, random.integers(0, 255, (3, 4, 5, 3)).astype(np.uint8))
    cropped = makeVolume(random.integers(0, 9, (4, 5, 6)).astype(np.int16), GEOMETRIES["oblique"], "cropped")
    cropped.GetImageData().SetExtent(2, 5, 1, 5, -1, 4)
    nodes += [labels, colours, cropped]
    nodes[2].CreateDefaultDisplayNodes()
    nodes[2].AddAndObserveDisplayNodeID(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode").GetID())
    nodes[3].CreateDefaultDisplayNodes()
    nodes[3].GetDisplayNode().SetAutoWindowLevel(0)
    nodes[3].GetDisplayNode().SetWindowLevel(7, 3)

    def displays():
        found = [node.GetNthDisplayNode(n) for node in nodes for n in range(node.GetNumberOfDisplayNodes())]
        return [(d.GetAutoWindowLevel(), d.GetWindow(), d.GetLevel(), d.GetInputImageData()) for d in found]

    images, looked = [node.GetImageData() for node in nodes], displays()
    assert len(looked) >= 3 and all(one[-1] is not None for one in looked)
    core.saveScene(tmp_path / "s.mrb")
    assert [node.GetImageData() for node in nodes] == images and displays() == looked

    heard: list[str] = []
    for node in (nodes[2], nodes[2].GetDisplayNode(), labels):
        for event in ("ModifiedEvent", slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent):
            node.AddObserver(event, lambda caller, event: heard.append(f"{caller.GetName()}: {event}"))
    core.saveScene(tmp_path / "s.mrb")
    assert heard == [], "whoever looked now would see a single voxel"
    nodes[2].GetDisplayNode().Modified()
    assert len(heard) == 1 and displays() == looked

    with zipfile.ZipFile(tmp_path / "s.mrb") as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if name.endswith(".nrrd")}
    assert len(packed) == len(nodes)
    unpacked = []
    for file in packed.values():
        header, _, voxels = file.partition(b"\n\n")
        unpacked.append(header.replace(b"encoding: gzip", b"encoding: raw") + b"\n\n" + gzip.decompress(voxels))
    own = []
    for number, node in enumerate(nodes):
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(tmp_path / f"{number}.nrrd"))
        storage.SetUseCompression(0)
        assert storage.WriteData(node)
        own.append((tmp_path / f"{number}.nrrd").read_bytes())
    assert sorted(unpacked) == sorted(own)


def test_saveScene_copies_what_was_packed_before_and_nothing_else(tmp_path, monkeypatch):
    """The heatmap's file has the same voxels as the scene: they are taken from there, if they are the same indeed."""
    voxels = np.random.default_rng(0).random((210, 200, 150), np.float32)  # more than one part
    other = voxels.copy()
    other[-1, -1, -1] += 1
    before = [write_gz(tmp_path / "heat.nii.gz", b"a header", np.asfortranarray(voxels))]
    packed, pack = [], packed_module._pack
    monkeypatch.setattr(packed_module, "_pack", lambda part: packed.append(len(part)) or pack(part))
    for name, array in (("same", voxels), ("other", other)):
        node = makeVolume(array, GEOMETRIES["oblique"], name)
        packed.clear()
        core.saveScene(tmp_path / f"{name}.mrb", before)
        assert sum(packed) == (0 if name == "same" else array.nbytes)
        slicer.mrmlScene.RemoveNode(node)
    for name, array in (("same", voxels), ("other", other)):
        core.loadScene(tmp_path / f"{name}.mrb")
        assert np.array_equal(slicer.util.arrayFromVolume(slicer.util.getNode(name)), array.T)


def nrrd_header(file: bytes) -> dict[str, str]:
    lines = file.partition(b"\n\n")[0].decode().splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def test_saveScene_on_a_disk_that_is_full_while_it_packs(tmp_path, monkeypatch):
    node = makeVolume(np.zeros((3, 3, 3), np.uint8))
    (tmp_path / "s.mrb").write_text("an older file")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed_scene, "stream_gz", full)
    with pytest.raises(OutputError, match="No space left on device. Free some disk space"):
        core.saveScene(tmp_path / "s.mrb")
    assert [p.name for p in tmp_path.iterdir()] == ["s.mrb"]
    assert (tmp_path / "s.mrb").read_text() == "an older file"
    assert node.GetStorageNode() is None or node.GetStorageNode().GetUseCompression()


FULL_DISK = """
import resource, signal, sys
import numpy as np, slicer
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from CAMOverlayLib.contract.errors import OutputError
from CAMOverlayLib.scene import core
from scene.helpers import makeVolume
scene = core.ensureScene()
makeVolume(np.random.default_rng(0).random((60, 60, 60), np.float32), np.eye(4), "head")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    core.saveScene(sys.argv[1] + "/s.mrb")
except OutputError as error:
    print("refused:", error)
print("left:", sorted(p.name for p in Path(sys.argv[1]).iterdir()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of file sizes are Unix'")
def test_saveScene_where_slicer_finds_no_space_is_an_error_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), str(Path(__file__).parents[1])]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "refused: The scene cannot be saved" in run.stdout, run.stdout
    assert "left: []" in run.stdout


@pytest.mark.parametrize(
    ("name", "cause"), [("scene.mrml", "ends in .mrb"), ("nowhere/scene.mrb", "does not exist; create it")]
)
def test_saveScene_says_what_is_wrong(tmp_path, name, cause):
    with pytest.raises(OutputError, match=cause):
        core.saveScene(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_saveScene_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "s.mrb").write_text("an older file")

    class Full(slicer.vtkMRMLScene):
        def SaveSceneToSlicerDataBundleDirectory(self, path):
            (Path(path) / "half.nrrd").write_text("half")
            return False

    monkeypatch.setattr(core, "ensureScene", Full)
    with pytest.raises(OutputError, match="cannot be saved"):
        core.saveScene(tmp_path / "s.mrb")
    assert (tmp_path / "s.mrb").read_text() == "an older file"
    assert [p.name for p in tmp_path.iterdir()] == ["s.mrb"]


def test_loadScene_says_what_is_wrong_and_keeps_the_scene(tmp_path):
    node = makeVolume(np.zeros((3, 3, 3), np.uint8))
    (tmp_path / "junk.mrb").write_bytes(b"junk")
    for name, cause in {"missing.mrb": "does not exist", "junk.mrb": "not a scene"}.items():
        with pytest.raises(CAMOverlayError, match=cause):
            core.loadScene(tmp_path / name)
    assert node.GetScene() is slicer.mrmlScene
