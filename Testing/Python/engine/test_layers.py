"""Layers as maps: tokens, channels last, several outputs; their stride, receptive field and the stages they make."""

import pytest
import torch
from monai.networks.nets import ResNet, SegResNetDS, SwinUNETR, UNet, ViT, resnet18
from torch import nn

from CAMOverlayLib.contract.errors import LayerError
from CAMOverlayLib.engine.network.feature_maps import FeatureMapLayout, find_layout, token_grid
from CAMOverlayLib.engine.network.forward import INPUT, first_tensor, forward_to_layers
from CAMOverlayLib.engine.network.layers import list_layers


@pytest.mark.parametrize(
    ("tokens", "size", "found"),
    [
        (216, (96, 96, 96), ((6, 6, 6), 0)),
        (217, (96, 96, 96), ((6, 6, 6), 1)),
        (12, (32, 48, 32), ((2, 3, 2), 0)),
        (37, (96, 96), ((6, 6), 1)),
        (30, (32, 48, 80), ((2, 3, 5), 0)),
        (36, (96, 96, 64), ((3, 3, 4), 0)),  # patches of 32×32×16
        (1, (96, 96, 96), None),
        (11, (96, 96, 96), None),
    ],
)
def test_tokens_are_a_grid(tokens, size, found):
    assert token_grid(tokens, size) == found


def test_views_move_axes_and_nothing_else():
    places = torch.arange(24.0).view(2, 3, 4)
    tokens = torch.cat([torch.full((1, 1, 5), -1.0), places.flatten()[None, :, None].expand(1, 24, 5)], 1)
    image = torch.zeros(1, 1, 32, 48, 64)
    view = find_layout(nn.LayerNorm(5), tokens, image)
    assert view == FeatureMapLayout(layout="tokens", grid=(2, 3, 4), skip=1)
    assert torch.equal(view.to_map(tokens)[0, 3], places)
    last = torch.randn(1, 16, 24, 32, 7)
    view = find_layout(nn.LayerNorm(7), last, image)
    assert view.layout == "channels last" and torch.equal(view.to_map(last)[0, 2], last[0, ..., 2])
    first = torch.randn(1, 7, 16, 24, 32)
    assert find_layout(nn.Conv3d(1, 7, 1), first, image) == FeatureMapLayout()
    assert find_layout(nn.Identity(), torch.randn(8, 27, 5), image) is None  # windows folded into the batch
    assert find_layout(nn.Identity(), torch.randn(1, 7, 1, 1, 1), image) is None


def test_the_coarsest_of_several_maps_is_taken_and_only_it_replaced():
    fine, coarse, other = torch.randn(1, 2, 8, 8, 8), torch.randn(1, 4, 4, 4, 4), torch.randn(1, 3)
    image = torch.zeros(1, 1, 16, 16, 16)
    for output, path in (((fine, coarse), (1,)), ([fine, [coarse, other]], (1, 0)), ({"a": fine, "b": coarse}, ("b",))):
        view = find_layout(nn.Identity(), output, image)
        assert view.path == path and view.pick(output) is coarse
        new = view.put(output, coarse * 2)
        assert type(new) is type(output) and torch.equal(view.pick(new), coarse * 2)
        assert first_tensor(new) is fine


def test_gradients_of_tokens_lie_where_the_image_decides():
    """A transformer whose class token attends to everything: what one patch adds is at that patch."""
    torch.manual_seed(0)
    net = ViT(
        1, (32, 48, 32), 16, 48, 64, num_layers=2, num_heads=3, classification=True, num_classes=3, post_activation=None
    )
    image = torch.randn(1, 1, 32, 48, 32)
    forward = forward_to_layers(net, image, ["blocks.0.norm1", "patch_embedding"])
    for name in forward.tensors:
        activation = forward.activations[name]
        assert activation.shape == (1, 48, 2, 3, 2)
        assert forward.gradients(forward.output[0, 1])[name].shape == activation.shape
    moved = image.clone()
    moved[..., :16, 32:, 16:] += 1
    with torch.no_grad():
        changed = forward_to_layers(net, moved, ["patch_embedding"]).activations["patch_embedding"]
    difference = (changed - forward.activations["patch_embedding"]).abs().sum(1)[0]
    assert [tuple(i) for i in difference.nonzero().tolist()] == [(0, 2, 1)]


def test_the_last_block_of_a_transformer_with_a_class_token_has_no_say():
    net = ViT(1, (32, 48, 32), 16, 48, 64, num_layers=2, num_heads=3, classification=True, num_classes=3).eval()
    image = torch.randn(1, 1, 32, 48, 32)
    assert list_layers(net, image).default == "blocks.1.norm1"
    last = forward_to_layers(net, image, ["blocks.1"])
    assert not last.gradients(last.output[0, 0])["blocks.1"].any()


def test_swin_layers_are_maps_whatever_they_are_kept_as():
    net = SwinUNETR(1, 3, feature_size=12, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 2)).eval()
    table = list_layers(net, torch.randn(1, 1, 64, 64, 32))
    layouts = {layer.layout for layer in table.layers}
    assert layouts == {"channels first", "channels last", "tokens"}  # tokens: a window that is the whole grid
    for name, layout, shape in (
        ("swinViT.layers1.0.blocks.0", "channels last", (12, 32, 32, 16)),
        ("swinViT.layers1.0.blocks.0.norm1", "channels last", (12, 32, 32, 16)),
        ("swinViT.layers1.0.blocks.0.mlp.fn", "channels last", (48, 32, 32, 16)),
        ("swinViT.layers1.0", "channels first", (24, 16, 16, 8)),
        ("encoder4", "channels first", (48, 8, 8, 4)),
    ):
        assert (table.find(name).layout, table.find(name).shape) == (layout, shape), name
    # Where the shapes fit both ways (48 channels on 32×32×32 of 64³), what shows no sign of its own is not offered.
    net = SwinUNETR(1, 3, feature_size=12, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 2)).eval()
    names = [layer.name for layer in list_layers(net, torch.randn(1, 1, 64, 64, 64)).layers]
    assert "swinViT.layers1.0.blocks.0.mlp.linear1" in names and "swinViT.layers1.0.blocks.0.mlp.fn" not in names


def test_several_outputs_can_be_explained():
    net = SegResNetDS(spatial_dims=3, init_filters=8, in_channels=1, out_channels=2, dsdepth=2)
    forward = forward_to_layers(net, torch.randn(1, 1, 32, 48, 32), ["encoder"])
    assert forward.activations["encoder"].shape == (1, 64, 4, 6, 4)
    assert forward.gradients(forward.output[0, 1].sum())["encoder"].any()


def test_the_input_stands_among_the_layers():
    """Also before a network that overwrites what it is given; the caller's image is neither changed nor marked."""
    net = torch.nn.Sequential(
        torch.nn.ReLU(inplace=True), torch.nn.Conv3d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(128, 2)
    )
    image = torch.randn(1, 1, 6, 6, 6)
    before = image.clone()
    forward = forward_to_layers(net, image, [INPUT, "1"])
    gradients = forward.gradients(forward.output[0, 1])
    assert torch.equal(image, before) and not image.requires_grad
    assert torch.equal(forward.activations[INPUT], image) and forward.activations["1"].shape == (1, 2, 4, 4, 4)
    (expected,) = torch.autograd.grad(net(before.requires_grad_().clone())[0, 1], before)
    torch.testing.assert_close(gradients[INPUT], expected)


def test_a_layer_that_is_no_map_says_so():
    net = resnet18(spatial_dims=3, n_input_channels=1, num_classes=3)
    with pytest.raises(LayerError, match=r"'fc' returns a Tensor of shape \(1, 3\), which is not a map"):
        forward_to_layers(net, torch.randn(1, 1, 32, 32, 32), ["fc"])


def test_stride_and_stages():
    net = resnet18(spatial_dims=3, n_input_channels=1, num_classes=3).eval()
    table = list_layers(net, torch.randn(1, 1, 48, 40, 32))
    assert [layer.name for layer in table.stages] == ["act", "layer1", "layer2", "layer3", "layer4"]
    assert table.find("layer2").stride == (4, 4, 4) and table.find("layer4").stride == (16, 40 / 3, 16)
    assert [layer.name for layer in table.stages_to(table.find("layer2"))] == ["act", "layer1", "layer2"]


@pytest.mark.parametrize("name", ["act", "layer1", "layer2.0"])
def test_the_receptive_field_is_where_the_gradient_reaches(name):
    net = ResNet("basic", [2, 2, 2, 2], [8, 8, 16, 16], n_input_channels=1, num_classes=3, shortcut_type="A").eval()
    reach(net, name, (72, 64, 80), normalise=nn.BatchNorm3d)


@pytest.mark.parametrize("name", ["model.0", "model.1.submodule.1", "model.2"])
def test_the_receptive_field_of_a_network_that_goes_up_again(name):
    net = UNet(spatial_dims=3, in_channels=1, out_channels=2, channels=(4, 8, 8), strides=(2, 2), norm="batch").eval()
    reach(net, name, (64, 64, 64), normalise=nn.BatchNorm3d, at_most=True)


def reach(net, name, size, normalise, at_most=False):
    """Against what the gradient of one activation in the middle says. Going up, where an activation lies between the
    coarse ones decides how much of the field it uses."""
    for module in net.modules():
        if isinstance(module, (nn.ReLU, nn.PReLU)):
            module.register_forward_hook(lambda m, i, o: i[0])  # nothing cut off by chance
    image = torch.randn(1, 1, *size)
    layer = list_layers(net, image).find(name)
    seen = {}
    net.get_submodule(name).register_forward_hook(lambda m, i, o: seen.update(output=o))
    net(image.requires_grad_())
    middle = tuple(n // 2 for n in layer.spatial_shape)
    (gradient,) = torch.autograd.grad(seen["output"][(0, slice(None), *middle)].sum(), image)
    places = gradient[0, 0].nonzero()
    found = (places.amax(0) - places.amin(0) + 1).tolist()
    if at_most:
        assert all(f <= r <= f + 4 * s * 4 for f, r, s in zip(found, layer.receptive_field, layer.stride)), found
    else:
        assert tuple(found) == layer.receptive_field


def test_tokens_with_their_channels_first_are_a_map_too():
    """As a convolution flattened over space leaves them: 1×C×N."""

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Sequential(torch.nn.Conv3d(1, 12, 8, 8), torch.nn.Flatten(2))
            self.mix = torch.nn.Sequential(torch.nn.Conv1d(12, 12, 1), torch.nn.GELU())
            self.head = torch.nn.Linear(12, 2)

        def forward(self, x):
            return self.head(self.mix(self.embed(x)).amax(-1))

    torch.manual_seed(0)
    network, image = Flat().eval(), torch.randn(1, 1, 32, 24, 40)
    table = list_layers(network, image)
    assert table.default == "mix" and table.find("mix").layout == "tokens last"
    assert table.find("mix").shape == (12, 4, 3, 5)
    forward = forward_to_layers(network, image, ["mix"])
    assert torch.equal(forward.activations["mix"].flatten(2), forward.tensors["mix"])
