"""Kinds of bundles that the Model Zoo has, each as small as it can be: written for another torch, NumPy or machine,
with
downloads that nobody needs, with classes named in other words, and those that want or give something else than an image
and classes, which are refused in a sentence that says so."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from support import SMALL_NETWORK, USUAL_CHAIN, read_bundle, request

from CAMOverlayLib.contract.errors import BundleError, PreprocessingError, WeightsError
from CAMOverlayLib.engine.bundle.compat import NUMPY, as_it_was_written, bring_up_to_date, without_download
from CAMOverlayLib.engine.bundle.needs import refusal, what_went_wrong, without_colours
from CAMOverlayLib.engine.layer_choice import inspect_model
from CAMOverlayLib.engine.pipeline import explain

AFFINE = GEOMETRIES["oblique"]
CPU = torch.device("cpu")
no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")


@pytest.fixture
def ask(export, tmp_path):
    shape = (30, 28, 26)
    file = export((100 + 400 * blob(shape, AFFINE, AFFINE[:3] @ [19, 12, 13, 1], 6)).astype(np.int16), AFFINE)
    (tmp_path / "out").mkdir()

    def run(folder, count=1, **options):
        result = explain(request((file,) * count, str(folder), str(tmp_path / "out"), trust=True, **options))
        return result, np.load(result.heatmap.path)

    return run


def rewrite(folder, scripts=None, **changes):
    """Change keys of a bundle's configuration, and give it Python files of its own."""
    path = folder / "configs/inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    for name, text in (scripts or {}).items():
        (folder / "scripts").mkdir(exist_ok=True)
        (folder / "scripts/__init__.py").touch()
        (folder / f"scripts/{name}.py").write_text(text)


# Written for another torch, NumPy, or machine -----------------------------------------------


@no_cuda
def test_an_architecture_file_and_cuda_as_in_the_DiNTS_bundles(make_bundle, ask):
    """Its definition loads a file that holds more than weights, onto a card that is not there."""
    folder = make_bundle("dints")
    torch.save({"features": np.array([8]), "code": np.float64(2)}, folder / "models/search_code.pt")
    rewrite(
        folder,
        arch_path="$@bundle_root + '/models/search_code.pt'",
        arch="$torch.load(@arch_path, map_location=torch.device('cuda'))",
        offset="$torch.zeros(1, device='cuda').cuda().to(torch.device('cuda:0')).to('cuda')",
        network_def={**SMALL_NETWORK, "init_features": "$int(@arch['features'][0] + float(@offset.cpu()))"},
        preprocessing={
            "_target_": "Compose",
            "transforms": [*USUAL_CHAIN, {"_target_": "ToDeviced", "keys": "image", "device": "cuda:0"}],
        },
    )
    before = torch.load
    result, heat = ask(folder)
    assert heat.std() > 0 and result.placement.verdict == "verified" and torch.load is before


def test_another_file_than_the_bundles_own_is_loaded_as_torch_does_it(make_bundle, tmp_path):
    folder = make_bundle()
    torch.save({"features": np.array([8])}, tmp_path / "elsewhere.pt")
    for path in (tmp_path / "elsewhere.pt", folder / "../elsewhere.pt"):
        rewrite(
            folder,
            arch=f"$torch.load({str(path)!r})",
            network_def={**SMALL_NETWORK, "init_features": "$int(@arch['features'][0])"},
        )
        with pytest.raises(BundleError, match="does not evaluate.*[Uu]npick|Weights only"):
            read_bundle(folder, trust=True).network(CPU)
    (folder / "models/linked.pt").symlink_to(tmp_path / "elsewhere.pt")
    rewrite(folder, arch="$torch.load('models/linked.pt')")
    with pytest.raises(BundleError, match="does not evaluate"):
        read_bundle(folder, trust=True).network(CPU)


@no_cuda
def test_cuda_in_a_configuration_and_in_scripts(make_bundle):
    config = {
        "device": "cuda",
        "other_device": "cuda:1",
        "name": "cuda",
        "chosen": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "fixed": '$torch.device( "cuda" )',
        "net": "$@network_def.to('cuda:0')",
        "loaded": "$torch.load('a', map_location='cuda')",
        "is_card": "$@device == 'cuda'",
        "list": [{"device": "cuda:0"}, "$x.cuda()"],
    }
    bring_up_to_date(config)
    assert (
        config["device"] == config["other_device"] == config["list"][0]["device"] == "cpu" and config["name"] == "cuda"
    )
    assert config["fixed"] == '$torch.device( "cpu" )' and config["net"] == "$@network_def.to('cpu')"
    assert config["loaded"] == "$torch.load('a', map_location='cpu')" and config["list"][1] == "$x.cpu()"
    assert config["is_card"] == "$@device == 'cuda'"  # it asks; it puts nothing there
    folder = make_bundle()
    nets = "import torch\nfrom monai.networks.nets import DenseNet\n\ndef make(**given):\n    return DenseNet(**given).cuda().to(torch.device('cuda', 0))\n"  # noqa: E501
    rewrite(folder, {"nets": nets}, network_def={**SMALL_NETWORK, "_target_": "scripts.nets.make"})
    assert next(read_bundle(folder, trust=True).network(CPU).parameters()).device == CPU


REMOVED = [
    name
    for name in (
        "product",
        "cumproduct",
        "sometrue",
        "alltrue",
        "float_",
        "Inf",
        "NaN",
        "in1d",
        "trapz",
        "asfarray",
        "float",
    )
    if name not in vars(np)
]


def test_names_that_numpy_lost(make_bundle, ask):
    """In a definition, where a network is built, and where it runs; afterwards NumPy is as it was."""
    assert "product" in REMOVED
    folder = make_bundle("numpy", weights=None)
    nets = (
        "import numpy\nimport numpy as np\nimport torch\n\nclass Net(torch.nn.Module):\n    def __init__(self, "
        "shape):\n        super().__init__()\n"
        "        self.conv = torch.nn.Conv3d(1, int(np.product(shape)), 3)\n        self.head = "
        "torch.nn.Linear(int(numpy.product(shape)), 3)\n\n"
        "    def forward(self, x):\n        assert np.product([2, 3]) == 6 and np.Inf > 1 and np.float_(2) == 2 and "
        "isinstance(np.zeros(1), np.ndarray)\n"
        "        return self.head(self.conv(x).relu().flatten(2).mean(2))\n"
    )
    rewrite(
        folder,
        {"nets": nets},
        imports=["$import numpy as np"],
        shape="$[2, int(np.product([2, 1]))]",
        network_def={"_target_": "scripts.nets.Net", "shape": "@shape"},
    )
    torch.save(read_bundle(folder, trust=True).bare_network().state_dict(), folder / "models/model.pt")
    _, heat = ask(folder)
    assert heat.std() > 0 and not any(hasattr(np, name) for name in REMOVED)


def test_the_supplied_names_are_what_they_were():
    assert NUMPY["product"]([2, 3, 4]) == 24 and NUMPY["alltrue"]([1, 0]) == False and NUMPY["sometrue"]([0, 1]) == True  # noqa: E712
    assert (
        NUMPY["in1d"]([[1, 2], [3, 4]], [2, 3]).tolist() == [False, True, True, False]
        and NUMPY["trapz"]([0, 1, 2]) == 2
    )
    assert NUMPY["asfarray"]([1, 2]).dtype == np.float64 and NUMPY["cumproduct"]([1, 2, 3]).tolist() == [1, 2, 6]


# Downloads -----------------------------------------------


@pytest.fixture
def offline(monkeypatch):
    """Every download that torch would make is counted and fails."""
    asked = []

    def fails(address, *_, **__):
        asked.append(address)
        raise OSError(f"<urlopen error no network> {address}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    return asked


PRETRAINED = {
    "_target_": "DenseNet121",
    "spatial_dims": 2,
    "in_channels": 3,
    "out_channels": 3,
    "pretrained": True,
    "progress": False,
}


@pytest.mark.parametrize("library", ["MONAI", "as torchvision does it"])
def test_pretrained_needs_no_download_where_the_weights_are_there(make_bundle, offline, monkeypatch, tmp_path, library):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    plain = {key: value for key, value in PRETRAINED.items() if key not in ("pretrained", "progress")}
    folder = make_bundle(network=plain)
    if library == "MONAI":
        rewrite(folder, network_def=PRETRAINED)
    else:  # builds otherwise where it is asked for pretrained weights, as Inception does, which must stay
        nets = (
            "from monai.networks.nets import DenseNet121\nfrom torch.hub import load_state_dict_from_url\n\n"
            "def make(pretrained, **given):\n    net = DenseNet121(**given)\n    net.rescales = pretrained\n"
            "    if pretrained:\n        "
            "net.load_state_dict(load_state_dict_from_url('https://absent.invalid/a.pth'))\n    return net\n"
        )
        rewrite(folder, {"nets": nets}, network_def={**plain, "_target_": "scripts.nets.make", "pretrained": True})
    network, weights = (
        read_bundle(folder, trust=True).network(CPU),
        torch.load(folder / "models/model.pt", weights_only=True),
    )
    assert offline == [] and all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())
    assert library == "MONAI" or network.rescales
    (folder / "models/model.pt").unlink()
    with pytest.raises(BundleError, match="wants to download something, and there is no connection"):
        read_bundle(folder, trust=True).network(CPU)
    assert len(offline) == 1 and not (tmp_path / "hub/hub/checkpoints/a.pth").exists()


def test_what_torch_does_elsewhere_is_as_before():
    fetch, load = torch.hub.load_state_dict_from_url, torch.nn.Module.load_state_dict
    borrowed = types.ModuleType("borrowed")
    sys.modules["borrowed"] = borrowed
    try:
        with without_download():
            borrowed.load_state_dict_from_url = torch.hub.load_state_dict_from_url  # imported meanwhile
            assert torch.hub.load_state_dict_from_url("https://absent.invalid/a.pth") == {}
        assert borrowed.load_state_dict_from_url is torch.hub.load_state_dict_from_url is fetch
        assert torch.nn.Module.load_state_dict is load
    finally:
        del sys.modules["borrowed"]


# What was said of it, and what is missing -----------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "outputs", "config", "words"),
    [
        ({"type": "noise", "format": "image"}, {}, {}, "generates images, it takes none"),
        ({"type": "tuples", "format": "latent"}, {}, {}, "generates images, it takes none"),
        (
            {},
            {},
            {"noise_scheduler": {"_target_": "DDPMScheduler"}, "inferer": {"_target_": "LatentDiffusionInferer"}},
            "generates images, it takes none",
        ),
        (
            {"type": "image"},
            {"type": "object", "format": "dict"},
            {"preprocessing": [], "inferer": {"_target_": "scripts.detection_inferer.RetinaNetInferer"}},
            "detects objects",
        ),
        ({"type": "image"}, {"type": "tuples", "format": "points"}, {"preprocessing": []}, "finds points"),
        (
            {"type": "image"},
            {"type": "object", "format": "dict"},
            {"preprocessing": [], "inferer": {"_target_": "SimpleInferer"}},
            "",
        ),
        (
            {"type": "image"},
            {"type": "image", "format": "segmentation"},
            {"preprocessing": [], "inferer": {"_target_": "SlidingWindowInferer"}},
            "",
        ),
        ([], 3, {}, ""),
    ],
)
def test_what_cannot_be_explained_says_why(inputs, outputs, config, words):
    metadata = {"network_data_format": {"inputs": {"image": inputs}, "outputs": {"pred": outputs}}}
    said = refusal("a", config, metadata)
    assert words in said and bool(said) == bool(words) and said.count("\n") == 0


def test_a_generative_bundle_is_refused_before_anything_is_evaluated(make_bundle, ask):
    folder = make_bundle(weights=None)
    config = {
        "network_def": {"_target_": "NoSuchNetwork"},
        "noise": "$1/0",
        "inferer": {"_target_": "DiffusionInferer"},
    }
    (folder / "configs/inference.json").write_text(json.dumps(config))
    for call in (
        ask,
        lambda f: inspect_model(read_bundle(f, trust=True)),
        lambda f: read_bundle(f, trust=True).preprocessing(),
    ):
        with pytest.raises(BundleError, match="generates images, it takes none"):
            call(folder)


def test_an_image_for_an_output_is_no_yes_or_no(make_bundle, ask):
    metadata = {
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1}},
            "outputs": {"pred": {"type": "image", "format": "magnitude", "channel_def": {"0": "image"}}},
        }
    }
    network = {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "channels": [4, 8],
        "strides": [2],
    }
    result, _ = ask(make_bundle(network=network, metadata=metadata))
    assert result.prediction.activation == "none" and result.prediction.classes == ("image",)


LABELLED = [
    {"_target_": "LoadImaged", "keys": ["image", "label"]},
    {"_target_": "EnsureChannelFirstd", "keys": ["image", "label"]},
    {"_target_": "Resized", "keys": ["image", "label"], "spatial_size": [32, 32, 32]},
]
OWN_STEPS = {
    "steps": (
        "from monai.transforms import MapTransform\n\nclass Masksd(MapTransform):\n    def __call__(self, data):\n"
        "        return dict(data) | {'image': data['image'] * (data['label'] > 0)}\n\n"
        "class AddClicksd(MapTransform):\n    def __call__(self, data):\n        raise ValueError('no points')\n\n"
        "class AddLabelAsGuidanced(Masksd):\n    pass\n\n"
        "class Wantsd(MapTransform):\n    def __call__(self, data):\n        return data['spacing']\n"
    )
}


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (
            [*LABELLED, {"_target_": "scripts.steps.Masksd", "keys": "image"}],
            r"needs 'label' as well: give a label mask on the same grid as file 2 of 2 \(image, label\)",
        ),
        (
            [*LABELLED, {"_target_": "scripts.steps.AddLabelAsGuidanced", "keys": "image"}],
            "needs 'label' as well: give a label mask",
        ),
        (
            [*USUAL_CHAIN, {"_target_": "scripts.steps.AddClicksd", "keys": "image"}],
            "AddClicksd needs the user's clicks or prompts",
        ),
        (
            [*USUAL_CHAIN, {"_target_": "scripts.steps.Wantsd", "keys": "image"}],
            "needs 'spacing', which none of its steps makes",
        ),
        ([{"_target_": "CastToTyped", "keys": "image", "dtype": "float32"}], "no step that loads the image"),
        (
            [{"_target_": "LoadImage"}, {"_target_": "Transpose", "indices": [2, 0, 1, 3]}],
            "images of 4 dimensions, as a series over time",
        ),
    ],
    ids=["label", "label as guidance", "clicks", "key", "loader", "time"],
)
def test_a_step_that_fails_says_what_is_missing(make_bundle, ask, chain, words):
    folder = make_bundle(chain=chain)
    rewrite(folder, OWN_STEPS)
    with pytest.raises(PreprocessingError, match=words) as caught:
        ask(folder)
    assert "\n" not in str(caught.value)


def test_with_the_label_as_second_file_it_works(make_bundle, ask):
    folder = make_bundle(chain=[*LABELLED, {"_target_": "scripts.steps.Masksd", "keys": "image"}])
    rewrite(folder, OWN_STEPS)
    assert ask(folder, 2)[1].std() > 0


def test_prompts_are_named(make_bundle, ask):
    folder = make_bundle(config={"inferer": {"_target_": "scripts.inferer.Prompted"}})
    text = (
        "from monai.inferers import Inferer\n\nclass Prompted(Inferer):\n    def __call__(self, inputs, network, "
        "points, labels, extra=None, *args, **more):\n"
        "        return network(inputs)\n"
    )
    rewrite(folder, {"inferer": text})
    with pytest.raises(BundleError, match=r"Prompted asks for more than an image and a network \(points, labels\)"):
        ask(folder)


def test_listing_the_layers_of_a_network_that_takes_something_else(make_bundle):
    """Sizes written as strings count; where the network does not take them, the sentence says which were tried."""
    metadata = {
        "network_data_format": {"inputs": {"image": {"num_channels": "1", "spatial_shape": ["48", "48", "48"]}}}
    }
    folder = make_bundle(metadata=metadata, chain=USUAL_CHAIN[:3])
    assert inspect_model(read_bundle(folder, trust=True)).input_shape == (1, 48, 48, 48)
    nets = (
        "from monai.networks.nets import DenseNet\n\nclass Picky(DenseNet):\n    def forward(self, x):\n        if "
        "x.shape[-1] != 50:\n"
        "            raise ValueError('the size must be 50\\nand not another')\n        return super().forward(x)\n"
    )
    rewrite(folder, {"nets": nets}, network_def={**SMALL_NETWORK, "_target_": "scripts.nets.Picky"})
    with pytest.raises(
        BundleError,
        match=r"Picky failed on an input of shape \(1, 1, 48, 48, 48\): ValueError: the size must be 50 \(nets.py, line",  # noqa: E501
    ):
        inspect_model(read_bundle(folder, trust=True))


def test_messages_of_libraries_in_one_line():
    assert without_colours("\x1b[1mdo those\x1b[0m\x1b]8;;http://a\x07 steps\x00") == "do those steps"
    assert (
        what_went_wrong(ModuleNotFoundError("No module named 'torchvision.ops'", name="torchvision.ops"))
        == "it needs the Python package 'torchvision', which is not installed here. Install it into the Python that computes."  # noqa: E501
    )
    assert "package 'torchvision'" in what_went_wrong(
        RuntimeError("import torchvision.models (No module named 'torchvision').")
    )
    torchs = "Weights only load failed. You have two options, \x1b[1mdo those steps only if you trust\x1b[0m.\n\tWeightsUnpickler error: Unsupported global: GLOBAL numpy.core"  # noqa: E501
    assert (
        what_went_wrong(RuntimeError(torchs))
        == "RuntimeError: WeightsUnpickler error: Unsupported global: GLOBAL numpy.core"
    )
    assert what_went_wrong(ValueError("")) == "ValueError, without a reason."


def test_an_unreadable_checkpoint_is_told_in_one_plain_line(make_bundle):
    folder = make_bundle()
    torch.save({"a": np.array([1.0])}, folder / "models/model.pt")
    with pytest.raises(WeightsError, match="cannot be read safely") as caught:
        read_bundle(folder, trust=True).network(CPU)
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value) and "numpy" in str(caught.value)


def test_a_lone_file_that_is_something_else_is_not_taken_for_the_weights(make_bundle):
    folder = make_bundle()
    (folder / "models/model.pt").rename(folder / "models/search_code.pt")
    rewrite(folder, arch="$torch.load(@bundle_root + '/models/search_code.pt')")
    with pytest.raises(WeightsError, match="model.pt' do not exist"):
        read_bundle(folder, trust=True).network(CPU)


@pytest.mark.parametrize(
    ("axis", "words"),
    [(0, "32 sagittal slices along I"), (1, "32 coronal slices along J"), (2, "32 axial slices along K")],
)
def test_which_slices_a_network_got_is_said(make_bundle, ask, axis, words):
    network = {
        "_target_": "UNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 3,
        "channels": [4, 8],
        "strides": [2],
    }
    chain = [
        *USUAL_CHAIN[:3],
        {"_target_": "Spacingd", "keys": "image", "pixdim": [1.0, 1.0, 1.0]},
        {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32, 32]},
    ]
    inferer = {"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": axis, "sw_batch_size": 8}
    result, heat = ask(make_bundle(network=network, chain=chain, config={"inferer": inferer}))
    assert words in result.applied.replace("oblique ", "") and "oblique" in result.applied and heat.std() > 0


def test_nothing_is_changed_outside(tmp_path):
    load, names = torch.load, set(vars(np))
    with pytest.raises(KeyError), as_it_was_written(tmp_path):
        raise KeyError
    assert torch.load is load and set(vars(np)) == names
