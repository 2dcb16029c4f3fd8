"""A network with weights and transforms becomes a bundle that the engine and MONAI's own tools run."""

import json
import os
import sys
import textwrap

import pytest
import torch
import yaml
from monai.bundle import ConfigParser
from monai.inferers import SimpleInferer, SlidingWindowInferer
from monai.networks.nets import DenseNet
from support import SMALL_NETWORK, USUAL_CHAIN, read_bundle

from CAMOverlayLib.contract.errors import BundleError, CAMOverlayError, OutputError, WeightsError
from CAMOverlayLib.engine.bundle.description import DEFAULT_CHAIN, ModelDescription
from CAMOverlayLib.engine.bundle.model import is_regression
from CAMOverlayLib.engine.bundle.writer import code_to_trust, write_bundle

ARGUMENTS = {key: value for key, value in SMALL_NETWORK.items() if key != "_target_"}
CLASSES = ("healthy", "lesion", "artefact")
CPU = torch.device("cpu")

NETWORK_FILE = """
    import torch

    class Tiny(torch.nn.Module):
        def __init__(self, outputs):
            super().__init__()
            self.conv = torch.nn.Conv3d(1, outputs, 3)

        def forward(self, x):
            return self.conv(x).mean((2, 3, 4))
"""
TRANSFORM_FILE = """
    from monai.transforms import MapTransform

    class Halved(MapTransform):
        def __call__(self, data):
            return dict(data) | {key: data[key] / 2 for key in self.keys}
"""


def python_file(path, text):
    path.write_text(textwrap.dedent(text))
    return path


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(3)
    torch.save(DenseNet(**ARGUMENTS).state_dict(), tmp_path / "best.pt")
    return tmp_path / "best.pt"


def chain_file(path, content):
    path.write_text(yaml.safe_dump(content, sort_keys=False) if path.suffix != ".json" else json.dumps(content))
    return path


def names(chain):
    return [type(t).__name__ for t in chain.transforms]


def test_a_written_model_is_the_model(tmp_path, weights):
    chain = chain_file(tmp_path / "chain.yaml", USUAL_CHAIN)
    model = ModelDescription("DenseNet", ARGUMENTS, weights, chain, CLASSES, channel_names=("T1",), name="lesions")
    bundle = read_bundle(write_bundle(model, tmp_path / "deep" / "bundle"), trust=True)
    for name, value in bundle.network(CPU).state_dict().items():
        assert torch.equal(value, torch.load(weights)[name]), name
    assert names(bundle.preprocessing()) == [t["_target_"] for t in USUAL_CHAIN]
    info = bundle.info
    assert (info.name, info.classes, info.channels, info.channel_names) == ("lesions", CLASSES, 1, ("T1",))
    assert bundle.input_shape() == (1, 48, 48, 48) and not bundle.is_multilabel
    assert not is_regression(bundle.network(CPU), bundle.metadata)
    # A bundle stays what it is when training goes on, and says nothing of the machine where it was written.
    assert not (bundle.path / "models/model.pt").is_symlink()
    texts = [p.read_text() for p in bundle.path.rglob("*.*") if p.suffix in (".json", ".md")]
    assert len(texts) == 3 and str(tmp_path) not in "".join(texts)
    assert sorted(os.listdir(tmp_path / "deep")) == ["bundle"]
    assert (tmp_path / "deep/bundle").stat().st_mode == (tmp_path / "deep").stat().st_mode


def test_safetensors_stay_safetensors(tmp_path, weights):
    from safetensors.torch import save_file

    state = torch.load(weights)
    save_file(state, tmp_path / "best.safetensors")
    model = ModelDescription("DenseNet", ARGUMENTS, tmp_path / "best.safetensors")
    bundle = read_bundle(write_bundle(model, tmp_path / "bundle"), trust=True)
    assert os.listdir(bundle.path / "models") == ["model.safetensors"]
    assert "`models/model.safetensors` holds the weights" in (bundle.path / "docs" / "README.md").read_text()
    for name, value in bundle.network(CPU).state_dict().items():
        assert torch.equal(value, state[name]), name


def test_monai_alone_reads_it_too(tmp_path, weights):
    model = ModelDescription("monai.networks.nets.DenseNet", ARGUMENTS, weights, window=(32, 32, 32), overlap=0.5)
    folder = write_bundle(model, tmp_path / "bundle")
    parser = ConfigParser()
    parser.read_config(str(folder / "configs/inference.json"))
    parser.read_meta(str(folder / "configs/metadata.json"))
    network, inferer = parser.get_parsed_content("network_def"), parser.get_parsed_content("inferer")
    network.load_state_dict(torch.load(folder / "models/model.pt"))
    assert isinstance(inferer, SlidingWindowInferer) and (inferer.roi_size, inferer.overlap) == ([32, 32, 32], 0.5)
    assert names(parser.get_parsed_content("preprocessing")) == [t["_target_"] for t in DEFAULT_CHAIN]
    answer = parser.get_parsed_content("postprocessing")({"pred": torch.zeros(3)})["pred"]
    assert answer.tolist() == pytest.approx([1 / 3] * 3)
    assert parser["_meta_::network_data_format::inputs::image::spatial_shape"] == [32, 32, 32]


@pytest.mark.parametrize("form", ["list.yaml", "list.json", "compose.yml", "keyed.yaml", "other file.yaml"])
def test_a_chain_is_understood_in_every_form(tmp_path, form):
    load = {"_target_": "LoadImaged", "keys": "image"}
    size = {"_target_": "Resized", "keys": "@key", "spatial_size": "%sizes::small"}
    keyed = {
        "key": "image",
        "sizes": {"small": [8, 8, 8]},
        "off": "$1.0 * 2",
        "preprocessing": [load, size, {"_target_": "ShiftIntensityd", "keys": "@key", "offset": "@off"}],
    }
    forms = {"list": [load], "compose": {"_target_": "Compose", "transforms": [load]}, "keyed": keyed}
    content = forms.get(form.split(".")[0])
    if content is None:  # in part from a file beside it, which does not come along
        chain_file(tmp_path / "keyed.yaml", keyed)
        content = {**keyed, "preprocessing": "%keyed.yaml::preprocessing"}
    model = ModelDescription("DenseNet", ARGUMENTS, preprocessing=chain_file(tmp_path / form, content))
    folder = write_bundle(model, tmp_path / "bundle")
    (tmp_path / form).unlink()
    (tmp_path / "keyed.yaml").unlink(missing_ok=True)
    bundle = read_bundle(folder, trust=True)
    chain = bundle.preprocessing()
    if "preprocessing" in content:
        assert names(chain) == ["LoadImaged", "Resized", "ShiftIntensityd"]
        assert chain.transforms[1].keys == ("image",) and bundle.input_shape() == (1, 8, 8, 8)
        assert chain.transforms[2].shifter.offset == 2.0
        assert code_to_trust(folder).expressions == ("1.0 * 2",)
    else:
        assert names(chain) == ["LoadImaged"]
        assert not any(vars(code_to_trust(folder)).values())


def test_python_files_come_along_under_names_of_their_own(tmp_path):
    (tmp_path / "chain").mkdir()
    python_file(tmp_path / "my net.py", NETWORK_FILE)
    python_file(tmp_path / "chain/my net.py", TRANSFORM_FILE)
    halve = {"_target_": "my net.py:Halved", "keys": "image"}
    chain = chain_file(tmp_path / "chain/chain.yaml", [*DEFAULT_CHAIN, halve])
    model = ModelDescription(f"{tmp_path}/my net.py:Tiny", {"outputs": 2}, preprocessing=chain)

    def finish(folder):
        torch.manual_seed(0)
        sys.path.insert(0, str(folder))
        try:
            config = json.loads((folder / "configs/inference.json").read_text())
            network = ConfigParser(config).get_parsed_content("network_def")
        finally:
            sys.path.remove(str(folder))
        torch.save(network.state_dict(), folder / "models/model.pt")

    folder = write_bundle(model, tmp_path / "bundle", finish)
    assert sorted(os.listdir(folder / "scripts")) == ["__init__.py", "my_net.py", "my_net_2.py"]
    bundle = read_bundle(folder, trust=True)
    assert type(bundle.network(CPU)).__name__ == "Tiny" and bundle.info.name == "Tiny"
    halved = bundle.preprocessing().transforms[-1]
    assert halved({"image": torch.ones(2)})["image"].tolist() == [0.5, 0.5]
    assert code_to_trust(folder).targets == ("scripts.my_net.Tiny", "scripts.my_net_2.Halved")


@pytest.mark.parametrize(
    ("target", "foreign"),
    [
        ("Resized", False),
        ("monai.transforms.Resized", False),
        ("monai.utils.module.os.system", True),
        ("monai.utils.module.subprocess.Popen", True),
        ("__import__", True),
        ("my_package.Resized", True),
        ("@transform", True),
    ],
)
def test_what_is_not_monais_needs_trust(tmp_path, target, foreign):
    chain = chain_file(tmp_path / "chain.yaml", [{"_target_": target, "keys": "image"}])
    folder = write_bundle(ModelDescription("DenseNet", ARGUMENTS, preprocessing=chain), tmp_path / "bundle")
    assert code_to_trust(folder).targets == ((target,) if foreign else ())
    mine = write_bundle(ModelDescription("my_package.nets.Mine"), tmp_path / "mine")
    assert code_to_trust(mine).targets == ("my_package.nets.Mine",)


def test_the_kind_of_output_is_written_so_that_the_engine_reads_it(tmp_path):
    def written(name, *arguments, **settings):
        return read_bundle(write_bundle(ModelDescription(*arguments, **settings), tmp_path / name), trust=True)

    assert written("multilabel", "DenseNet", ARGUMENTS, multilabel=True).is_multilabel
    assert written("one output", "DenseNet", ARGUMENTS | {"out_channels": 1}).is_multilabel
    number = written("number", "DenseNet", ARGUMENTS | {"out_channels": 1}, task="regression")
    assert is_regression(torch.nn.Identity(), number.metadata) and not number.is_multilabel
    regressor = written("regressor", "Regressor", {"in_shape": [2, 16, 16], "out_shape": [1]}, task="regression").info
    assert (regressor.channels, regressor.spatial_shape) == (2, (16, 16))
    transformer = written("transformer", "ViT", {"in_channels": 1, "img_size": 64, "spatial_dims": 3})
    assert transformer.input_shape() == (1, 64, 64, 64)
    # What the file says besides counts where the command line says nothing.
    chain = chain_file(
        tmp_path / "chain.yaml",
        {
            "preprocessing": list(DEFAULT_CHAIN),
            "network_def": {"_target_": "os.system"},
            "handlers": [{"_target_": "CheckpointLoader", "load_path": str(tmp_path / "other.pt")}],
            "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8]},
            "postprocessing": [{"_target_": "Activationsd", "keys": "pred", "sigmoid": True}],
        },
    )
    said = written("said", "DenseNet", ARGUMENTS, preprocessing=chain)
    assert said.is_multilabel and said._evaluate("inferer").roi_size == [8, 8, 8]
    assert said.code.targets[0] == "DenseNet" and not {"os.system", "CheckpointLoader"} & set(said.code.targets)
    assert isinstance(number._evaluate("inferer"), SimpleInferer)


def wrong_models(folder):
    """Name → (the model, its error, what the sentence must contain)."""
    python_file(folder / "net.py", NETWORK_FILE)
    python_file(folder / "relative.py", "from .blocks import Block\nclass Net: ...")
    python_file(folder / "beside.py", "import blocks_of_mine\nclass Net: ...")
    python_file(folder / "blocks_of_mine.py", "")
    python_file(folder / "broken.py", "class Net(:")

    def network(target):
        return ModelDescription(target)

    def chain(content, name="chain.yaml"):
        (folder / name).write_text(content)
        return ModelDescription("DenseNet", ARGUMENTS, preprocessing=folder / name)

    def named(**settings):
        return ModelDescription("DenseNet", ARGUMENTS, **settings)

    return {
        "no network": (network("Dense-Net"), "'Dense-Net' does not name a network"),
        "a file without a class": (network("net.py"), "'net.py' does not name a network.*path/to/file.py:MyNet"),
        "a file that is not there": (network(f"{folder}/absent.py:Net"), "absent.py"),
        "a class that is not there": (network(f"{folder}/net.py:Tiney"), "does not define 'Tiney'. It defines Tiny"),
        "a file that is no Python": (network(f"{folder}/broken.py:Net"), "broken.py' is not a Python file"),
        "a relative import": (network(f"{folder}/relative.py:Net"), "imports '.blocks' from a file beside it"),
        "an import from beside": (network(f"{folder}/beside.py:Net"), "imports 'blocks_of_mine' from a file beside it"),
        "arguments in a list": (ModelDescription("DenseNet", [3, 1]), "are a list, an object is needed"),
        "no weights": (named(weights=folder / "no.pt"), "no.pt' do not exist"),
        "classes that do not fit": (named(classes=("a", "b")), r"2 classes are named (a, b), but .* 3 outputs"),
        "channels that do not fit": (named(channel_names=("T1", "T2")), r"2 channels are named .* 1 input channels"),
        "a class twice": (named(classes=("a", "a", "b")), "classes name 'a' more than once"),
        "an unknown task": (named(task="guessing"), "no task 'guessing'"),
        "a window of nothing": (named(window=(0, 4, 4)), r"window of (0, 4, 4) .* cannot slide"),
        "a chain that is not there": (named(preprocessing=folder / "no.yaml"), "no.yaml' does not exist"),
        "a chain in Python": (chain("[]", "chain.py"), "neither .yaml nor .json"),
        "a chain that cannot be read": (chain("[", "bad.yaml"), "bad.yaml' cannot be read as a configuration"),
        "an empty chain": (chain("[]", "none.yaml"), "none.yaml' is empty"),
        "an empty file": (chain("", "nothing.yaml"), "holds no preprocessing but NoneType"),
        "another key": (chain("transforms: []", "key.yaml"), "holds no preprocessing but transforms"),
        "no transform": (chain("[LoadImaged]", "words.yaml"), "Entry 1 .* is not a transform: 'LoadImaged'"),
        "a date": (chain("- {_target_: A, when: 2020-01-01}", "date.yaml"), "date.yaml' holds what JSON cannot say"),
        "a circle": (chain("preprocessing: '%circle.yaml::preprocessing'", "circle.yaml"), "refers to itself"),
        "a missing key": (chain("preprocessing: '%none.yaml::x'", "missing.yaml"), "refers to 'x', which .*none.yaml'"),
    }


def test_wrong_input_is_one_sentence_and_leaves_no_trace(tmp_path):
    (tmp_path / "given").mkdir()
    cases = wrong_models(tmp_path / "given")
    for name, (model, expected) in cases.items():
        with pytest.raises(WeightsError if name == "no weights" else BundleError) as caught:
            write_bundle(model, tmp_path / "bundle")
        pattern = expected.replace("(", r"\(").replace(")", r"\)")
        assert caught.match(pattern), (name, str(caught.value))
        assert os.listdir(tmp_path) == ["given"], name


def test_a_folder_that_holds_something_is_left_alone(tmp_path, weights):
    model = ModelDescription("DenseNet", ARGUMENTS, weights)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    for taken in (tmp_path / "mine", tmp_path / "mine/notes.txt"):
        with pytest.raises(OutputError, match="already there"):
            write_bundle(model, taken)
    with pytest.raises(OutputError, match="cannot be written"):
        write_bundle(model, tmp_path / "mine/notes.txt/bundle")

    def fail(folder):
        assert (folder / "models/model.pt").is_file()
        raise CAMOverlayError("not like this")

    with pytest.raises(CAMOverlayError, match="not like this"):
        write_bundle(model, tmp_path / "empty", fail)
    assert sorted(os.listdir(tmp_path)) == ["best.pt", "empty", "mine"] and not os.listdir(tmp_path / "empty")
    write_bundle(model, tmp_path / "empty", link=True)
    assert (tmp_path / "empty/models/model.pt").samefile(weights)
