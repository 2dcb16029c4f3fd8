import pytest
import torch
from torch import nn

from CAMOverlayLib.contract.errors import WeightsError
from CAMOverlayLib.engine.bundle.weights import load_weights


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
