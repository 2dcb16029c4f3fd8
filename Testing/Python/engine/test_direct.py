"""What is in memory explained: any module with any chain, without a bundle."""

import copy

import nibabel
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import DenseNet, UNet
from monai.transforms import (
    Compose,
    EnsureChannelFirst,
    EnsureChannelFirstd,
    LoadImage,
    LoadImaged,
    NormalizeIntensity,
    NormalizeIntensityd,
    Orientation,
    Orientationd,
    Resize,
    Resized,
    Spacing,
)
from support import SLOW, request, snapshot

from CAMOverlayLib import explain
from CAMOverlayLib.contract.errors import BundleError, PreprocessingError, VolumeError

AFFINE = GEOMETRIES["oblique"]
SHAPE, VOXEL = (30, 28, 26), (19, 12, 13)

ARRAY_CHAIN = [
    EnsureChannelFirst(channel_dim="no_channel"),
    Orientation("RAS", labels=None),
    Spacing((2, 2, 2)),
    Resize((32, 32, 32)),
    NormalizeIntensity(),
]
DICT_CHAIN = [
    EnsureChannelFirstd("scan", channel_dim="no_channel"),
    Orientationd("scan", "RAS", labels=None),
    Resized("scan", (32, 32, 32)),
    NormalizeIntensityd("scan"),
]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return DenseNet(3, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2)).train()


@pytest.fixture
def image():
    noise = np.random.default_rng(0).normal(0, 5, SHAPE)
    # A ball alone looks the same however it is turned; with smaller ones beside it the alignment can be verified.
    others = [
        ((6, 22, 5), 4, 250),
        ((24, 5, 20), 3, 300),
        ((8, 6, 19), 3, 200),
        ((22, 22, 6), 4, 150),
        ((14, 20, 21), 3, 350),
    ]
    array = 100 + noise + 400 * blob(SHAPE, AFFINE, AFFINE[:3] @ [*VOXEL, 1], 6)
    for place, size, height in others:
        array = array + height * blob(SHAPE, AFFINE, AFFINE[:3] @ [*place, 1], size)
    array = array.astype(np.int16)
    return nibabel.Nifti1Image(array, AFFINE)


@pytest.mark.parametrize(
    "chain",
    [
        SLOW(Compose(ARRAY_CHAIN)),
        Compose([LoadImage(image_only=True), *ARRAY_CHAIN]),
        Compose(ARRAY_CHAIN, lazy=True),
        ARRAY_CHAIN,
        SLOW(Compose(DICT_CHAIN)),
        Compose([LoadImaged("scan", image_only=True), *DICT_CHAIN]),
    ],
    ids=["array", "array that loads", "lazy", "a list", "dictionary", "dictionary that loads"],
)
@pytest.mark.some(3)
def test_any_chain_on_any_kind_of_volume(network, image, tmp_path, chain):
    before = snapshot(network)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    maps = []
    for volume in (image, tmp_path / "scan.nii.gz", str(tmp_path / "scan.nii.gz"), (np.asarray(image.dataobj), AFFINE)):
        found = explain(model=network, preprocessing=chain, volume=volume, target=1, checks="none")
        assert found.heatmap.shape == SHAPE and found.result.placement.verdict == "verified"
        np.testing.assert_allclose(found.heatmap.affine, AFFINE)
        maps.append(found.heatmap.get_fdata())
    assert maps[0].std() > 0
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], atol=1e-5)
    after = snapshot(network)
    assert network.training and before[1] == after[1] and before[2] == after[2]
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])


def test_it_is_what_the_bundle_gives(network, image, make_bundle, export, tmp_path):
    from CAMOverlayLib.engine.pipeline import explain as explain_request

    chain = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32, 32]},
    ]
    folder = make_bundle(chain=chain)
    network.load_state_dict(torch.load(folder / "models/model.pt", weights_only=True))
    (tmp_path / "out").mkdir()
    result = explain_request(
        request((export(np.asarray(image.dataobj), AFFINE),), str(folder), str(tmp_path / "out"), trust=True)
    )
    names = ("healthy", "lesion", "artefact")
    direct = explain(
        network, Compose([EnsureChannelFirst(channel_dim="no_channel"), Resize((32, 32, 32))]), image, classes=names
    )
    np.testing.assert_allclose(direct.heatmap.get_fdata(), np.load(result.heatmap.path), atol=1e-5)
    assert direct.result.prediction == result.prediction and direct.result.target == result.target


def test_methods_layers_classes_and_windows(network, image):
    chain = Compose(ARRAY_CHAIN)
    one = explain(network, chain, image, target="b", classes=("a", "b", "c"), method="layercam", layer="features.conv0")
    assert one.result.target.name == "b" and one.result.layer == "features.conv0" and one.result.method == "LayerCAM"
    segmenter = UNet(3, 1, 2, channels=(4, 8), strides=(2,))
    windows = explain(segmenter, chain, image, inferer=SlidingWindowInferer((16, 16, 16), overlap=0.25), target=1)
    assert "windows of 16 × 16 × 16" in windows.result.applied and windows.heatmap.get_fdata().std() > 0


def test_several_volumes_are_channels_and_are_resampled_to_the_first(image):
    """A channel on another grid lands where it is: the network looks at the second one only."""
    network = torch.nn.Sequential(
        torch.nn.Conv3d(2, 1, 4, 4), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool3d(1), torch.nn.Flatten()
    )
    with torch.no_grad():
        network[0].weight.copy_(torch.stack([torch.zeros(4, 4, 4), torch.ones(4, 4, 4) / 64])[None])
        network[0].bias.zero_()
    other_affine = GEOMETRIES["LPS"].copy()
    other_affine[:3, 3] += AFFINE[:3] @ [*(np.array(SHAPE) / 2), 1] - other_affine[:3] @ [20, 20, 20, 1]
    centre = AFFINE[:3] @ [8, 20, 17, 1]
    other = nibabel.Nifti1Image((600 * blob((40, 40, 40), other_affine, centre, 5)).astype(np.int16), other_affine)
    chain = Compose([EnsureChannelFirst(channel_dim=0), Resize((32, 32, 32))])
    found = explain(network, chain, [image, other], regression=True)
    assert np.linalg.norm(np.array(found.result.peak_ras) - centre) <= np.linalg.norm(found.result.activation_spacing)
    assert any("was resampled to the grid of" in w for w in found.result.warnings)


def test_wrong_input_is_answered_in_a_sentence(network, image):
    chain = Compose(ARRAY_CHAIN)
    with pytest.raises(VolumeError, match="'absent.nii' cannot be read"):
        explain(network, chain, "absent.nii")
    with pytest.raises(VolumeError, match="A dict is not a volume"):
        explain(network, chain, {})
    with pytest.raises(PreprocessingError, match="is a int, not a chain"):
        explain(network, 3, image)
    with pytest.raises(BundleError, match="UNet failed on an input of shape.*Resized, DivisiblePadd"):
        explain(
            UNet(3, 1, 2, channels=(4, 8, 8), strides=(2, 2)),
            Compose([EnsureChannelFirst(channel_dim="no_channel"), Resize((30, 30, 30))]),
            image,
        )


def test_on_another_device_a_copy_runs(network, image):
    kept = copy.deepcopy(network.state_dict())
    found = explain(network, Compose(ARRAY_CHAIN), image, device="cpu")
    assert found.result.device == "cpu" and all(torch.equal(kept[k], v) for k, v in network.state_dict().items())
