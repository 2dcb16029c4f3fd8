import shutil
import sys

import numpy as np
import pytest
import torch
from support import read_bundle, request
from torch import nn

from CAMOverlayLib.contract.errors import WeightsError
from CAMOverlayLib.demo import DEMO_BUNDLE, DEMO_VOLUME
from CAMOverlayLib.engine.bundle.weights import load_weights
from CAMOverlayLib.engine.pipeline import explain


def network(width=3):
    torch.manual_seed(width)
    return nn.Sequential(nn.Conv3d(1, width, 3), nn.BatchNorm3d(width), nn.ReLU(), nn.Conv3d(width, 2, 1))


WRAPPERS = {
    "bare": lambda s: s,
    "model": lambda s: {"model": s, "epoch": 3},
    "state_dict": lambda s: {"state_dict": s},
    "DataParallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "Ignite with DataParallel": lambda s: {"model": {f"module.{k}": v for k, v in s.items()}, "optimizer": {"lr": 1}},
    "Lightning": lambda s: {
        "state_dict": {f"net.{k}": v for k, v in s.items()} | {"loss.weight": torch.ones(2)},
        "hparams": {"a": 1},
    },
    "compiled": lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
    "beside the optimiser's tensors": lambda s: {"optimizer": {"exp_avg": torch.ones(3)}, "network": s},
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_weights_load_whatever_the_trainer_wrapped_around_them(tmp_path, wrap):
    source, target = network(), network(3)
    for parameter in source.parameters():
        parameter.data += 1
    torch.save(wrap(source.state_dict()), tmp_path / "model.pt")
    load_weights(target, tmp_path / "model.pt")
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def save(tmp_path, thing):
    torch.save(thing, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_what_does_not_fit_is_named(tmp_path):
    state = network().state_dict()
    less = {k: v for k, v in state.items() if not k.startswith("3.")}
    with pytest.raises(WeightsError, match=r"2 of 9 keys are missing \(3.weight, 3.bias\)"):
        load_weights(network(), save(tmp_path, less))
    with pytest.raises(WeightsError, match=r"1 are unexpected \(head.weight\)"):
        load_weights(network(), save(tmp_path, state | {"head.weight": torch.ones(1)}))
    with pytest.raises(WeightsError, match=r"0.weight \(5, 1, 3, 3, 3\) instead of \(3, 1, 3, 3, 3\)"):
        load_weights(network(), save(tmp_path, network(5).state_dict()))


def test_nothing_is_loaded_when_something_does_not_fit(tmp_path):
    target = network()
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(WeightsError):
        load_weights(target, save(tmp_path, {k: v + 1 for k, v in target.state_dict().items() if k != "3.bias"}))
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


class Payload:
    def __reduce__(self):
        return print, ("code in a pickle ran",)


def test_files_that_are_no_weights(tmp_path, capsys):
    with pytest.raises(WeightsError, match="do not exist"):
        load_weights(network(), tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(WeightsError, match="cannot be read safely"):
        load_weights(network(), tmp_path / "text.pt")
    with pytest.raises(WeightsError, match="holds no state dict but a list"):
        load_weights(network(), save(tmp_path, [1, 2]))
    with pytest.raises(WeightsError, match="cannot be read safely"):
        load_weights(network(), save(tmp_path, {"model": Payload()}))
    assert "ran" not in capsys.readouterr().out


# model.safetensors ----------------------------------------------------------------------------------------------------


def as_safetensors(tmp_path, state):
    from safetensors.torch import save_file

    save_file(state, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("wrap", ["bare", "DataParallel", "compiled"])
def test_safetensors_load_as_pickled_weights_do(tmp_path, wrap):
    source, target = network(), network(3)
    for parameter in source.parameters():
        parameter.data += 1
    load_weights(target, as_safetensors(tmp_path, WRAPPERS[wrap](source.state_dict())))
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def test_safetensors_stand_in_for_a_file_that_is_not_there_and_for_no_other(tmp_path):
    state = network().state_dict()
    as_safetensors(tmp_path, {k: torch.zeros_like(v) for k, v in state.items()})
    target = network()
    load_weights(target, save(tmp_path, state))
    assert torch.equal(target.state_dict()["0.weight"], state["0.weight"]), "model.pt is there, and is what was named"
    (tmp_path / "model.pt").unlink()
    load_weights(target, tmp_path / "model.pt")
    assert not target.state_dict()["0.weight"].any()
    with pytest.raises(WeightsError, match="other.pt' do not exist"):
        load_weights(target, tmp_path / "other.pt")


def test_damaged_safetensors_are_refused_in_one_sentence(tmp_path):
    whole = as_safetensors(tmp_path, network().state_dict()).read_bytes()
    huge = (1 << 62).to_bytes(8, "little") + whole[8:]
    elsewhere = whole.replace(b'"data_offsets":[0,', b'"data_offsets":[8,', 1)
    damaged = [whole[:n] for n in (0, 7, 8, 40, len(whole) // 2, len(whole) - 1)] + [huge, elsewhere, whole + b"more"]
    for content in (*damaged, b"hello", b"\x80\x02}q\x00."):
        (tmp_path / "model.safetensors").write_bytes(content)
        before = network().state_dict()
        target = network()
        with pytest.raises(WeightsError, match=r"^The weights '.*' cannot be read safely: [^\n]*\. Download it again"):
            load_weights(target, tmp_path / "model.pt")
        assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())


def test_safetensors_of_another_network_are_named(tmp_path):
    with pytest.raises(
        WeightsError, match=r"model.safetensors' are not those of this Sequential: [0-9]+ have another shape"
    ):
        load_weights(network(), as_safetensors(tmp_path, network(5).state_dict()))


def test_without_the_package_an_error_names_it(tmp_path, monkeypatch):
    path = as_safetensors(tmp_path, network().state_dict())
    for name in [name for name in sys.modules if name.partition(".")[0] == "safetensors"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Without(), *sys.meta_path])
    words = r"needs the Python package 'safetensors', which is not installed here. Install it into .* computes\.$"
    with pytest.raises(WeightsError, match=words):
        load_weights(network(), path)


class _Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "safetensors":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def test_the_demo_bundle_with_safetensors_gives_the_same_heatmap_bit_for_bit(tmp_path, export_nifti):
    converted = tmp_path / "bundle"
    shutil.copytree(DEMO_BUNDLE, converted)
    as_safetensors(converted / "models", torch.load(converted / "models" / "model.pt", weights_only=True))
    (converted / "models" / "model.pt").unlink()
    assert not read_bundle(converted).code.programs and not read_bundle(converted).code.scripts
    volume, maps = export_nifti(DEMO_VOLUME), []
    for name, folder in (("pickled", DEMO_BUNDLE), ("safetensors", converted)):
        (tmp_path / name).mkdir()
        result = explain(request((volume,), str(folder), str(tmp_path / name), trust=True))
        maps.append((np.load(result.heatmap.path), result.prediction.probabilities))
    assert maps[0][0].any() and maps[0][0].tobytes() == maps[1][0].tobytes()
    assert maps[0][1] == maps[1][1]
