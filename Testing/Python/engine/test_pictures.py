"""2-D networks: volumes cut into pictures and stacked again, single slices, colour."""

import json

import nibabel
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from hypothesis import given, settings
from hypothesis import strategies as st
from support import examples, request

from CAMOverlayLib.contract.errors import PlacementError, VolumeError
from CAMOverlayLib.contract.field_of_view import Region
from CAMOverlayLib.contract.target import TargetSpec, VolumeFile
from CAMOverlayLib.engine.cache import Cache
from CAMOverlayLib.engine.geometry.slice_stack import ORIENTATIONS, cut
from CAMOverlayLib.engine.geometry.volume import Volume
from CAMOverlayLib.engine.pipeline import explain

CHAIN = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32]},
    {"_target_": "NormalizeIntensityd", "keys": "image"},
]
# Class 'bright' is the largest value of the image pooled 4×4.
BRIGHT = "$torch.nn.Sequential(torch.nn.Conv2d(%d, 2, 4, 4), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool2d(1), torch.nn.Flatten())"  # noqa: E501


@pytest.fixture
def picture_bundle(make_bundle):
    def make(channels=1, chain=CHAIN, **options):
        classes = ("dark", "bright")
        folder = make_bundle(
            network=BRIGHT % channels, chain=chain, classes=classes, channels=channels, weights=None, **options
        )
        kernel = torch.stack([-torch.ones(channels, 4, 4), torch.ones(channels, 4, 4)]) / 16
        torch.save({"0.weight": kernel, "0.bias": torch.zeros(2)}, folder / "models" / "model.pt")
        return folder

    return make


def ask(file, bundle, tmp_path, **options):
    (tmp_path / "out").mkdir(exist_ok=True)
    result = explain(request((file,), str(bundle), str(tmp_path / "out"), trust=True, **options))
    return result, np.load(result.heatmap.path)


@settings(max_examples=examples(60))
@given(
    affine=st.sampled_from(list(GEOMETRIES.values())),
    shape=st.tuples(*[st.integers(2, 7)] * 3),
    orientation=st.sampled_from(list(ORIENTATIONS)),
)
def test_every_picture_lies_where_its_voxels_are(affine, shape, orientation):
    array = np.arange(np.prod(shape)).reshape(shape)
    stack = cut(Volume(array, affine, "v"), orientation)
    for k in (0, len(stack) - 1):
        picture = stack.picture(k)
        for index in ((0, 0), (picture.shape[0] - 1, picture.shape[1] - 1)):
            ras = picture.affine @ [*index, 0, 1]
            voxel = np.rint(np.linalg.inv(affine) @ ras)[:3].astype(int)
            assert array[tuple(voxel)] == picture.array[(*index, 0)]
            assert round((stack.to_stack @ [*voxel, 1])[2]) == k
    out = np.zeros(shape, order="F")
    stack.view(out)[:] = stack.volume.array
    np.testing.assert_array_equal(out, array)
    # To the right in an axial or coronal picture is the patient's left, down is the back or the feet.
    right, down = (stack.volume.affine[:3, a] / np.linalg.norm(stack.volume.affine[:3, a]) for a in (0, 1))
    expected = {
        "axial": ((-1, 0, 0), (0, -1, 0)),
        "coronal": ((-1, 0, 0), (0, 0, -1)),
        "sagittal": ((0, -1, 0), (0, 0, -1)),
    }
    assert right @ expected[orientation][0] > 0.7 and down @ expected[orientation][1] > 0.7


@pytest.mark.parametrize(
    ("affine", "orientation"),
    [
        (GEOMETRIES["LPS"], None),
        *[pytest.param(GEOMETRIES["oblique"], one, marks=pytest.mark.slow) for one in ORIENTATIONS if one != "coronal"],
        (GEOMETRIES["oblique"], "coronal"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pictures_stack_to_a_heatmap_that_peaks_where_the_network_looked(
    picture_bundle, export, tmp_path, affine, orientation
):
    shape, voxel = (30, 26, 22), (19, 9, 14)
    centre = affine[:3] @ [*voxel, 1]
    array = (200 + np.random.default_rng(0).normal(0, 3, shape) + 600 * blob(shape, affine, centre, 5)).astype(np.int16)
    # Without normalising: that is done picture by picture, and makes the faint rim of the spot as bright as its middle.
    bundle = picture_bundle(chain=CHAIN[:3])
    result, heat = ask(export(array, affine), bundle, tmp_path, slices=orientation, target="bright")
    assert heat.shape == shape and heat.max() > 0.5
    assert np.linalg.norm(np.array(result.peak_ras) - centre) <= np.linalg.norm(result.activation_spacing)
    assert f"{orientation or 'axial'} pictures" in result.applied and result.field_of_view.share == 1
    assert result.placement.verdict == "verified" and "pictures are verified" in result.placement.words, (
        result.placement.words
    )


def test_pictures_that_crop_tell_what_they_saw(picture_bundle, export, tmp_path):
    chain = [*CHAIN[:2], {"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": [16, 12]}, *CHAIN[2:]]
    affine = GEOMETRIES["LPS"]
    array = np.random.default_rng(0).integers(1, 300, (30, 26, 8)).astype(np.int16)
    result, heat = ask(export(array, affine), picture_bundle(chain=chain), tmp_path, target="bright")
    seen = Region.from_planes(array.shape, result.field_of_view.planes).mask()
    assert seen.mean() == pytest.approx(result.field_of_view.share) == 16 * 12 / (30 * 26)
    assert not heat[~seen].any() and (heat[seen] > 0).mean() > 0.5


@pytest.mark.parametrize("inverse", ["affine", "operations"])
def test_both_inverses_agree_on_pictures(picture_bundle, export, tmp_path, inverse):
    affine = GEOMETRIES["oblique"]
    array = (100 + 500 * blob((30, 26, 6), affine, affine[:3] @ [19, 9, 3, 1], 8)).astype(np.int16)
    result, _heat = ask(export(array, affine), picture_bundle(), tmp_path, inverse=inverse, verify=True, target=1)
    assert result.placement.inverse == inverse and result.placement.difference < 0.35
    assert result.placement.peak_distance <= np.linalg.norm(result.activation_spacing)


def test_a_picture_that_is_mirrored_in_secret_is_refused(picture_bundle, export, tmp_path):
    chain = [
        *CHAIN[:2],
        {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x.flip(1)", "track_meta": True},
        *CHAIN[2:],
    ]
    affine = GEOMETRIES["axis-aligned"]
    array = np.random.default_rng(0).normal(0, 2, (40, 36, 1)) + 500 * blob(
        (40, 36, 1), affine, affine[:3] @ [9, 8, 0, 1], 9
    )
    array += 300 * blob((40, 36, 1), affine, affine[:3] @ [28, 20, 0, 1], 6)
    with pytest.raises(PlacementError, match="mirrored the image"):
        ask(export(array.astype(np.int16), affine), picture_bundle(chain=chain), tmp_path)


@pytest.mark.parametrize("kind", ["colour", "grey", "grey 8 bit"])
def test_single_pictures(picture_bundle, tmp_path, kind):
    affine = np.diag([-0.3, -0.3, 1, 1])  # as a photograph without any geometry is loaded, but for its pixel size
    spot = blob((50, 40, 1), np.eye(4), np.array([33, 12, 0]), 4)
    array = (20 + 200 * spot).astype(np.int16 if kind == "grey" else np.uint8)
    chain = CHAIN
    if kind == "colour":
        array = np.stack([array, array // 2, array // 4], -1)
        chain = [CHAIN[0], {**CHAIN[1], "channel_dim": -1}, *CHAIN[2:]]
    path = tmp_path / "picture.npy"
    np.save(path, array)
    file = VolumeFile(str(path), tuple(map(tuple, affine.tolist())), "picture")
    result, heat = ask(file, picture_bundle(3 if kind == "colour" else 1, chain), tmp_path, target="bright")
    assert heat.shape == (50, 40, 1) and result.applied == "1 picture"
    assert abs(result.peak[0] - 33) <= 4 and abs(result.peak[1] - 12) <= 4
    assert result.activation_spacing[:2] == pytest.approx((0.3 * 50 / 8, 0.3 * 40 / 8))


def test_a_grey_volume_is_shown_to_a_colour_network_as_grey(picture_bundle, export, tmp_path):
    chain = [CHAIN[0], {**CHAIN[1], "channel_dim": -1}, *CHAIN[2:]]
    affine = GEOMETRIES["axis-aligned"]
    array = (20 + 200 * blob((24, 22, 5), affine, affine[:3] @ [15, 8, 2, 1], 6)).astype(np.uint8)
    _result, heat = ask(export(array, affine), picture_bundle(3, chain), tmp_path, target="bright")
    grey = picture_bundle(name="grey")
    _other, heat_of_grey = ask(export(array, affine), grey, tmp_path, target="bright")
    np.testing.assert_allclose(heat, heat_of_grey, atol=1e-4)


def test_a_chain_that_squeezes_its_own_slice(picture_bundle, export, tmp_path):
    chain = [
        *CHAIN[:2],
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, -1.0], "mode": "bilinear"},
        {"_target_": "SpatialPadd", "keys": "image", "spatial_size": [64, 64, 1]},
        CHAIN[3],
    ]
    affine = GEOMETRIES["LPS"]
    centre = affine[:3] @ [12, 15, 1, 1]
    array = (
        200 + np.random.default_rng(0).normal(0, 3, (30, 26, 3)) + 600 * blob((30, 26, 3), affine, centre, 5)
    ).astype(np.int16)
    result, _heat = ask(export(array, affine), picture_bundle(chain=chain), tmp_path, target="bright")
    assert np.linalg.norm(np.array(result.peak_ras) - centre) <= np.linalg.norm(result.activation_spacing)


def test_a_segmentation_network_on_pictures(make_bundle, export, tmp_path):
    """Only pictures with a part of the target are explained; a voxel is found in its own picture."""
    network = {
        "_target_": "UNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 2,
        "channels": [4, 8],
        "strides": [2],
    }
    folder = make_bundle(network=network, chain=CHAIN, classes=("background", "spot"))
    affine = GEOMETRIES["LPS"]
    array = np.random.default_rng(0).integers(0, 300, (30, 26, 6)).astype(np.int16)
    file = export(array, affine)
    result, heat = ask(file, folder, tmp_path, target=TargetSpec(output="spot", voxel=(10, 11, 4)))
    assert heat[..., 4].any() and not np.delete(heat, 4, axis=2).any()
    mask = np.zeros(array.shape, np.uint8)
    mask[5:20, 5:20, 2:4] = 1
    nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / "mask.nii.gz")
    result, heat = ask(file, folder, tmp_path, target=f"spot@mask={tmp_path / 'mask.nii.gz'}")
    assert {k for k in range(6) if heat[..., k].any()} == {2, 3} and "mask" in result.target.description
    result, heat = ask(file, folder, tmp_path)
    assert sum(result.prediction.voxels) == 32 * 32 * 6


def test_another_class_of_the_pictures_needs_no_chain(picture_bundle, export, tmp_path, monkeypatch):
    from CAMOverlayLib.engine.preprocessing import inputs as prepared

    chains, original = [], prepared.trace_preprocessing
    monkeypatch.setattr(prepared, "trace_preprocessing", lambda *a, **o: chains.append(1) or original(*a, **o))
    array = np.random.default_rng(0).integers(0, 300, (20, 20, 5)).astype(np.int16)
    file, bundle, cache = export(array, np.eye(4)), picture_bundle(), Cache()
    (tmp_path / "out").mkdir()
    for target in (0, 1):
        explain(request((file,), str(bundle), str(tmp_path / "out"), trust=True, target=target), cache=cache)
    assert len(chains) == 5
    explain(request((file,), str(bundle), str(tmp_path / "out"), trust=True, slices="sagittal"), cache=cache)
    assert len(chains) == 5 + 20


def test_wrong_wishes(picture_bundle, make_bundle, export, tmp_path):
    file = export(np.random.default_rng(0).integers(0, 300, (20, 20, 5)).astype(np.int16), np.eye(4))
    with pytest.raises(VolumeError, match="no 'diagonal' slices. Use axial, coronal, sagittal"):
        ask(file, picture_bundle(), tmp_path, slices="diagonal")
    with pytest.raises(VolumeError, match="takes volumes. Leave the slices out"):
        ask(file, make_bundle("solid"), tmp_path, slices="axial")


def test_the_trail_of_the_hottest_picture(picture_bundle, export, tmp_path):
    affine = GEOMETRIES["oblique"]
    array = (100 + 500 * blob((30, 26, 6), affine, affine[:3] @ [19, 9, 3, 1], 5)).astype(np.int16)
    (tmp_path / "trail").mkdir()
    result, _ = ask(
        export(array, affine), picture_bundle(), tmp_path, intermediates_folder=str(tmp_path / "trail"), target=1
    )
    files = sorted((tmp_path / "trail").iterdir())
    assert len(files) == 2 * len(CHAIN)
    for path in files:
        image = nibabel.load(path)
        assert image.shape[2] == 1
        # The picture with the peak, in the place where it was cut.
        k = np.rint(np.linalg.inv(affine) @ image.affine @ [0, 0, 0, 1])[2]
        assert k == result.peak[2]


def test_a_single_slice_across_another_axis_is_seen_from_there(picture_bundle, export, tmp_path):
    array = np.random.default_rng(0).integers(0, 300, (1, 24, 20)).astype(np.int16)
    result, heat = ask(export(array, np.eye(4)), picture_bundle(), tmp_path)
    assert result.applied == "1 sagittal picture" and heat.shape == (1, 24, 20)
    json.loads(result.to_json())
