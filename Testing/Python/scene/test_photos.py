"""PNG, JPEG and BMP files as volumes of one slice, upright and in the file's colours."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
import vtk
from scene.helpers import nodeIDs
from vtk.util import numpy_support

from CAMOverlayLib.contract.errors import VolumeError
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io import volumes

WRITERS = {".png": vtk.vtkPNGWriter, ".jpg": vtk.vtkJPEGWriter, ".bmp": vtk.vtkBMPWriter}


def write(path, pixels: np.ndarray):
    """A picture file of rows from the top × columns × components."""
    image = vtk.vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    rows = np.ascontiguousarray(pixels[::-1]).reshape(-1, pixels.shape[2])
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(rows, deep=True))
    writer = WRITERS[path.suffix]()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
    return path


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 255, (30, 50, 4)).astype(np.uint8)


@pytest.mark.parametrize(
    ("ending", "components", "kept"), [(".png", 1, 1), (".png", 2, 1), (".png", 3, 3), (".png", 4, 3), (".bmp", 3, 3)]
)
def test_every_pixel_is_where_it_was(tmp_path, pixels, ending, components, kept):
    node = core.loadVolume(write(tmp_path / f"photo{ending}", pixels[..., :components]))
    assert node.GetName() == "photo" and node.IsA("vtkMRMLVectorVolumeNode") == (kept > 1)
    voxels = volumes.voxelsOf(node)
    assert np.array_equal(voxels.reshape(50, 30, kept), pixels[..., :kept].transpose(1, 0, 2)), "column, row: I, J"
    # As Slicer puts it: an axial view has the patient's right at its left and anterior at the top.
    assert volumes.worldFromIJK(node, (49, 29, 0)) == pytest.approx([-49, -29, 0])
    assert node.GetDisplayNode().GetWindowLevelMax() == 255


def test_a_jpeg_and_sixteen_bits(tmp_path, pixels):
    smooth = np.linspace(0, 255, 30 * 50).reshape(30, 50, 1).astype(np.uint8).repeat(3, 2)
    voxels = volumes.voxelsOf(core.loadVolume(write(tmp_path / "photo.jpg", smooth)))
    assert np.abs(voxels[:, :, 0].astype(int) - smooth.transpose(1, 0, 2)).max() < 20
    deep = volumes.voxelsOf(core.loadVolume(write(tmp_path / "deep.png", pixels[..., :3].astype(np.uint16) * 257)))
    assert deep.dtype == np.uint16 and deep.max() > 60000


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp"])
@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"x" * 100, lambda data: b""])
def test_what_is_damaged_is_said_in_one_line(tmp_path, capfd, pixels, ending, damage):
    path = write(tmp_path / f"photo{ending}", pixels[..., :3])
    path.write_bytes(damage(path.read_bytes()))
    before = nodeIDs()
    with pytest.raises(VolumeError, match="is damaged or cut short") as error:
        core.loadVolume(path)
    assert str(path) in str(error.value) and nodeIDs() == before and capfd.readouterr().out == ""


def test_it_is_saved_with_the_scene(tmp_path, pixels):
    node = core.loadVolume(write(tmp_path / "photo.png", pixels[..., :3]))
    voxels = volumes.voxelsOf(node).copy()
    core.saveScene(tmp_path / "scene.mrb")
    core.loadScene(tmp_path / "scene.mrb")
    assert np.array_equal(volumes.voxelsOf(slicer.util.getNode("photo")), voxels)


def test_damaged_pictures_are_errors_and_never_crashes(tmp_path, pixels):
    """Bytes of the header and elsewhere changed: VTK's reader of BMP files took the process down with some of these."""
    random = np.random.default_rng(1)
    for ending in WRITERS:
        whole = bytearray(write(tmp_path / f"photo{ending}", pixels[..., :3]).read_bytes())
        for number in range(60):
            data = whole.copy()
            for place in random.integers(0, 60 if number % 2 else len(data), 4):
                data[place] = random.integers(256)
            path = tmp_path / f"spoilt{ending}"
            path.write_bytes(data)
            try:
                node = core.loadVolume(path)
            except VolumeError as error:
                assert len(str(error).splitlines()) == 1
            else:
                slicer.mrmlScene.RemoveNode(node)


def test_a_deep_picture_that_lacks_its_last_bytes_is_damaged(tmp_path, pixels):
    """VTK's reader, which such a picture needs, ends the process there; Pillow sees nothing missing."""
    path = write(tmp_path / "deep.png", pixels[..., :3].astype(np.uint16) * 257)
    whole = path.read_bytes()
    for missing in range(1, 13):
        path.write_bytes(whole[:-missing])
        with pytest.raises(VolumeError, match="damaged or cut short"):
            core.loadVolume(path)


def test_other_kinds_of_pixels(tmp_path, pixels):
    from PIL import Image

    colours = Image.fromarray(pixels[..., :3])
    colours.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    assert volumes.voxelsOf(core.loadVolume(tmp_path / "palette.png")).shape[-1] == 3
    Image.fromarray(pixels[..., 0] > 100).save(tmp_path / "bits.png")
    bits = volumes.voxelsOf(core.loadVolume(tmp_path / "bits.png"))
    assert np.array_equal(np.unique(bits), [0, 255])
    grey = pixels[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "deep.png")
    assert np.array_equal(volumes.voxelsOf(core.loadVolume(tmp_path / "deep.png")).reshape(50, 30), grey.T)
    colours.convert("CMYK").save(tmp_path / "print.jpg")
    with pytest.raises(VolumeError, match="CMYK"):
        core.loadVolume(tmp_path / "print.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90°
    colours.save(tmp_path / "turned.jpg", exif=turned)
    assert core.loadVolume(tmp_path / "turned.jpg").GetImageData().GetDimensions() == (50, 30, 1)
