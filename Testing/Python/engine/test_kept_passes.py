"""Forward passes of windows that are kept from the prediction to the map: the same map, and fewer passes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import SegResNet, UNet
from support import request
from torch import nn

from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.engine import inference
from CAMOverlayLib.engine.cache import Cache
from CAMOverlayLib.engine.inference import SlidingWindowInference
from CAMOverlayLib.engine.methods import find_method
from CAMOverlayLib.engine.network import kept_passes
from CAMOverlayLib.engine.network.forward import INPUT
from CAMOverlayLib.engine.network.kept_passes import KeptPasses, says_something
from CAMOverlayLib.engine.pipeline import explain
from CAMOverlayLib.engine.target.objective import build_objective
from CAMOverlayLib.engine.target.prediction import predict

CALM = lambda *a: None


class Counting(nn.Module):
    """A network that counts how often it runs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.runs = network, 0

    def forward(self, x):
        self.runs += len(x)
        return self.network(x)


def unet() -> Counting:
    torch.manual_seed(3)
    network = UNet(3, 1, 3, channels=(4, 8, 16), strides=(2, 2), num_res_units=1, norm="batch")
    return Counting(network).eval()


def segresnet() -> Counting:
    torch.manual_seed(3)
    return Counting(SegResNet(3, 8, 1, 3)).eval()


class Overwriting(nn.Module):
    """Its layers write into what the layers before them made."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv3d(4, 3, 1))

    def forward(self, x):
        return self.layers(x).mul_(2.0)


NETWORKS = {
    "unet": (unet, "network.model.1.submodule.0"),
    "segresnet": (segresnet, "network.down_layers.1"),
    "overwriting": (lambda: Counting(Overwriting()).eval(), "network.layers.1"),
}
IMAGE = torch.randn(1, 1, 40, 36, 24, generator=torch.Generator().manual_seed(5))


def explained(network, layer, method="gradcam", room=None, target=1, batch=1, windows=None):
    """Answer, map, and the inference: with as much room as said."""
    inferer = SlidingWindowInferer((16, 16, 16), sw_batch_size=batch, overlap=0.25, mode="gaussian")
    if windows is None:
        windows = SlidingWindowInference(network, IMAGE.clone(), inferer, keep=room != 0)
    with pytest.MonkeyPatch.context() as patch:
        if room is not None:
            patch.setattr(inference, "room_for_passes", lambda device: room)
        layers = (INPUT, layer) if method == "refined" else (layer,)
        output = windows.predict(layers, CALM)
    prediction = predict(output, (), False)
    objective = build_objective(output, target, prediction)
    return output, windows.attribute(find_method(method), layers, prediction, objective, CALM).values, windows


@pytest.mark.some(9)
@pytest.mark.parametrize("method", ["gradcam", "gradcampp", "hirescam", "layercam", "eigencam", "refined"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_map_is_to_the_bit_what_it_was(name, method):
    make, layer = NETWORKS[name]
    without, with_all = explained(make(), layer, method, room=0), explained(make(), layer, method)
    few = explained(make(), layer, method, room=3.5 * with_all[2]._passes._size)
    assert len(with_all[2]._passes) > 3 and len(few[2]._passes) == 3 and len(without[2]._passes) == 0
    for found in (with_all, few):
        assert torch.equal(found[0], without[0]) and torch.equal(found[1], without[1])
    assert without[1].max() > 0


def test_windows_of_a_batch_are_run_alone_and_say_the_same():
    make, layer = NETWORKS["unet"]
    (one, heat, _), (other, expected, _) = explained(make(), layer, batch=4), explained(make(), layer, room=0, batch=4)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6 * float(other.abs().max()))
    torch.testing.assert_close(heat, expected, rtol=0, atol=1e-5 * float(expected.max()))


def test_a_window_is_run_once_for_the_prediction_its_map_and_the_map_of_another_class():
    make, layer = NETWORKS["unet"]
    network = make()
    _, _, windows = explained(network, layer)
    first = network.runs
    assert first <= windows.count + 1  # but for one that says nothing but background
    _, second, _ = explained(network, layer, target=2, windows=windows)
    assert network.runs <= first + 2
    assert torch.equal(second, explained(make(), layer, room=0, target=2)[1])


def test_a_pass_counts_with_the_bytes_that_it_holds():
    """The signs behind the ReLU; and the window, the layer's activations and the answer as they are."""
    network = nn.Sequential(nn.Conv3d(1, 2, 1), nn.Conv3d(2, 3, 1), nn.ReLU(), nn.Conv3d(3, 1, 1)).eval()
    passes = KeptPasses(network, ("0",), 1e9)
    passes.answer(torch.rand(1, 1, 10, 10, 10))
    assert passes._size == 1000 * (3 + 4 * (1 + 2 + 1))
    network[2] = nn.Sigmoid()
    passes = KeptPasses(network, ("0",), 1e9)
    passes.answer(torch.rand(1, 1, 10, 10, 10))
    assert passes._size == 1000 * (4 * 3 + 4 * (1 + 2 + 1))


def test_background_alone_is_not_kept():
    assert not says_something(torch.tensor([[1.0, 0.0], [0.5, -1.0]]).T[None, :, :, None, None])
    assert says_something(torch.tensor([[1.0, 0.0], [0.0, 0.5]]).T[None, :, :, None, None])
    assert says_something(torch.full((1, 1, 2, 2, 2), 0.1)) and not says_something(torch.full((1, 1, 2, 2, 2), -0.1))


def test_another_window_than_the_one_that_was_run_is_not_found():
    """An inferer may bring its windows in another order the second time."""
    network = unet()
    passes = KeptPasses(network, ("network.model.1.submodule.0",), 1e9)
    windows = torch.randn(3, 1, 16, 16, 16)
    passes.answer(windows)
    passes._passes or pytest.fail("nothing was kept")
    number = next(iter(passes._passes))
    layers = ("network.model.1.submodule.0",)
    assert passes.find(number, windows[number][None], layers) is not None
    assert passes.find(number, windows[number][None] + 1e-6, layers) is None
    assert passes.find(number, windows[number][None], ("network.model.0",)) is None
    assert passes.find(99, windows[number][None], layers) is None


def test_where_memory_ends_nothing_is_kept_and_the_answer_is_the_same(monkeypatch):
    make, layer = NETWORKS["unet"]
    expected = explained(make(), layer, room=0)
    real, calls = kept_passes.forward_to_layers, []

    def short(*values):
        calls.append(1)
        if len(calls) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*values)

    monkeypatch.setattr(kept_passes, "forward_to_layers", short)
    output, heat, windows = explained(make(), layer)
    assert len(windows._passes) == 0 and len(calls) == 4
    assert torch.equal(output, expected[0]) and torch.equal(heat, expected[1])


def test_checks_that_change_the_weights_leave_the_kept_passes_as_they_were(sliding_bundle, export, tmp_path):
    """All checks of the trust card, then another class in the same process: as in a process that never checked."""
    array = np.random.default_rng(0).integers(0, 300, (40, 30, 20)).astype(np.int16)

    def run(folder, cache, target, checks):
        (tmp_path / folder).mkdir()
        source = str(sliding_bundle)
        asked = request((export(array, np.eye(4)),), source, str(tmp_path / folder), trust=True, target=target)
        found = explain(replace(asked, checks=checks, model=ModelSource(source, trust=True)), cache=cache)
        return np.load(found.heatmap.path)

    cache = Cache()
    run("checked", cache, 1, "full")
    assert np.array_equal(run("second", cache, 0, "none"), run("alone", Cache(), 0, "none"))
