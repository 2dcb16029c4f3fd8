"""Bundles as they are in the Model Zoo: several files, macros, other keys, code of their own; and three real ones."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import torch
import yaml
from geometries import GEOMETRIES, blob
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from support import SHARED, SLOW, SMALL_NETWORK, USUAL_CHAIN, read_bundle, request

from CAMOverlayLib.contract.errors import BundleError
from CAMOverlayLib.contract.target import VolumeFile
from CAMOverlayLib.engine.pipeline import explain

AFFINE = GEOMETRIES["oblique"]
CPU = torch.device("cpu")


@pytest.fixture
def ask(export, tmp_path):
    shape = (30, 28, 26)
    array = 100 + 400 * blob(shape, AFFINE, AFFINE[:3] @ [19, 12, 13, 1], 6)
    # A ball alone looks the same however it is turned; with smaller ones beside it the alignment can be verified.
    for place, size, height in (
        ((6, 22, 5), 4, 250),
        ((24, 5, 20), 3, 300),
        ((8, 6, 19), 3, 200),
        ((22, 22, 6), 4, 150),
        ((14, 20, 21), 3, 350),
    ):
        array = array + height * blob(shape, AFFINE, AFFINE[:3] @ [*place, 1], size)
    array = array.astype(np.int16)
    (tmp_path / "out").mkdir()
    file = export(array, AFFINE)

    def run(folder, count=1, **options):
        result = explain(request((file,) * count, str(folder), str(tmp_path / "out"), trust=True, **options))
        return result, np.load(result.heatmap.path)

    return run


def split(folder, files):
    """Write a bundle's configuration anew, as these files."""
    (folder / "configs/inference.json").unlink()
    for name, content in files.items():
        text = json.dumps(content) if name.endswith("json") else yaml.safe_dump(content)
        (folder / "configs" / name).write_text(text)


def test_several_files_macros_and_references(make_bundle, ask):
    folder, plain = make_bundle("split"), make_bundle("plain")
    split(
        folder,
        {
            "common.yaml": {
                "key": "image",
                "size": [48, 48, 48],
                "network": dict(SMALL_NETWORK),
                "network_def": "%network",
            },
            "chains.json": {"head": [{**t, "keys": "@key"} for t in USUAL_CHAIN[:2]]},
            "inference.yaml": {
                "tail": [
                    {**t, "keys": "@key"} if "source_key" not in t else {**t, "keys": "@key", "source_key": "@key"}
                    for t in USUAL_CHAIN[2:]
                ],
                "transforms": "$@first + @tail",
                "first": "%configs/chains.json#head",
                "preprocessing": {"_target_": "Compose", "transforms": "@transforms"},
            },
            "train.json": {"network_def": {"_target_": "NoSuchNetwork"}},
        },
    )
    bundle = read_bundle(folder, trust=True)
    assert [f.name for f in bundle.config_files] == ["common.yaml", "inference.yaml"]  # the chain by its macro
    assert "LoadImaged" in bundle.code.targets and "NoSuchNetwork" not in bundle.code.targets
    result, heat = ask(folder)
    expected, map_expected = ask(plain)
    np.testing.assert_allclose(heat, map_expected, atol=1e-6)
    assert result.prediction == expected.prediction


def test_files_that_define_nothing_needed_are_not_read(make_bundle):
    folder = make_bundle(config={"size": "@matrix_product", "product": "$@size @ @size"})
    (folder / "configs/TS_test.json").write_text(json.dumps({"testing": [{"image": "a.nii"}]}))
    (folder / "configs/numbers.json").write_text(json.dumps({"matrix_product": "@start"}))
    (folder / "configs/more.json").write_text(json.dumps({"start": 1}))
    assert [f.name for f in read_bundle(folder).config_files] == ["more.json", "numbers.json", "inference.json"]


def test_what_monai_has_changed_since(make_bundle):
    """An argument that SwinUNETR lost, one that ViT renamed, and a reader that needs a package that is not there."""
    from CAMOverlayLib.engine.bundle.compat import bring_up_to_date

    chain = [{"_target_": "LoadImaged", "keys": "image", "reader": "ITKReader"}, *USUAL_CHAIN[1:]]
    network = {"_target_": "SwinUNETR", "in_channels": 1, "out_channels": 2, "feature_size": 12}
    folder = make_bundle(chain=chain, network=network)
    config = json.loads((folder / "configs/inference.json").read_text())
    config["network_def"]["img_size"] = 96
    (folder / "configs/inference.json").write_text(json.dumps(config))
    bundle = read_bundle(folder, trust=True)
    assert type(bundle.network(CPU)).__name__ == "SwinUNETR"
    assert len(bundle.preprocessing().transforms) == len(chain)
    assert json.loads((folder / "configs/inference.json").read_text()) == config
    vit = {
        "_target_": "monai.networks.nets.ViT",
        "in_channels": 1,
        "img_size": [32, 32, 32],
        "patch_size": [16, 16, 16],
        "pos_embed": "perceptron",
    }
    bring_up_to_date(vit)
    assert vit["proj_type"] == "perceptron" and "pos_embed" not in vit and "img_size" in vit
    own = {"_target_": "scripts.nets.SwinUNETR", "img_size": 96}
    bring_up_to_date(own)
    assert own["img_size"] == 96


def test_an_inferer_that_wants_more_than_an_image_says_so(make_bundle, ask):
    folder = make_bundle(config={"inferer": {"_target_": "scripts.inferer.Prompted"}})
    (folder / "scripts").mkdir()
    (folder / "scripts/__init__.py").touch()
    (folder / "scripts/inferer.py").write_text(
        "from monai.inferers import Inferer\n\n\nclass Prompted(Inferer):\n"
        "    def __call__(self, inputs, network, points):\n        return network(inputs)\n"
    )
    with pytest.raises(BundleError, match="inferer Prompted asks for more than an image and a network"):
        ask(folder)


def test_files_of_other_names_are_chosen_by_the_user(make_bundle, ask):
    folder = make_bundle()
    (folder / "configs/inference.json").rename(folder / "configs/deploy.json")
    with pytest.raises(BundleError, match=r"found: deploy.json, metadata.json.*such as configs/NAME.json"):
        read_bundle(folder)
    with pytest.raises(BundleError, match="absent.json' does not exist"):
        read_bundle(folder, configs=("configs/absent.json",))
    assert ask(folder, configs=("configs/deploy.json",))[1].std() > 0


def test_a_numbered_inference_config_is_found(make_bundle):
    folder = make_bundle()
    (folder / "configs/inference.json").rename(folder / "configs/inference_autoseg.json")
    assert read_bundle(folder, trust=True).network(CPU) is not None


@pytest.mark.parametrize(
    "kind",
    ["array", SLOW("another key"), "image and label", SLOW("two keys joined"), "two keys and a label joined", "hybrid"],
)
@pytest.mark.some(3)
def test_chains_of_every_form(make_bundle, ask, kind):
    network, count, channels = SMALL_NETWORK, 1, 1
    if kind == "array":
        chain = [
            {"_target_": "LoadImage", "image_only": True},
            {"_target_": "EnsureChannelFirst"},
            {"_target_": "Orientation", "axcodes": "RAS"},
            {"_target_": "Resize", "spatial_size": [32, 32, 32]},
        ]
    elif kind.startswith("two keys"):
        label = ["label"] if "label" in kind else []
        network, count, channels = {**SMALL_NETWORK, "in_channels": 2}, 2, 2
        chain = [
            {"_target_": "LoadImaged", "keys": ["t1", "t2", *label]},
            {"_target_": "EnsureChannelFirstd", "keys": ["t1", "t2"]},
            {"_target_": "Resized", "keys": ["t1", "t2"], "spatial_size": [32, 32, 32]},
            {"_target_": "ConcatItemsd", "keys": ["t1", "t2"], "name": "image" if label else "both"},
            {"_target_": "Flipd", "keys": "image" if label else "both", "spatial_axis": 0},
        ]
    else:
        keys = {"another key": "scan", "image and label": ["image", "label"], "hybrid": ["img"]}[kind]
        chain = [
            {"_target_": "LoadImaged", "keys": keys},
            {"_target_": "EnsureChannelFirstd", "keys": keys},
            {"_target_": "Orientationd", "keys": keys, "axcodes": "RAS"},
            {"_target_": "Resized", "keys": keys, "spatial_size": [32, 32, 32]},
        ]
    result, heat = ask(make_bundle(network=network, chain=chain, channels=channels), count)
    assert heat.std() > 0 and result.placement.verdict == "verified"


def test_weights_where_a_handler_loads_them_from(make_bundle):
    folder = make_bundle(
        config={
            "ckpt": "$@bundle_root + '/models/best_metric.pt'",
            "handlers": [
                {"_target_": "CheckpointLoader", "load_path": "@ckpt", "load_dict": {"model": "@network_def"}}
            ],
        }
    )
    right = torch.load(folder / "models/model.pt", weights_only=True)
    torch.save({"model": {f"module.{k}": v + 1 for k, v in right.items()}}, folder / "models/best_metric.pt")
    network = read_bundle(folder, trust=True).network(CPU)
    key = next(iter(right))
    assert torch.equal(network.state_dict()[key], right[key] + 1)
    (folder / "models/best_metric.pt").unlink()
    assert torch.equal(read_bundle(folder, trust=True).network(CPU).state_dict()[key], right[key])


def test_a_definition_that_loads_its_own_weights(make_bundle, tmp_path):
    folder = make_bundle("source")
    path = folder / "models/model.pt"
    path.rename(folder / "elsewhere.pt")
    code = (
        "import torch\nfrom monai.networks.nets import DenseNet\n\n"
        "def ready():\n    net = DenseNet(3, 1, 3, init_features=8, growth_rate=4, block_config=(2, 2))\n"
        "    net.load_state_dict(torch.load('elsewhere.pt', weights_only=True))\n    return net\n"
    )
    (folder / "scripts").mkdir()
    (folder / "scripts/__init__.py").touch()
    (folder / "scripts/nets.py").write_text(code)
    config = json.loads((folder / "configs/inference.json").read_text())
    config["imports"] = ["$from scripts.nets import ready"]
    config["network_def"] = "$ready()"
    (folder / "configs/inference.json").write_text(json.dumps(config))
    # Says nothing of loading, so that random weights would go unnoticed: the weights file is asked for.
    with pytest.raises(BundleError, match="weights '.*model.pt' do not exist"):
        read_bundle(folder, trust=True).network(CPU)
    config["imports"], config["network_def"] = ["$from scripts.nets import load_ready"], "$load_ready()"
    (folder / "scripts/nets.py").write_text(code.replace("def ready", "def load_ready"))
    (folder / "configs/inference.json").write_text(json.dumps(config))
    network = read_bundle(folder, trust=True).network(CPU)
    weights = torch.load(folder / "elsewhere.pt", weights_only=True)
    assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())


NETWORK_CODE = """
import torch
from .parts import block

class OwnNet(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.stage1, self.stage2 = block(1, channels), block(channels, 2 * channels)
        self.head = torch.nn.Linear(2 * channels, 2)

    def forward(self, x):
        return self.head(self.stage2(self.stage1(x)).amax((2, 3, 4)))
"""
PARTS_CODE = """
import torch

def block(inside, outside):
    return torch.nn.Sequential(torch.nn.Conv3d(inside, outside, 4, 2, 1), torch.nn.ReLU(inplace=True))
"""
TRANSFORM_CODE = '''
from monai.transforms import Flip, InvertibleTransform, MapTransform

class OwnFlipd(MapTransform, InvertibleTransform):
    """Its author records it, as one should."""

    def __init__(self, keys):
        super().__init__(keys)
        self.flip = Flip(spatial_axis=1)

    def __call__(self, data):
        return dict(data) | {k: self.flip(data[k]) for k in self.keys}

    def inverse(self, data):
        return dict(data) | {k: self.flip.inverse(data[k]) for k in self.keys}
'''


@pytest.mark.parametrize("inverse", ["affine", "operations"])
def test_a_bundle_with_its_own_network_and_its_own_transform(make_bundle, ask, tmp_path, inverse):
    folder = make_bundle(
        "own", chain=[*USUAL_CHAIN, {"_target_": "scripts.transforms.OwnFlipd", "keys": "image"}], weights=None
    )
    (folder / "scripts/networks").mkdir(parents=True)
    for name, text in {
        "__init__": "",
        "networks/__init__": "",
        "networks/own": NETWORK_CODE,
        "networks/parts": PARTS_CODE,
        "transforms": TRANSFORM_CODE,
    }.items():
        (folder / f"scripts/{name}.py").write_text(text)
    config = json.loads((folder / "configs/inference.json").read_text())
    config["network_def"] = {"_target_": "scripts.networks.own.OwnNet", "channels": 4}
    (folder / "configs/inference.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    network = read_bundle(folder, trust=True).bare_network()
    torch.save(network.state_dict(), folder / "models/model.pt")
    result, heat = ask(folder, inverse=inverse, verify=True)
    assert heat.std() > 0 and result.placement.verdict == "verified" and result.layer == "stage2"
    assert result.steps[-1].name == "OwnFlipd" and result.steps[-1].recorded
    assert result.placement.peak_distance <= np.linalg.norm(result.activation_spacing)


# Three real ones ------------------------------------------------------------------------------------------------------


def real(name, tmp_path):
    """A copy of a shared bundle with random weights; its configuration is as it is."""
    if not (SHARED / "bundles" / name).is_dir() or not (SHARED / "data").is_dir():
        pytest.skip("no ../shared here")
    folder = tmp_path / name
    shutil.copytree(SHARED / "bundles" / name, folder)
    (folder / "models").mkdir()
    parser = ConfigParser()
    parser.read_config(str(folder / "configs/inference.json"))
    torch.manual_seed(0)
    torch.save(parser.get_parsed_content("network_def").state_dict(), folder / "models/model.pt")
    return folder


def volume_file(name, tmp_path, block=(slice(None),) * 3):
    """A shared volume, or a block of it, as Slicer's side exports it."""
    image = nibabel.load(SHARED / "data" / f"{name}.nii.gz").slicer[block]
    path = tmp_path / f"{name}.npy"
    np.save(path, np.asfortranarray(np.asarray(image.dataobj)))
    return VolumeFile(str(path), tuple(map(tuple, image.affine.tolist())), name)


def explained(folder, files, tmp_path, **options):
    (tmp_path / "out").mkdir(exist_ok=True)
    result = explain(request(tuple(files), str(folder), str(tmp_path / "out"), trust=True, **options))
    heat = np.load(result.heatmap.path)
    assert heat.std() > 0 and np.isfinite(heat).all() and result.placement.verdict == "verified"
    return result, heat


def test_spleen_ct_segmentation(tmp_path):
    folder = real("spleen_ct_segmentation", tmp_path)
    block = (slice(60, 200), slice(60, 200), slice(0, 140))
    result, _ = explained(folder, [volume_file("CT_AVM", tmp_path, block)], tmp_path, target="spleen@voxel=70,70,70")
    assert "of 96 × 96 × 96 voxels" in result.applied and result.target.name == "spleen"


def test_endoscopic_inbody_classification(tmp_path):
    folder = real("endoscopic_inbody_classification", tmp_path)
    block = (slice(None), slice(None), slice(60, 62))
    result, heat = explained(folder, [volume_file("MR_Gd", tmp_path, block)], tmp_path)
    assert all(heat[..., k].any() for k in range(2)) and result.applied == "2 axial pictures"
    assert result.prediction.classes == ("in body", "out body")


@pytest.mark.slow
def test_brats_mri_segmentation(tmp_path):
    """Four channels. Its window of 240×240×160 is more than a test may take; the slow test below leaves it as it is."""
    folder = real("brats_mri_segmentation", tmp_path)
    small = json.loads((folder / "configs/inference.json").read_text())
    small["inferer"]["roi_size"] = [32, 32, 32]
    (folder / "configs/inference.json").write_text(json.dumps(small))
    block = (slice(60, 108), slice(60, 92), slice(50, 82))
    files = [volume_file("MR_Gd", tmp_path, block) for _ in range(4)]
    result, heat = explained(folder, files, tmp_path, target="Tumor core")
    assert result.prediction.activation == "sigmoid" and len(result.inputs) == 4 and "2 windows" in result.applied
    _, other = explained(folder, files, tmp_path, target="Whole tumor")
    assert not np.allclose(heat, other)


@pytest.mark.slow
@pytest.mark.parametrize("volume", ["CT_AVM", "MR_Gd", "spm152"])
@pytest.mark.parametrize(
    "name", ["spleen_ct_segmentation", "endoscopic_inbody_classification", "brats_mri_segmentation"]
)
def test_the_shared_bundles_as_they_are_on_the_shared_volumes(tmp_path, name, volume):
    folder = real(name, tmp_path)
    count = 4 if name.startswith("brats") else 1
    result, _ = explained(folder, [volume_file(volume, tmp_path)] * count, tmp_path)
    print(f"{name} on {volume}: {result.applied or 'whole'}, {sum(result.timings.values()):.0f} s")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spleen_ct_segmentation", "brats_mri_segmentation"])
def test_prediction_and_probability_are_those_of_the_bundles_own_postprocessing(tmp_path, name):
    """The bundle as it is, but for its weights and the size of its window: its own preprocessing, inferer and
    postprocessing (Activationsd, linear Invertd, AsDiscreted) against what is explained beside the heatmap."""
    folder, spleen = real(name, tmp_path), name.startswith("spleen")
    config = json.loads((folder / "configs/inference.json").read_text())
    config["inferer"]["roi_size"] = [64, 64, 64] if spleen else [32, 32, 32]
    config["output_dir"] = str(tmp_path)
    (folder / "configs/inference.json").write_text(json.dumps(config))
    block = (
        (slice(60, 188), slice(60, 188), slice(0, 120)) if spleen else (slice(60, 124), slice(60, 124), slice(50, 98))
    )
    volume, count = "CT_AVM" if spleen else "MR_Gd", 1 if spleen else 4
    image = nibabel.load(SHARED / "data" / f"{volume}.nii.gz").slicer[block]
    nibabel.save(image, tmp_path / "image.nii")
    parser = ConfigParser()
    parser.read_config(str(folder / "configs/inference.json"))
    parser["bundle_root"] = str(folder)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(folder / "models/model.pt"))
    preprocessing, inferer = parser.get_parsed_content("preprocessing"), parser.get_parsed_content("inferer")
    data = preprocessing({"image": str(tmp_path / "image.nii") if spleen else [str(tmp_path / "image.nii")] * 4})
    with torch.no_grad():
        data["pred"] = MetaTensor(inferer(data["image"].as_tensor()[None].float(), network)[0])
    activate, invert, decide = parser.get_parsed_content("postprocessing").transforms[:3]
    probabilities = invert(activate(data))["pred"].numpy()
    labels = decide({"pred": MetaTensor(probabilities)})["pred"].numpy()
    target = 1
    result, _ = explained(
        folder,
        [volume_file(volume, tmp_path, block)] * count,
        tmp_path,
        target=target,
        also="prediction,probability",
        checks="none",
    )
    maps = {one.name: np.load(one.file.path) for one in result.further}
    apart = np.abs(maps["probability"] - probabilities[target])
    mine = maps["prediction"] if spleen else np.stack([maps["prediction"] >> n & 1 for n in range(3)])
    same = (mine == (labels[0] if spleen else labels)).mean()
    print(
        f"{name}: probability {apart.mean():.1e} apart on average, {apart.max():.1e} at most; labels alike {same:.4%}"
    )
    assert apart.max() < 2e-3 and same > 0.999
