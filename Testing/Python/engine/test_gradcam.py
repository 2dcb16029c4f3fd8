"""Grad-CAM's values against MONAI's own, and the network left as it was found."""

import pytest
import torch
from monai.networks.nets import DenseNet121, EfficientNetBN, SEResNet50, UNet, resnet18
from monai.visualize import GradCAM
from support import FEW, snapshot
from torch import nn

from CAMOverlayLib.contract.errors import LayerError, MethodError, NetworkError
from CAMOverlayLib.engine.methods import METHODS, find_method
from CAMOverlayLib.engine.network.forward import forward_to_layers, frozen
from CAMOverlayLib.engine.network.layers import list_layers


def densenet():
    return DenseNet121(spatial_dims=3, in_channels=1, out_channels=3)


def resnet():
    return resnet18(spatial_dims=3, n_input_channels=1, num_classes=3)


def seresnet():
    return SEResNet50(spatial_dims=2, in_channels=3, num_classes=2)


NETWORKS = {
    "DenseNet121": (densenet, "class_layers.relu", (1, 1, 64, 64, 64)),
    "ResNet18": (resnet, "layer4", (1, 1, 64, 64, 64)),
    "SEResNet50 2-D": (seresnet, "layer4", (1, 3, 96, 96)),
    "EfficientNet-B0": (
        lambda: EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=3, in_channels=1, num_classes=4),
        "_bn1",
        (1, 1, 64, 64, 64),
    ),
}


def made(make):
    torch.manual_seed(0)
    return make().eval()


@pytest.mark.parametrize("name", FEW(NETWORKS, "ResNet18", "EfficientNet-B0"))
def test_equal_to_monai(name):
    make, layer, shape = NETWORKS[name]
    image = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    forward = forward_to_layers(made(make), image, [layer])
    monai = GradCAM(made(make), layer)
    with_evidence = 0
    for index in (0, 1):
        gradient = forward.gradients(forward.output[0, index])[layer]
        found = find_method("gradcam").weigh(forward.activations[layer].detach(), gradient)
        expected = monai.compute_map(image, class_idx=index)[0, 0].detach()
        with_evidence += bool(expected.max() > 0)
        assert found.shape == expected.shape and (found >= 0).all()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.max()))
    assert with_evidence, "both maps are empty, so nothing was compared"


def test_the_network_is_left_as_it_was_found():
    network = made(densenet)
    network.train()
    first = next(network.parameters())
    first.requires_grad_(False)
    first.grad = torch.ones_like(first)
    next(m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)).eval()
    before = snapshot(network)

    image = torch.randn(1, 1, 64, 64, 64)
    list_layers(network, image)
    forward = forward_to_layers(network, image, ["features.denseblock2", "class_layers.relu"])
    forward.gradients(forward.output[0, 0])

    after = snapshot(network)
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert [(n, r) for n, r, _ in before[1]] == [(n, r) for n, r, _ in after[1]]
    assert all(a is b for (_, _, a), (_, _, b) in zip(before[1], after[1]))
    assert before[2] == after[2]


def test_it_is_left_so_when_the_pass_fails_too():
    network = made(resnet).train()
    before = snapshot(network)
    with pytest.raises(NetworkError, match="failed on an input of shape"):
        forward_to_layers(network, torch.randn(1, 7, 32, 32, 32), ["layer4"])
    assert before[1:] == snapshot(network)[1:]


def test_only_the_part_above_the_layer_is_in_the_graph():
    network, image = made(resnet), torch.randn(1, 1, 48, 48, 48)
    forward = forward_to_layers(network, image, ["layer4"])
    reached, todo = set(), [forward.output.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in reached:
            reached.add(node)
            todo += [n for n, _ in node.next_functions]
    kinds = {type(n).__name__ for n in reached}
    assert not any("Conv" in kind for kind in kinds), kinds
    leaves = [n.variable for n in reached if hasattr(n, "variable")]
    assert len(leaves) == 1 and leaves[0] is forward.activations["layer4"]


def test_the_prediction_is_that_of_a_plain_forward_pass():
    network, image = made(resnet), torch.randn(1, 1, 48, 48, 48)
    with torch.no_grad():
        expected = network(image)
    torch.testing.assert_close(forward_to_layers(network, image, ["layer4"]).output.detach(), expected)


def test_several_layers_and_classes_come_from_one_pass():
    network, image = made(resnet), torch.randn(1, 1, 48, 48, 48)
    names = ["layer4", "layer2", "layer3"]  # in any order
    passes = []
    handle = network.conv1.register_forward_hook(lambda *_: passes.append(1))
    together = forward_to_layers(network, image, names)
    handle.remove()
    assert len(passes) == 1 and list(together.activations) == names
    for index in (0, 2):
        found = together.gradients(together.output[0, index])
        for name in names:
            alone = forward_to_layers(network, image, [name])
            torch.testing.assert_close(together.activations[name], alone.activations[name])
            expected = alone.gradients(alone.output[0, index])[name]
            torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-7)


class UsedTwice(nn.Module):
    """One module that runs twice: what counts is its last run."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 2, 3, padding=1)
        self.unused = nn.Conv3d(2, 2, 1)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        return self.head(self.conv(self.conv(x)).mean((2, 3, 4)))


def test_a_module_that_runs_twice_counts_with_its_last_run():
    network, image = made(UsedTwice), torch.randn(1, 2, 5, 5, 5)
    with torch.no_grad():
        expected = network.conv(network.conv(image))
    torch.testing.assert_close(forward_to_layers(network, image, ["conv"]).activations["conv"].detach(), expected)
    with pytest.raises(LayerError, match="'unused' did not run"):
        forward_to_layers(network, image, ["unused"])


DEFAULTS = {
    "DenseNet121": ("class_layers.relu", (1024, 2, 2, 2)),
    "ResNet18": ("layer4", (512, 4, 4, 4)),
    "SEResNet50 2-D": ("layer4", (2048, 3, 3)),
    "EfficientNet-B0": ("_swish", (1280, 2, 2, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_default_layer_is_the_last_map_before_the_classifier(name):
    make, _, shape = NETWORKS[name]
    table = list_layers(made(make), torch.randn(shape))
    assert (table.default, table.find(None).shape) == DEFAULTS[name]


def test_a_segmentation_network_is_explained_at_its_coarsest_level():
    network = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8, 16), strides=(2, 2))
    layer = list_layers(network, torch.randn(1, 1, 32, 32, 32)).find(None)
    assert layer.spatial_shape == (8, 8, 8)


def test_an_unknown_layer_is_answered_with_the_nearest_names():
    table = list_layers(made(resnet), torch.randn(1, 1, 48, 48, 48))
    with pytest.raises(LayerError, match="no layer 'layer9'.*layer[1-4].*default is layer4"):
        table.find("layer9")


def test_a_network_without_extent_says_so():
    with pytest.raises(LayerError, match="nothing that a heatmap could be made of"):
        list_layers(nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(1, 2)), torch.randn(1, 1, 8, 8, 8))


def test_methods_are_found_however_they_are_written():
    assert {find_method(n).name for n in ("gradcam", "Grad-CAM", "grad_cam")} == {"gradcam"}
    assert all("http" in m.info.paper for m in METHODS.values())
    with pytest.raises(MethodError, match="no method 'gradcamm'.*Did you mean 'gradcam'"):
        find_method("gradcamm")


def test_frozen_nests():
    network = made(resnet).train()
    with frozen(network), frozen(network):
        assert not network.training
    assert network.training and all(p.requires_grad for p in network.parameters())
