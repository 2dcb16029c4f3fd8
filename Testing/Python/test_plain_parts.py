"""``--network`` without ``--trust``: MONAI's own parts with plain values run, and nothing else does."""

from __future__ import annotations

import json

import pytest
import torch

from CAMOverlayLib.cli.main import main
from CAMOverlayLib.contract import plain_names, plain_parts

LOAD = {"_target_": "LoadImaged", "keys": "image"}
FIRST = {"_target_": "EnsureChannelFirstd", "keys": "image"}
ARGUMENTS = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}
TOUCH = "touch MARK"

# Each chain would import, call, open, write, download or evaluate something, or hide that it does.
CHAINS = {
    "reader is a function": [{**LOAD, "reader": "os.system", "command": TOUCH}],
    "reader alone": [{**LOAD, "reader": "subprocess.getoutput"}],
    "reader runs a file": [{**LOAD, "reader": "runpy.run_path", "path_name": "x.py"}],
    "reader in a list": [{**LOAD, "reader": ["NibabelReader", "os.system"]}],
    "reader by reference": {"r": "os.system", "preprocessing": [{**LOAD, "reader": "@r"}]},
    "reader by local macro": {"r": "os.system", "preprocessing": [{**LOAD, "reader": "%r"}]},
    "reader by two references": {"a": "os.system", "r": "@a", "preprocessing": [{**LOAD, "reader": "@r"}]},
    "reader by nested reference": {"a": {"b": ["os.system"]}, "preprocessing": [{**LOAD, "reader": "@a::b::0"}]},
    "reader of another package": [{**LOAD, "reader": "my_package.Reader"}],
    "reader with a space": [{**LOAD, "reader": " os.system"}],
    "reader is a component": [{**LOAD, "reader": {"_target_": "os.system", "command": TOUCH}}],
    "reader for pickles": [{**LOAD, "reader": "NumpyReader", "allow_pickle": True}],
    "argument of the reader": [{**LOAD, "converter": "os.system"}],
    "loader of arrays": [{"_target_": "LoadImage", "reader": "os.system", "command": TOUCH}],
    "loader with its package": [{"_target_": "monai.transforms.LoadImaged", "keys": "image", "reader": "os.system"}],
    "loader with its module": [
        {"_target_": "monai.transforms.io.dictionary.LoadImaged", "keys": "image", "reader": "os.system"}
    ],
    "loader in capitals": [{"_target_": "LoadImageD", "keys": "image", "reader": "os.system"}],
    "target is a function": [LOAD, {"_target_": "os.system", "command": TOUCH}],
    "target by reference": {"y": "os.system", "preprocessing": [LOAD, {"_target_": "@y", "command": TOUCH}]},
    "target by macro": {"y": "os.system", "preprocessing": [LOAD, {"_target_": "%y", "command": TOUCH}]},
    "target through monai": [LOAD, {"_target_": "monai.utils.module.os.system", "command": TOUCH}],
    "target is a list": [LOAD, {"_target_": ["os.system"], "command": TOUCH}],
    "target of torch": [LOAD, {"_target_": "torch.load", "f": "x.pt", "weights_only": False}],
    "target in lower case": [LOAD, {"_target_": "monai.transforms.io.array.optional_import", "module": "x"}],
    "target deep in a list": [
        LOAD,
        {"_target_": "Compose", "transforms": [[{"_target_": "os.system", "command": TOUCH}]]},
    ],
    "target in an argument": [LOAD, {**FIRST, "channel_dim": {"_target_": "os.system", "command": TOUCH}}],
    "target after a newline": [LOAD, {"_target_": "Resized\n", "keys": "image"}],
    "expression": [LOAD, {**FIRST, "channel_dim": "$__import__('os').system('touch MARK')"}],
    "expression in a list": [LOAD, {"_target_": "Resized", "keys": "image", "spatial_size": ["$1", 2, 3]}],
    "expression in words": [{**LOAD, "_desc_": "$__import__('os').system('touch MARK')"}],
    "expression in another key": {"x": "$__import__('os')", "preprocessing": [{**LOAD, "keys": "@x"}]},
    "imports": {"imports": ["$import antigravity"], "preprocessing": [LOAD]},
    "requires": [{**LOAD, "_requires_": "$__import__('os').system('touch MARK')"}],
    "requires a reference": {"x": {"_target_": "os.system"}, "preprocessing": [{**LOAD, "_requires_": "@x"}]},
    "mode debug": [{**LOAD, "_mode_": "debug"}],
    "mode callable": [LOAD, {**FIRST, "_mode_": "callable"}],
    "debug": [{**LOAD, "_debug_": True}],
    "disabled by expression": [{**LOAD, "_disabled_": "$True"}],
    "wrapper": [{**LOAD, "_wrap_": "os.system"}],
    "newline after a macro": [LOAD, "%/tmp/hidden.json\n"],
    "newline before a macro": [LOAD, "%x\n/tmp/hidden.json"],
    "macro with a space": [LOAD, "% /tmp/hid den.json"],
    "macro in an argument": [{**LOAD, "keys": "%/tmp/hidden.json\n"}],
    "macro of python": [LOAD, "%hidden.py"],
    "macro by reference": {"x": "%/tmp/hidden.json\n", "preprocessing": [{**LOAD, "keys": "@x"}]},
    "key is a place": {"_target_": "Compose", "transforms": [LOAD], "transforms::0::reader": "os.system"},
    "key is a place within": [{**LOAD, "keys": {"a::b": "os.system"}}],
    "key is an addition": {"preprocessing": [{**LOAD, "+reader": "os.system"}]},
    "key of the object": [{**LOAD, "__class__": "os.system"}],
    "writes": [LOAD, {"_target_": "SaveImaged", "keys": "image", "output_dir": "/tmp/anywhere"}],
    "writes an array": [LOAD, {"_target_": "SaveImage", "output_dir": "/tmp/anywhere"}],
    "writes by a writer": [LOAD, {"_target_": "SaveImaged", "keys": "image", "writer": "os.system"}],
    "writes classes": [LOAD, {"_target_": "SaveClassificationd", "keys": "image", "filename": "x.csv"}],
    "writes a mapping": [LOAD, {"_target_": "WriteFileMappingd", "keys": "image", "mapping_file_path": "x.json"}],
    "calls": [LOAD, {"_target_": "Lambdad", "keys": "image", "func": "os.system"}],
    "another library": [LOAD, {"_target_": "TorchVisiond", "keys": "image", "name": "Resize"}],
    "another library by name": [LOAD, {"_target_": "TorchIOd", "keys": "image", "name": "Lambda"}],
    "logger": [{"_target_": "Compose", "transforms": [LOAD], "log_stats": "my_logger"}],
    "overrides": [{"_target_": "Compose", "transforms": [LOAD], "overrides": {"x": {"y": "os.system"}}}],
    "function as select": [
        LOAD,
        {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "select_fn": "os.system"},
    ],
    "activation calls": [LOAD, {"_target_": "Activationsd", "keys": "image", "other": "os.system"}],
    "type by name": [LOAD, {"_target_": "CastToTyped", "keys": "image", "dtype": "os.system"}],
    "statistics": [LOAD, {"_target_": "DataStatsd", "keys": "image", "additional_info": "os.system"}],
    "data set": [
        LOAD,
        {
            "_target_": "DecathlonDataset",
            "root_dir": "/tmp",
            "task": "Task09_Spleen",
            "section": "test",
            "download": True,
        },
    ],
    "workflow": [LOAD, {"_target_": "ConfigWorkflow", "config_file": "x.json"}],
    "inferer of another package": {"inferer": {"_target_": "my_package.Inferer"}, "preprocessing": [LOAD]},
    "inferer writes": {"inferer": {"_target_": "PatchInferer", "merger_cls": "os.system"}, "preprocessing": [LOAD]},
    "postprocessing writes": {
        "postprocessing": [{"_target_": "SaveImaged", "output_dir": "/tmp"}],
        "preprocessing": [LOAD],
    },
    "a name with dots": [LOAD, {"_target_": "Resized", "keys": "image", "spatial_size": 8, "mode": "os.system"}],
    "relative reference": [LOAD, {"_target_": "Resized", "keys": "image", "spatial_size": "@##0"}],
}

NETWORKS = {
    "target in arguments": ("DenseNet", {**ARGUMENTS, "_target_": "os.system", "command": TOUCH}),
    "target in an argument": ("DenseNet", {**ARGUMENTS, "act": {"_target_": "os.system", "command": TOUCH}}),
    "mode": ("DenseNet", {**ARGUMENTS, "_mode_": "debug"}),
    "requires": ("DenseNet", {**ARGUMENTS, "_requires_": "$print()"}),
    "expression": ("DenseNet", {**ARGUMENTS, "norm": "$__import__('os').system('touch MARK')"}),
    "macro": ("DenseNet", {**ARGUMENTS, "norm": "%/tmp/x.json\n"}),
    "pretrained": ("DenseNet121", {**ARGUMENTS, "pretrained": True}),
    "pretrained in words": ("DenseNet121", {**ARGUMENTS, "pretrained": "yes"}),
    "pretrained unless told": ("EfficientNetBN", {"model_name": "efficientnet-b0"}),
    "features pretrained": ("ResNetFeatures", {"model_name": "resnet18"}),
    "from a hub": ("Transchex", {"in_channels": 1}),
    "torchvision": ("TorchVisionFCModel", {"model_name": "resnet18", "use_pretrained": True}),
    "url": ("HoVerNet", {"pretrained_url": "http://127.0.0.1/x.pth"}),
    "function": ("sys.exit", {}),
    "function of monai": ("monai.networks.nets.resnet10", {}),
    "through monai": ("monai.networks.nets.torch.load", {"f": "x.pt"}),
    "another package": ("my_package.Net", {}),
    "key": ("DenseNet", {**ARGUMENTS, "a::b": 1}),
}


def refused(arguments, tmp_path, monkeypatch, capsys) -> str:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2 and main(["explain", "no.nii", "--output", "out", *arguments[1:]]) == 2
    words = capsys.readouterr().err
    assert not (tmp_path / "MARK").exists() and not (tmp_path / "out").exists()
    return words


@pytest.mark.parametrize("name", CHAINS)
def test_no_chain_runs_what_is_not_monais(name, tmp_path, monkeypatch, capsys):
    chain = tmp_path / "chain.json"
    chain.write_text(json.dumps(CHAINS[name]))
    words = refused(
        [
            "bundle",
            "--network",
            "DenseNet",
            "--network-args",
            json.dumps(ARGUMENTS),
            "--random-weights",
            "--preprocessing",
            str(chain),
            "--output",
            "out",
        ],
        tmp_path,
        monkeypatch,
        capsys,
    )
    assert "--trust" in words or "Write" in words or "does not exist" in words


@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_runs_what_is_not_monais(name, tmp_path, monkeypatch, capsys):
    network, arguments = NETWORKS[name]
    words = refused(
        [
            "bundle",
            "--network",
            network,
            "--network-args",
            json.dumps(arguments),
            "--random-weights",
            "--output",
            "out",
        ],
        tmp_path,
        monkeypatch,
        capsys,
    )
    assert "--trust" in words or "name of an argument" in words or "Write" in words


@pytest.mark.parametrize("ending", [".ts", ".pt2"])
def test_a_compiled_network_is_a_program(ending, tmp_path, monkeypatch, capsys):
    class Writes(torch.nn.Module):
        def forward(self, x):
            y = torch.from_file("MARK", True, 4, dtype=torch.uint8)
            y += 65
            return x.mean((2, 3, 4)) + y.sum()

    path = tmp_path / f"net{ending}"
    if ending == ".ts":
        torch.jit.script(Writes()).save(str(path))
    else:
        path.write_bytes(b"anything")
    (tmp_path / "MARK").unlink(missing_ok=True)
    monkeypatch.chdir(tmp_path)
    assert main(["explain", "no.nii", "--output", "out", "--network", str(path)]) == 2
    words = capsys.readouterr().err
    assert "compiled network" in words and "--trust" in words and not (tmp_path / "MARK").exists()


USUAL = [
    LOAD,
    FIRST,
    {**LOAD, "reader": "NibabelReader", "image_only": True},
    {**LOAD, "reader": ["ITKReader", "pilreader"]},
    {"_target_": "Orientationd", "keys": ["image"], "axcodes": "RAS", "labels": None},
    {"_target_": "monai.transforms.Spacingd", "keys": "image", "pixdim": [1, 1, 1.5], "mode": "bilinear"},
    {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        "a_min": -57,
        "a_max": 164,
        "b_min": 0,
        "b_max": 1,
        "clip": True,
    },
    {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "allow_smaller": True},
    {"_target_": "EnsureTyped", "keys": "@key", "device": "cuda:0", "dtype": "torch.float32"},
    {"_target_": "Resized", "keys": "image", "spatial_size": "@sizes::small", "_desc_": "as it was trained"},
    {"_target_": "Compose", "transforms": [{"_target_": "NormalizeIntensityD", "keys": "image", "nonzero": True}]},
]


@pytest.mark.parametrize("transform", USUAL, ids=lambda t: t["_target_"])
def test_monais_own_transforms_with_plain_values_need_no_trust(transform):
    config = {"key": "image", "sizes": {"small": [8, 8, 8]}, "preprocessing": [transform]}
    assert plain_parts.needs_trust(config) == ((), ())


@pytest.mark.parametrize(
    "name", sorted(plain_names.NETWORKS | plain_names.TRANSFORMS | plain_names.LOADERS | plain_names.INFERERS)
)
def test_a_listed_name_is_what_monai_builds(name):
    """A bare name must not lead to something else somewhere in MONAI."""
    from monai import inferers, transforms
    from monai.networks import nets

    kinds = [(nets, torch.nn.Module), (transforms, transforms.Transform), (inferers, inferers.Inferer)]
    room, kind = next((m, k) for m, k in kinds if hasattr(m, name))
    found = getattr(room, name)
    assert isinstance(found, type) and issubclass(found, kind)
