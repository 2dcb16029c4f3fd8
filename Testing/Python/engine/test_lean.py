"""A backward pass for which less was kept: the same gradients to the bit, and autograd's own errors."""

import copy
import gc
import weakref

import pytest
import torch
from monai.networks.nets import SegResNet, SwinUNETR, UNet
from torch import nn
from torch.utils.checkpoint import checkpoint

from CAMOverlayLib.engine.network import forward as forward_pass
from CAMOverlayLib.engine.network.forward import INPUT, forward_to_layers, frozen
from CAMOverlayLib.engine.network.lean import lean, measured


def gradient(network, image, thrifty: bool, layer=INPUT):
    with pytest.MonkeyPatch.context() as patch:
        if not thrifty:
            patch.setattr(forward_pass, "lean", lambda network: torch.enable_grad())
        with measured(network) as size:
            forward_to_layers(network, image.clone(), [layer])
        found = forward_to_layers(network, image.clone(), [layer])
    score = (found.output * torch.linspace(-1, 1, found.output.numel()).view(found.output.shape)).sum()
    first = found.gradients(score)[layer]
    assert torch.equal(found.gradients(score)[layer], first), "the graph is kept for a second time"
    return found.output.detach(), first, size[0]


def seeded(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return network.eval()


class Subclass(nn.Conv3d):
    """A convolution whose gradient depends on its input."""

    def forward(self, x):
        return super().forward(x) * x.mean()


class Checkpointed(nn.Module):
    """A network that computes parts of itself again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, 2, 1)
        self.body = nn.Sequential(nn.Conv3d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 4, 3, padding=1))

    def forward(self, x):
        return self.last(checkpoint(self.body, self.first(x), use_reentrant=False))


NETWORKS = {
    "SegResNet": lambda: SegResNet(3, 8, 1, 2),
    "UNet, PReLU": lambda: UNet(3, 1, 2, (4, 8, 16), (2, 2), num_res_units=1),
    "LeakyReLU in place": lambda: nn.Sequential(
        nn.Conv3d(1, 4, 3),
        nn.InstanceNorm3d(4),
        nn.LeakyReLU(0.01, inplace=True),
        nn.ConvTranspose3d(4, 2, 3, stride=2),
    ),
    "ReLU in place": lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv3d(4, 2, 3)),
    "no slope": lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.LeakyReLU(0.0), nn.Conv3d(4, 2, 3)),
    "groups, strides, dilation": lambda: nn.Sequential(
        nn.Conv3d(1, 4, 3, stride=2), nn.Conv3d(4, 4, 3, groups=4, dilation=2), nn.ReLU(), nn.Conv3d(4, 2, 1)
    ),
    "another padding": lambda: nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.Conv3d(4, 2, 1)
    ),
    "a type of its own": lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), Subclass(4, 2, 1)),
    "weight norm": lambda: nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv3d(1, 4, 3)), nn.ReLU(), nn.Conv3d(4, 2, 1)
    ),
    "checkpoints": lambda: Checkpointed(),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_the_same_to_the_bit(name):
    network = seeded(NETWORKS[name]())
    image = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    usual, thrifty = gradient(network, image, False), gradient(network, image, True)
    assert torch.equal(usual[0], thrifty[0]) and torch.equal(usual[1], thrifty[1])
    assert thrifty[1].abs().max() > 0
    assert thrifty[2] <= usual[2]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.slow
def test_a_transformer_that_checkpoints_itself():
    network = seeded(SwinUNETR(1, 2, feature_size=12, use_checkpoint=True))
    image = torch.randn(1, 1, 64, 64, 64, generator=torch.Generator().manual_seed(1))
    usual, thrifty = gradient(network, image, False), gradient(network, image, True)
    assert torch.equal(usual[0], thrifty[0]) and torch.equal(usual[1], thrifty[1])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_layouts_and_kinds(layout, kind):
    network = seeded(nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, 3), nn.LeakyReLU(0.1)))
    network = network.to(kind).to(memory_format=layout)
    image = torch.randn(1, 2, 20, 20, 20, generator=torch.Generator().manual_seed(1)).to(kind)
    image = image.contiguous(memory_format=layout)
    usual, thrifty = gradient(network, image, False), gradient(network, image, True)
    assert torch.equal(usual[1], thrifty[1]) and thrifty[1].dtype == kind


def test_mixed_precision():
    network = seeded(SegResNet(3, 8, 1, 2))
    image = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        usual, thrifty = gradient(network, image, False), gradient(network, image, True)
    assert torch.equal(usual[1], thrifty[1])


def test_how_much_is_left_out():
    network = seeded(SegResNet(3, 8, 1, 2))
    image = torch.randn(1, 1, 32, 32, 32)
    usual, thrifty = gradient(network, image, False)[2], gradient(network, image, True)[2]
    assert thrifty < 0.7 * usual


def test_what_is_left_out_is_really_gone():
    """A count says what was meant to be kept; this says what lives."""
    network = seeded(
        nn.Sequential(nn.Conv3d(1, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(inplace=True), nn.Conv3d(8, 8, 3), nn.PReLU())
    )
    seen = {}
    handles = [
        network[number].register_forward_pre_hook(
            lambda module, inputs, number=number: seen.update({number: weakref.ref(inputs[0].untyped_storage())})
        )
        for number in (1, 3, 4)
    ]
    found = forward_to_layers(network, torch.randn(1, 1, 16, 16, 16), [INPUT])
    for handle in handles:
        handle.remove()
    gc.collect()
    assert seen[1]() is not None, "group normalisation needs its input"
    assert seen[3]() is None and seen[4]() is None
    assert found.gradients(found.output.sum())[INPUT].abs().max() > 0


def test_weights_that_change_before_the_backward_pass_are_an_error():
    network = seeded(nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 2, 3)))
    found = forward_to_layers(network, torch.randn(1, 1, 12, 12, 12), [INPUT])
    with torch.no_grad():
        network[2].weight.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        found.gradients(found.output.sum())


def test_weights_that_learn_get_their_gradients():
    """Only what is frozen is left out: the same block around a network that learns changes nothing."""
    network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, 2, 3))
    other, image = copy.deepcopy(network), torch.randn(1, 1, 12, 12, 12)
    with lean(network):
        network(image).square().sum().backward()
    other(image).square().sum().backward()
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.grad, two.grad)


def test_a_network_that_fails_leaves_nothing_behind():
    class Failing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(1, 2, 3)

        def forward(self, x):
            return self.conv(x[:, :, 0, 0])

    network = Failing().eval()
    with frozen(network), pytest.raises(RuntimeError), lean(network):
        network(torch.zeros(1, 1, 4, 4, 4, requires_grad=True))
    assert torch._C._autograd._top_saved_tensors_default_hooks(True) is None
    assert not network.conv._forward_hooks
