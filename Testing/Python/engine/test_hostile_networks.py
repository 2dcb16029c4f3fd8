"""Networks that switch gradients off, answer with NaN, fail inside, or have layers that lead nowhere."""

import numpy as np
import pytest
import torch
from support import snapshot
from torch import nn

from CAMOverlayLib.contract.errors import LayerError, NetworkError, TargetError
from CAMOverlayLib.engine.bundle.model import is_regression
from CAMOverlayLib.engine.methods import METHODS, Case
from CAMOverlayLib.engine.network.forward import forward_to_layers
from CAMOverlayLib.engine.network.layers import list_layers
from CAMOverlayLib.engine.target.objective import build_objective
from CAMOverlayLib.engine.target.parse import choose_target, parse_target
from CAMOverlayLib.engine.target.prediction import predict


class Plain(nn.Module):
    """A small classifier; the ways of forward below differ in what they do to gradients only."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv3d(1, 4, 4, 4), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3, 4)))


class NoGrad(Plain):
    forward = torch.no_grad()(Plain.forward)


class Inference(Plain):
    forward = torch.inference_mode()(Plain.forward)


class Switched(Plain):
    def forward(self, x):
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        try:
            return super().forward(x)
        finally:
            torch.set_grad_enabled(before)


class Inner(Plain):
    def __init__(self):
        super().__init__()
        self.head.forward = torch.no_grad()(self.head.forward)


IMAGE = torch.linspace(-1, 1, 16**3).view(1, 1, 16, 16, 16)


def gradient(network, layer="features"):
    forward = forward_to_layers(network, IMAGE, (layer,))
    return forward.gradients(forward.output[0, 1])[layer]


@pytest.mark.parametrize("kind", [NoGrad, Inference, Switched, Inner])
def test_gradients_switched_off_by_the_network_are_the_same_as_without(kind):
    network = kind().eval()
    before = snapshot(network)
    torch.testing.assert_close(gradient(network), gradient(Plain().eval()))
    assert all(torch.equal(a, b) for a, b in zip(before[0].values(), snapshot(network)[0].values()))
    assert before[1:] == snapshot(network)[1:] and torch.is_grad_enabled()
    assert not network(IMAGE).requires_grad or kind is Inner  # the network itself is as it was


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_switched_off_by_the_caller(off):
    network = Plain().eval()

    def heat():
        forward = forward_to_layers(network, IMAGE, ("features",))
        prediction = predict(forward.output, (), False)
        objective = build_objective(forward.output, 1, prediction)
        return METHODS["hirescam"].compute(Case(network, IMAGE, forward, ("features",), prediction, objective))

    expected = heat()
    with off():
        found = heat()
    assert expected.any()
    torch.testing.assert_close(found.clone().detach(), expected.detach())


def test_a_detached_layer_is_named():
    class Detached(Plain):
        def forward(self, x):
            return self.head(torch.from_numpy(self.features(x).detach().numpy()).mean((2, 3, 4)))

    with pytest.raises(LayerError, match="'features'.*does not depend on it"):
        gradient(Detached().eval())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_outputs_that_are_no_numbers_are_named(bad):
    network = Plain().eval()
    network.head.bias.data[0] = bad
    with pytest.raises(NetworkError, match="Plain.*NaN or infinite.*weights.*mixed precision"):
        gradient(network)


def test_a_bug_in_the_network_is_told_in_its_own_words():
    class Broken(Plain):
        def forward(self, x):
            return {}["missing"]

    with pytest.raises(
        NetworkError, match=r"Broken failed.*KeyError: 'missing' \(test_hostile_networks.py, line \d+\)"
    ):
        gradient(Broken().eval())


def test_a_level_that_the_answer_does_not_use_is_no_default():
    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine, self.coarse = nn.Conv3d(1, 4, 4, 4), nn.Conv3d(4, 4, 2, 2)
            self.head = nn.ConvTranspose3d(4, 2, 4, 4)

        def forward(self, x):
            fine = self.fine(x)
            self.coarse(fine)
            return self.head(fine)

    assert list_layers(Pyramid().eval(), IMAGE).default == "fine"
    with pytest.raises(LayerError, match="'coarse'"):
        gradient_of_map = forward_to_layers(Pyramid().eval(), IMAGE, ("coarse",))
        gradient_of_map.gradients(gradient_of_map.output.sum())


@pytest.mark.parametrize("wanted", [True, np.bool_(True), 1.5, float("nan"), "--5", "---5", "9" * 5000, -1, "-1"])
def test_what_is_no_class(wanted):
    prediction = predict(torch.tensor([[1.0, 2.0, 0.0]]), ("a", "b", "c"), False)
    with pytest.raises(TargetError):
        choose_target(wanted, prediction)


@pytest.mark.parametrize("wanted", [1, np.int64(1), np.float32(1), "1", "B", " b "])
def test_what_is_a_class(wanted):
    assert choose_target(wanted, predict(torch.tensor([[1.0, 2.0, 0.0]]), ("a", "b", "c"), False)) == 1


@pytest.mark.parametrize("place", ["ras=nan,0,0", "ras=inf,0,0", "ras=1e400,0,0", "voxel=1.5,2,3"])
def test_what_is_no_place(place):
    with pytest.raises(TargetError, match="is not a place"):
        parse_target(f"a@{place}", predict(torch.tensor([[1.0, 2.0]]), ("a", "b"), False))


def test_only_the_first_output_says_what_a_network_is():
    outputs = {"nuclei": {"type": "probability"}, "distances": {"format": "regression"}}
    assert not is_regression(nn.Identity(), {"network_data_format": {"outputs": outputs}})
    outputs = dict(reversed(outputs.items()))
    assert is_regression(nn.Identity(), {"network_data_format": {"outputs": outputs}})
