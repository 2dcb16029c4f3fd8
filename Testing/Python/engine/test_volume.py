import nibabel
import numpy as np
import pytest
from geometries import GEOMETRIES, affines, geometry
from hypothesis import HealthCheck, example, given, settings
from support import examples

from CAMOverlayLib.contract.errors import OutputError, VolumeError
from CAMOverlayLib.engine.geometry.volume import Volume, read_volume, write_nifti

TYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


@pytest.mark.parametrize("dtype", TYPES)
def test_voxels_and_type_survive_the_nifti_that_the_bundle_loads(tmp_path, dtype):
    rng = np.random.default_rng(1)
    array = rng.integers(0, 100, (5, 6, 7)).astype(dtype)
    path = write_nifti(Volume(array, np.eye(4), "v"), tmp_path / "v.nii")
    loaded = np.asarray(nibabel.load(path).dataobj)
    assert loaded.dtype == (np.uint8 if dtype == "bool" else np.dtype(dtype))
    np.testing.assert_array_equal(loaded, array.astype(loaded.dtype))


@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines)
@example(affine=geometry((3, 3, 3), (0, 0, 0), (1e-3, 2e-3, 0), flips=(-1, -1, 1)))  # near half a turn
def test_any_geometry_survives_as_well_as_the_file_format_can_say_it(tmp_path, affine):
    path = write_nifti(Volume(np.zeros((3, 4, 5), np.int16), affine, "v"), tmp_path / "v.nii")
    image = nibabel.load(path)
    corners = np.array([[i, j, k, 1] for i in (0, 2) for j in (0, 3) for k in (0, 4)]).T
    np.testing.assert_allclose(image.affine @ corners, affine @ corners, atol=1e-4)  # NIfTI keeps float32
    assert image.header["qform_code"] == 1
    # The qform keeps three float32 numbers of a unit quaternion. The fourth follows from them, and where it is near 0,
    # as in half a turn, their rounding of 6e-8 each becomes up to √(2·√3·6e-8) = 5e-4 in it: 1e-3 rad of the rotation.
    reach = np.abs(affine[:3, :3]) @ [2, 3, 4]
    np.testing.assert_allclose(image.get_qform() @ corners, affine @ corners, atol=1e-4 + 1e-3 * np.linalg.norm(reach))


def test_a_sheared_geometry_is_only_in_the_sform(tmp_path):
    affine = geometry((1, 1, 2), angles=(10, 0, 0))
    affine[:3, 1] += 0.3 * affine[:3, 0]
    image = nibabel.load(write_nifti(Volume(np.zeros((3, 4, 5), np.uint8), affine, "v"), tmp_path / "v.nii"))
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert image.header["qform_code"] == 0


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OutputError, match="no-such-folder.*Choose another folder"):
        write_nifti(Volume(np.zeros((3, 3, 3)), np.eye(4), "v"), tmp_path / "no-such-folder" / "v.nii")


@pytest.mark.parametrize("affine", GEOMETRIES.values(), ids=GEOMETRIES)
def test_a_good_volume_is_read_as_exported(export, affine):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    volume = read_volume(export(array, affine))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(volume.affine, affine)
    assert volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.grid.to_ras((1, 2, 3)), (affine @ [1, 2, 3, 1])[:3])


def test_each_unusable_volume_says_what_is_wrong_and_what_to_do(export):
    good = np.ones((4, 4, 4), np.float32)
    holes = good.copy()
    holes[1, 2, 3] = np.nan
    holes[3, 2, 3] = np.inf
    is_2d = np.diag([1.0, 0.0, 1.0, 1.0])
    same = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    cases = [
        (np.ones((4, 4, 4, 2)), np.eye(4), r"4-D with shape \(4, 4, 4, 2\).*single frame"),
        (np.ones((4, 0, 4)), np.eye(4), r"no voxels \(shape \(4, 0, 4\)\)"),
        (holes, np.eye(4), r"2 voxels that are NaN or infinite, the first at \(1, 2, 3\).*Replace"),
        (good, is_2d, "singular geometry.*header"),
        (good, same, "singular geometry"),
        (good, np.full((4, 4), np.nan), "not a finite 4×4 matrix"),
        (np.ones((4, 4, 4), complex), np.eye(4), "complex128"),
    ]
    for number, (array, affine, message) in enumerate(cases):
        with pytest.raises(VolumeError, match=message):
            read_volume(export(array, affine, f"case{number}"))


def test_a_file_that_is_no_array_is_named(tmp_path, export):
    file = export(np.ones((2, 2, 2)), np.eye(4))
    (tmp_path / "volume.npy").write_bytes(b"not numpy")
    with pytest.raises(VolumeError, match="volume.npy.*cannot be read"):
        read_volume(file)


def test_a_header_that_promises_more_than_its_file_holds_is_called_so_at_both_doors(tmp_path):
    """Nothing is allocated for it, and volume and mask are refused in the same words."""
    from CAMOverlayLib.contract.errors import TargetError
    from CAMOverlayLib.engine.api import read_source
    from CAMOverlayLib.engine.target.regions import read_mask

    path = tmp_path / "huge.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([30000] * 3, "<i2").tobytes()
    path.write_bytes(content)
    words = f"'{path}' is damaged: its header promises 108000.0 GB, which its file cannot hold. Export it again."
    with pytest.raises(VolumeError) as volume:
        read_source(str(path), 0)
    with pytest.raises(TargetError) as mask:
        read_mask(str(path))
    assert str(volume.value) == words and str(mask.value) == f"Mask {words}"


@pytest.mark.parametrize("library", ["zlib", "isal.isal_zlib"])
@pytest.mark.parametrize("kind", ["bool", "int16", "float16", "float32", "int64"])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 4), (7, 5, 4, 3), (60, 50, 40)])
def test_a_packed_file_holds_what_nibabel_would_write(library, kind, shape, tmp_path, monkeypatch):
    import gzip
    import zlib

    from CAMOverlayLib.contract import packed
    from CAMOverlayLib.engine.geometry.volume import as_nifti

    monkeypatch.setattr(packed, "packing", pytest.importorskip(library))
    monkeypatch.setattr(packed, "PART", 1000)  # so that there are several, the last of another size
    voxels = np.asfortranarray((np.random.default_rng(0).random(shape) * 9).astype(kind))
    volume = Volume(voxels, GEOMETRIES["oblique LPS"], "v")
    file = write_nifti(volume, tmp_path / "v.nii.gz")
    nibabel.save(as_nifti(volume), tmp_path / "nibabel.nii.gz")
    assert gzip.decompress(file.read_bytes()) == gzip.decompress((tmp_path / "nibabel.nii.gz").read_bytes())
    one = zlib.decompressobj(31)  # a reader that knows one member alone, as browsers do
    one.decompress(file.read_bytes())
    assert one.eof and not one.unused_data
    np.testing.assert_array_equal(np.asarray(nibabel.load(file).dataobj), as_nifti(volume).dataobj)
