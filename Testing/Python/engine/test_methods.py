"""Every method against a reference implementation on three networks, and each with what is its own."""

import functools

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet, DenseNet121, EfficientNetBN, resnet18
from monai.visualize import GradCAM, GradCAMpp
from support import FEW, snapshot
from torch import nn

from CAMOverlayLib.contract.errors import MethodError
from CAMOverlayLib.engine.methods import METHODS, Case, find_method
from CAMOverlayLib.engine.methods.finercam import STRENGTH, most_similar
from CAMOverlayLib.engine.methods.refined import fuse, input_map, weighed_together
from CAMOverlayLib.engine.network.forward import INPUT, forward_to_layers
from CAMOverlayLib.engine.network.layers import list_layers
from CAMOverlayLib.engine.target.objective import build_objective
from CAMOverlayLib.engine.target.prediction import predict

captum = pytest.importorskip("captum.attr")
torchcam = pytest.importorskip("torchcam.methods")

NETWORKS = {
    "DenseNet121 3-D": (
        lambda: DenseNet121(spatial_dims=3, in_channels=1, out_channels=3),
        "features.denseblock3",
        (1, 1, 48, 32, 48),
    ),
    "ResNet18 3-D": (lambda: resnet18(spatial_dims=3, n_input_channels=2, num_classes=3), "layer3", (1, 2, 32, 48, 32)),
    "EfficientNet-B0 2-D": (
        lambda: EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=2, in_channels=3, num_classes=3),
        "_bn1",
        (1, 3, 128, 96),
    ),
}


@functools.cache
def network(name):
    """The network, its layer and an image. The normalisation has seen data: otherwise activations fade to 1e-13."""
    make, layer, shape = NETWORKS[name]
    torch.manual_seed(1)
    net = make().train()
    with torch.no_grad():
        for _ in range(8):
            net(torch.randn(2, *shape[1:]))
    return net.eval(), layer, torch.randn(shape)


def case_of(net, image, layers, target=None, step=lambda *_: None, names=()):
    forward = forward_to_layers(net, image, layers)
    prediction = predict(forward.output, names, False)
    return Case(
        net, image, forward, tuple(layers), prediction, build_objective(forward.output, target, prediction), step
    )


def ours(method, net, image, layer, target):
    return find_method(method).compute(case_of(net, image, (layer,), target)).detach()


def assert_same(found, expected):
    """Within 1e-4 of the map's largest value; an empty map compares nothing and is counted by the caller."""
    expected = expected.detach().reshape(found.shape)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    return bool(expected.max() > 0)


def by_torchcam(make):
    def reference(net, image, layer, index):
        with make(net, layer) as method:
            (found,) = method(index, net(image), normalized=False)
        return found[0]

    return reference


def by_monai(net, image, layer, index):
    method = GradCAM(net, layer)
    try:
        return method.compute_map(image, class_idx=index)[0, 0]
    finally:
        clear_hooks(net)


def by_captum(net, image, layer, index):
    found = captum.LayerGradCam(net, net.get_submodule(layer)).attribute(image, target=index, relu_attributions=True)
    return found[0, 0]


def captum_product(net, image, layer, index):
    """Activation times gradient, summed over channels, positive part: HiResCAM's definition."""
    found = captum.LayerGradientXActivation(net, net.get_submodule(layer)).attribute(image, target=index)
    return found[0].sum(0).relu()


def clear_hooks(net):
    for module in net.modules():  # MONAI leaves its own
        module._forward_hooks.clear()
        module._backward_hooks.clear()


REFERENCES = {
    "gradcam MONAI": ("gradcam", by_monai),
    "gradcam Captum": ("gradcam", by_captum),
    "gradcam torchcam": ("gradcam", by_torchcam(torchcam.GradCAM)),
    "hirescam Captum": ("hirescam", captum_product),
    "layercam torchcam": ("layercam", by_torchcam(torchcam.LayerCAM)),
    "xgradcam torchcam": ("xgradcam", by_torchcam(torchcam.XGradCAM)),
    "finercam torchcam": (
        "finercam",
        by_torchcam(lambda n, l: torchcam.FinerCAM(n, l, gamma=STRENGTH, num_references=1)),
    ),
}


FASTER = FEW(NETWORKS, *[name for name in NETWORKS if name != "ResNet18 3-D"])


@pytest.mark.parametrize("name", FASTER)
@pytest.mark.parametrize(("method", "reference"), REFERENCES.values(), ids=REFERENCES)
@pytest.mark.some(7)
def test_equal_to_the_reference(name, method, reference):
    net, layer, image = network(name)
    lit = [assert_same(ours(method, net, image, layer, i), reference(net, image, layer, i)) for i in range(3)]
    assert any(lit), "all maps are empty, so nothing was compared"


def paper_grad_cam_pp(net, image, layer, index):
    """Equations 10, 11 and 19 of Chattopadhyay et al., written out place by place in double precision.

    torchcam 0.5 is no reference: its ``alpha[idx][mask].div_(…)`` divides a copy, so its α is g² and not g²/(…).
    Both torchcam and MONAI moreover sum A·g³ over places where equation 19 multiplies the sum of A with g³ at the
    place; the two agree only where the gradient is the same everywhere, as before global average pooling.
    """
    forward = forward_to_layers(net, image, [layer])
    g = forward.gradients(forward.output[0, index])[layer][0].double().numpy()
    a = forward.activations[layer].detach()[0].double().numpy()
    heat = np.zeros(a.shape[1:])
    for channel in range(a.shape[0]):
        total = a[channel].sum()
        weight = 0.0
        for place in np.ndindex(a.shape[1:]):
            gradient = g[channel][place]
            below = 2 * gradient**2 + total * gradient**3
            alpha = gradient**2 / below if below != 0 else 0.0
            weight += alpha * max(0.0, gradient)
        heat += weight * a[channel]
    return torch.from_numpy(np.maximum(heat, 0)).float()


@pytest.mark.parametrize("name", FASTER)
def test_grad_cam_pp_is_the_papers(name):
    net, layer, image = network(name)
    lit = [
        assert_same(ours("gradcampp", net, image, layer, i), paper_grad_cam_pp(net, image, layer, i)) for i in range(3)
    ]
    assert any(lit)


def test_grad_cam_pp_equals_monai_before_global_pooling():
    """There MONAI's α is the paper's. It scales by exp(logit) and adds 1e-7 to a denominator of squared gradients: the
    head is made so that the first is 1 and the second is drowned."""
    net = resnet18(spatial_dims=3, n_input_channels=1, num_classes=3).eval()
    image = torch.randn(1, 1, 32, 48, 32)
    with torch.no_grad():
        net.fc.weight *= 100
        net.fc.bias -= net(image)[0]
    lit = []
    for index in range(3):
        expected = GradCAMpp(net, "layer4").compute_map(image, class_idx=index)[0, 0]
        clear_hooks(net)
        lit.append(assert_same(ours("gradcampp", net, image, "layer4", index), expected))
    assert any(lit)


@pytest.mark.parametrize("name", NETWORKS)
def test_eigen_cam_is_the_first_principal_component(name):
    net, layer, image = network(name)
    a = forward_to_layers(net, image, [layer]).activations[layer].detach()[0]
    _u, s, vh = torch.linalg.svd(a.flatten(1).double(), full_matrices=False)
    expected = (s[0] * vh[0]).reshape(a.shape[1:]).float()
    expected = expected * torch.sign((expected * a.sum(0)).sum())
    assert_same(ours("eigencam", net, image, layer, 1), expected.relu())
    torch.testing.assert_close(ours("eigencam", net, image, layer, 0), ours("eigencam", net, image, layer, 2))


def test_finer_cam_compares_with_the_nearest_class():
    net, layer, image = network("ResNet18 3-D")
    case = case_of(net, image, (layer,), 1)
    with torch.no_grad():
        logits = net(image)[0]
    nearest = min((0, 2), key=lambda i: abs(logits[i] - logits[1]))
    assert most_similar(case) == nearest
    with pytest.raises(MethodError, match="single output"):
        net = resnet18(spatial_dims=3, n_input_channels=2, num_classes=1).eval()
        find_method("finercam").compute(case_of(net, image, ("layer4",), 0))


# Several layers of one pass -------------------------------------------------------------------------------------------


def test_the_refined_map_is_where_all_resolutions_agree():
    coarse, fine = torch.zeros(2, 2, 2), torch.zeros(8, 8, 8)
    coarse[1, 1, 1] = 2.0
    fine[6, 6, 6], fine[1, 1, 1] = 8.0, 80.0  # an edge elsewhere that only the early layer sees
    found = fuse([fine, coarse])
    assert found.shape == (8, 8, 8) and np.unravel_index(int(found.argmax()), found.shape) == (6, 6, 6)
    assert found[1, 1, 1] == 0
    one = fuse([fine * 10, coarse * 10])
    torch.testing.assert_close(one, found * 10)  # a target ten times as strong is ten times as strong
    torch.testing.assert_close(fuse([fine, coarse * 0]), fine)  # a stage without evidence has no say
    assert not fuse([fine * 0, coarse * 0]).any()


def test_the_refined_map_takes_one_forward_pass():
    net, _, image = network("ResNet18 3-D")
    table = list_layers(net, image)
    layers = find_method("refined").layers(table, table.find(None))
    assert layers == (INPUT, "layer1", "layer2", "layer3", "layer4")
    passes = []
    handle = net.conv1.register_forward_hook(lambda *_: passes.append(1))
    case = case_of(net, image, layers, 1)
    found = find_method("refined").compute(case)
    again = find_method("refined").compute(
        Case(**(vars(case) | {"objective": build_objective(case.forward.output, 2, case.prediction)}))
    )
    handle.remove()
    assert len(passes) == 1 and found.shape == case.forward.activations["layer1"].shape[2:]
    assert not torch.allclose(found / found.max(), again / again.max())
    expected = fuse(refined_maps_by_hand(net, image, layers[1:], 1))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(found.max()))


def refined_maps_by_hand(net, image, layers, index):
    """The recipe written out on what torch itself keeps of a pass: the input over blocks of the finest layer, then
    what stands out times its gradient: where that is positive, and at the last two resolutions with its sign, the last
    averaged over seven places where its grid has so many."""
    kept, image = {}, image.clone().requires_grad_()
    hooks = [net.get_submodule(n).register_forward_hook(lambda m, i, o, n=n: kept.update({n: o})) for n in layers]
    gradients = torch.autograd.grad(net(image)[0, index], [image, *(kept[n] for n in layers)])
    for hook in hooks:
        hook.remove()
    activations = [image.detach(), *(kept[n].detach() for n in layers)]
    first, *others = [(a - a.mean((2, 3, 4), keepdim=True), g) for a, g in zip(activations, gradients)]
    finest = others[0][0].shape[2:]
    blocks = (first[0] * first[1]).abs().sum(1)[0]
    for axis, n in enumerate(finest):
        blocks = blocks.unflatten(axis, (n, -1)).mean(axis + 1)
    positive = [n < len(others) - 2 for n in range(len(others))]
    taken = [(a, g.clamp(min=0) if only_positive else g) for only_positive, (a, g) in zip(positive, others)]
    evidence = [(a * g).sum(1)[0] for a, g in taken]
    if min(evidence[-1].shape) >= 7:
        evidence[-1] = torch.from_numpy(uniform_mean(evidence[-1].numpy(), 7))
    return [blocks, *(one.clamp(min=0) for one in evidence)]


def test_the_refined_map_of_a_class_leaves_out_what_speaks_against_it():
    """Channel 0 sees whatever is bright, channel 1 the bright on the left alone; class 0 is the one minus twice the
    other. The left is no evidence for it, though its first channel is lit there."""
    stem, last, head = nn.Conv3d(1, 1, 2, 2, bias=False), nn.Conv3d(1, 2, 2, 2, bias=False), nn.Linear(2, 1, bias=False)
    stem.weight.data.fill_(1 / 8)
    last.weight.data.fill_(1 / 8)
    head.weight.data = torch.tensor([[1.0, -2.0]])

    class LeftOnly(nn.Module):
        def forward(self, x):
            mask = torch.ones_like(x)
            mask[:, 1, x.shape[2] // 2 :] = 0
            return x * mask

    pool = [nn.AdaptiveAvgPool3d(1), nn.Flatten(), head]
    net = nn.Sequential(stem, nn.ReLU(), last, nn.ReLU(), LeftOnly(), nn.ReLU(), *pool).eval()
    image = torch.zeros(1, 1, 16, 8, 8)
    image[..., 2:4, 2:4, 2:4] = image[..., 10:12, 2:4, 2:4] = 1
    method, table = find_method("refined"), list_layers(net, image)
    heat = method.compute(case_of(net, image, method.layers(table, table.find("5")), 0))
    half = heat.shape[0] // 2
    assert float(heat[half:].max()) > 0
    assert float(heat[:half].sum()) < 1e-6 * float(heat.sum())


def test_the_refined_map_weighs_what_speaks_for_a_class_against_what_speaks_against_it_nearby():
    """Before a maximum every channel speaks of one place: here one for the class, a stronger one against it a place
    aside, and a weaker one for it far off. Place by place the first would win."""
    evidence = torch.zeros(12, 11, 10)
    evidence[1, 1, 1], evidence[2, 2, 2], evidence[10, 9, 8] = 3.0, -4.0, 2.0
    found = weighed_together(evidence)
    assert np.unravel_index(int(evidence.argmax()), evidence.shape) == (1, 1, 1)
    assert found[:4, :4, :4].max() < found[10, 9, 8] and found[1, 1, 1] < 0
    values = torch.randn(9, 8, 7, dtype=torch.float64)
    np.testing.assert_allclose(weighed_together(values), uniform_mean(values.numpy(), 7), atol=1e-12)
    np.testing.assert_allclose(weighed_together(values[0]), uniform_mean(values[0].numpy(), 7), atol=1e-12)
    half = values.to(torch.bfloat16)  # as mixed precision has it
    torch.testing.assert_close(weighed_together(half), weighed_together(half.float()))
    narrow = values[:, :, :6]
    assert weighed_together(narrow) is narrow  # averaged over nearly all of an axis, nothing tells its places apart


def uniform_mean(values, width):
    """The mean over the part of a cube of this width around each place that lies within the grid."""
    found = np.empty_like(values)
    for place in np.ndindex(values.shape):
        found[place] = values[tuple(slice(max(n - width // 2, 0), n + width // 2 + 1) for n in place)].mean()
    return found


def test_the_refined_map_of_a_wide_grid_is_its_recipe():
    net, image = demo_like(), torch.randn(1, 1, 56, 64, 56)
    table = list_layers(net, image)
    layers = find_method("refined").layers(table, table.find(None))
    assert min(table.find(None).spatial_shape) == 7
    found = find_method("refined").compute(case_of(net, image, layers, 1))
    maps = refined_maps_by_hand(net, image, layers[1:], 1)
    torch.testing.assert_close(found, fuse(maps), rtol=1e-3, atol=1e-4 * float(found.max()))


@pytest.mark.parametrize("method", ["refined", "refinedsmooth"])
def test_the_refined_map_of_a_wide_grid_in_mixed_precision(method):
    net, image = demo_like(), torch.randn(1, 1, 56, 64, 56)
    table = list_layers(net, image)
    layers = find_method(method).layers(table, table.find(None))
    with torch.autocast("cpu", torch.bfloat16):
        found = find_method(method).compute(case_of(net, image, layers, 1))
    exact = find_method(method).compute(case_of(net, image, layers, 1))
    assert found.isfinite().all() and float(found.max()) > 0
    assert np.corrcoef(found.flatten(), exact.flatten())[0, 1] > 0.9


def demo_like():
    """Three resolutions and a maximum, as the demo's network has it."""
    torch.manual_seed(3)
    layers = [nn.Conv3d(1, 4, 4, 2, 1), nn.ReLU(), nn.Conv3d(4, 6, 4, 2, 1), nn.ReLU(), nn.Conv3d(6, 8, 4, 2, 1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(8, 3)).eval()


def test_the_refined_map_sees_brighter_and_darker_alike_at_the_input():
    """What the sign says is the layers' business: one network, an image and its negative as the same evidence."""
    image, gradient = torch.randn(1, 2, 8, 8, 8), torch.randn(1, 2, 8, 8, 8)
    found = input_map(image, gradient, (4, 4, 4))
    torch.testing.assert_close(found, input_map(-image, gradient, (4, 4, 4)))
    torch.testing.assert_close(found, input_map(image + 5, gradient, (4, 4, 4)))  # what stands out, not what is bright
    assert input_map(image[..., 0], gradient[..., 0], (4, 2)).shape == (4, 2)


def test_the_refined_map_of_one_resolution_stays_on_its_grid():
    net = nn.Sequential(
        nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    image = torch.randn(1, 1, 6, 5, 4)
    table = list_layers(net, image)
    layers = find_method("refined").layers(table, table.find("1"))
    assert layers == (INPUT, "1")
    assert find_method("refined").compute(case_of(net, image, layers, 0)).shape == (6, 5, 4)


def two_stages():
    """A small network of two resolutions and two input channels that ends in average pooling and a linear layer."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv3d(2, 4, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv3d(4, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )
    return net.eval(), torch.randn(1, 2, 16, 12, 8)


def stretched(values, shape):
    """Linear interpolation to a finer grid over the same extent, edge values going on, one axis after the other."""
    for axis, n in enumerate(shape):
        at = np.clip((np.arange(n) + 0.5) * values.shape[axis] / n - 0.5, 0, values.shape[axis] - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        part = (at - low).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
        values = np.take(values, low, axis) * (1 - part) + np.take(values, high, axis) * part
    return values


def test_refine_cam_is_the_product_of_scaled_maps_on_the_image():
    """Written out in NumPy: Grad-CAM++ of every resolution, place by place, smallest to 0 and largest to 1, stretched
    to the image and multiplied; compared in [0, 1], as the authors leave it."""
    net, image = two_stages()
    table = list_layers(net, image)
    method = find_method("RefineCAM")
    layers = method.layers(table, table.find("3"))
    assert layers == ("1", "3")
    lit = []
    for index in range(3):
        expected = np.ones(image.shape[2:])
        for layer in layers:
            one = paper_grad_cam_pp(net, image, layer, index).numpy().astype(float)
            expected *= stretched((one - one.min()) / max(np.ptp(one), 1e-30), image.shape[2:])
        found = method.compute(case_of(net, image, layers, index))
        assert found.shape == image.shape[2:]
        lit.append(float(found.max()) > 0)
        torch.testing.assert_close(
            found / max(float(found.max()), 1e-30),
            torch.from_numpy(expected / max(expected.max(), 1e-30)).float(),
            rtol=1e-4,
            atol=1e-5,
        )
    assert any(lit)


def test_saliency_tubes_are_the_prediction_layers_weights_times_the_activations():
    net, image = two_stages()
    with torch.no_grad():
        activation, weights = net[:4](image)[0], net[6].weight
    lit = []
    for index in range(3):
        expected = sum(weights[index, k] * activation[k] for k in range(6)).clamp(min=0)
        found = find_method("saliencytubes").compute(case_of(net, image, ("3",), index))
        lit.append(assert_same(found, expected.detach()))
        # Right before average pooling the gradient is the weight over the number of places.
        assert_same(found, ours("gradcam", net, image, "3", index) * activation[0].numel())
    assert any(lit)


def test_saliency_tubes_of_a_real_network():
    net, _, image = network("ResNet18 3-D")
    activation = forward_to_layers(net, image, ["layer4"]).activations["layer4"][0]
    lit = [
        assert_same(
            ours("saliencytubes", net, image, "layer4", index),
            torch.einsum("k,k...->...", net.fc.weight[index], activation).relu(),
        )
        for index in range(3)
    ]
    assert any(lit)


def test_saliency_tubes_say_what_they_need():
    net, image = two_stages()
    with pytest.raises(MethodError, match="'1' has 4 channels.*takes 6 values.*before global pooling"):
        find_method("saliencytubes").compute(case_of(net, image, ("1",), 0))
    segmenting = nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 3, 1)).eval()
    with pytest.raises(MethodError, match="linear layer behind global pooling.*does not end in one.*Use Grad-CAM"):
        find_method("saliencytubes").compute(case_of(segmenting, image, ("1",), 0))


def test_the_smoothed_refined_map_averages_the_input_over_noisy_copies(monkeypatch):
    """By hand: the same noise, one copy at a time, what stands out of the image times the gradient at the copy."""
    from CAMOverlayLib.engine.methods import refinedsmooth
    from CAMOverlayLib.engine.methods.batches import TRIAL

    net, image = two_stages()
    method, events = find_method("refinedsmooth"), []
    table = list_layers(net, image)
    layers = method.layers(table, table.find("3"))
    before = torch.get_rng_state()
    case = case_of(net, image, layers, 1, lambda *step: events.append(step))
    found = method.compute(case)
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's random numbers change
    torch.testing.assert_close(method.compute(case), found, rtol=0, atol=0)
    assert (
        events
        and {count for _, count, _ in events} == {refinedsmooth.SAMPLES + TRIAL}
        and 4 <= refinedsmooth.SAMPLES <= 8
    )

    maps = refined_maps_by_hand(net, image, layers[1:], 1)
    torch.manual_seed(0)
    noise = torch.randn((refinedsmooth.SAMPLES, *image.shape[1:])) * refinedsmooth.SPREAD * (image.max() - image.min())
    outstanding = image - image.mean((2, 3, 4), keepdim=True)
    total = 0
    for one in noise:
        copy = (image + one).requires_grad_()
        (gradient,) = torch.autograd.grad(net(copy)[0, 1], copy)
        total = total + (outstanding * gradient).abs().sum(1)[0].unflatten(0, (8, 2)).mean(1)
    total = total.unflatten(1, (6, 2)).mean(2).unflatten(2, (4, 2)).mean(3)
    assert maps[0].shape == total.shape
    expected = fuse([total / len(noise), *maps[1:]])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(found.max()))

    monkeypatch.setattr("CAMOverlayLib.engine.methods.batches.MOST", 1)  # one copy at a time
    torch.testing.assert_close(method.compute(case), found, rtol=1e-4, atol=1e-5 * float(found.max()))
    monkeypatch.setattr(refinedsmooth, "SPREAD", 0.0)
    torch.testing.assert_close(method.compute(case), find_method("refined").compute(case), rtol=1e-4, atol=1e-8)


def test_the_smoothed_refined_map_can_be_cancelled_and_leaves_nothing():
    net, image = two_stages()
    method, before = find_method("refinedsmooth"), snapshot(net)
    table = list_layers(net, image)

    class Stop(Exception):
        pass

    def stop(number, count, words):
        raise Stop

    with pytest.raises(Stop):
        method.compute(case_of(net, image, method.layers(table, table.find("3")), 1, stop))
    assert before[1:] == snapshot(net)[1:]


# Methods of the libraries ---------------------------------------------------------------------------------------------


@functools.cache
def small():
    torch.manual_seed(0)
    net = DenseNet(spatial_dims=3, in_channels=2, out_channels=3, init_features=8, growth_rate=4, block_config=(2, 2))
    return net.eval(), torch.randn(1, 2, 32, 24, 28)


INPUT_METHODS = ["saliency", "smoothgrad", "guidedbackprop", "integratedgradients", "occlusion"]


@pytest.mark.parametrize("name", [*INPUT_METHODS, "scorecam"])
def test_library_methods_give_maps_and_leave_the_network_as_it_was(name):
    net, image = small()
    relus = [m for m in net.modules() if isinstance(m, nn.ReLU)]
    relus[0].inplace = True
    net.train()
    next(net.parameters()).grad = torch.ones_like(next(net.parameters()))
    before, events = snapshot(net), []
    method = find_method(name)
    table = list_layers(net, image)
    layers = method.layers(table, table.find(None))
    maps = []
    for target in (0, 1):
        case = case_of(net, image, layers, target, lambda *step: events.append(step))
        found = method.compute(case)
        assert torch.isfinite(found).all() and (found >= 0).all() and found.std() > 0
        expected = image.shape[2:] if name != "scorecam" else table.find(None).spatial_shape
        assert found.shape == expected and not found.requires_grad
        maps.append(found)
        numbers = [n / count for n, count, _ in events]
        assert numbers == sorted(numbers) and (len(numbers) > 3) == method.info.long
        events.clear()
    assert not torch.allclose(*maps)
    torch.testing.assert_close(method.compute(case_of(net, image, layers, 1)), maps[1])  # the same every time
    after = snapshot(net)
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    assert [x[:2] for x in before[1]] == [x[:2] for x in after[1]] and before[2] == after[2]
    assert all(x[2] is y[2] for x, y in zip(before[1], after[1]))
    net.eval()


@pytest.mark.parametrize("name", [*INPUT_METHODS, "scorecam"])
def test_cancelling_ends_a_library_method_and_leaves_nothing(name):
    net, image = small()
    method = find_method(name)
    table = list_layers(net, image)
    before = snapshot(net)

    class Stop(Exception):
        pass

    def stop(number, count, words):
        if number >= count // 2:
            raise Stop

    with pytest.raises(Stop):
        method.compute(case_of(net, image, method.layers(table, table.find(None)), 1, stop))
    assert before[1:] == snapshot(net)[1:]


def test_saliency_and_integrated_gradients_by_hand():
    """Of a linear network: the weights, and weight times what lies above the smallest value."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(2 * 4**3, 2))
    image = torch.randn(1, 1, 4, 4, 4)
    weights = torch.autograd.functional.jacobian(lambda x: net(x)[0, 1], image)[0, 0]
    torch.testing.assert_close(find_method("saliency").compute(case_of(net, image, (), 1)), weights.abs())
    expected = (weights * (image - image.min())[0, 0]).relu()
    torch.testing.assert_close(find_method("integratedgradients").compute(case_of(net, image, (), 1)), expected)


def test_occlusion_finds_the_only_place_that_counts():
    class Corner(nn.Module):
        def forward(self, x):
            spot = x[:, 0, 20:24, 4:8, 12:16].mean((1, 2, 3))
            return torch.stack([-spot, spot], 1)

    image = torch.full((1, 1, 32, 32, 32), -1.0)
    image[0, 0, 20:24, 4:8, 12:16] = 5.0
    found = find_method("occlusion").compute(case_of(Corner(), image, (), 1))
    peak = np.unravel_index(int(found.argmax()), found.shape)
    assert np.abs(np.array(peak) - [21.5, 5.5, 13.5]).max() <= 2.5
    assert not find_method("occlusion").compute(case_of(Corner(), image, (), 0)).any()  # covering raises class 0


# Many images at a time ---------------------------------------------------------------------------------------------


def test_smoothgrad_equals_monai():
    from monai.visualize import SmoothGrad

    from CAMOverlayLib.engine.methods.smoothgrad import SAMPLES, SPREAD

    net, image = small()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = SmoothGrad(net, stdev_spread=SPREAD, n_samples=SAMPLES, verbose=False)(image.clone(), index=1)[
            0
        ].amax(0)
    found = find_method("smoothgrad").compute(case_of(net, image, (), 1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))


def occlusion_of_monai(net, image, index):
    """Falls by MONAI: of the image's mean instead of 0, which is what MONAI fades to."""
    from monai.visualize import OcclusionSensitivity

    from CAMOverlayLib.engine.methods.occlusion import OVERLAP, Boxes

    class Shifted(nn.Module):
        def forward(self, x):
            return net(x + image.mean())[:, index, None]

    size = Boxes.over(tuple(image.shape[2:])).size
    method = OcclusionSensitivity(Shifted(), mask_size=size, n_batch=4, overlap=OVERLAP, activate=False, verbose=False)
    with torch.no_grad():
        covered, _ = method(image - image.mean())
        return float(net(image)[0, index]) - covered.as_tensor()[0, 0].reshape(image.shape[2:])


class Spots(nn.Module):
    """Class 1 is the contents of two small places, class 2 those against each other."""

    def forward(self, x):
        one, other = x[:, 0, 20:23, 4:7, 12:15].mean((1, 2, 3)), x[:, 0, 8:10, 24:27, 20:23].mean((1, 2, 3))
        return torch.stack([-one, one + 0.5 * other, one - other], 1)


def test_occlusion_equals_monai_where_both_compute(monkeypatch):
    from CAMOverlayLib.engine.methods import occlusion

    torch.manual_seed(1)
    image = torch.randn(1, 1, 32, 30, 34) + 3
    expected = occlusion_of_monai(Spots(), image, 1)
    expected = torch.where(expected > 1e-5 * float(Spots()(image)[0, 1].abs()), expected, 0)
    passes = []
    case = lambda index=1: case_of(
        Spots(), image, (), index, lambda *step: passes.append(step[1])
    )  # how many there will be
    monkeypatch.setattr(occlusion, "MATTERS", 0.0)  # every box
    whole = find_method("occlusion").compute(case())
    torch.testing.assert_close(whole, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))
    every = passes[-1]
    passes.clear()
    monkeypatch.undo()
    found = find_method("occlusion").compute(case())
    assert passes[-1] < every / 4
    lit = expected > 0.05 * expected.max()
    # (Beside them lie boxes of groups that were not tried one by one.)
    torch.testing.assert_close(found[lit], expected[lit], rtol=1e-3, atol=2e-3 * float(expected.max()))
    assert float((found - expected).abs().max()) < 0.05 * float(expected.max())


def test_falls_of_boxes_that_were_not_tried_alone_are_those_of_their_group(monkeypatch):
    from CAMOverlayLib.engine.methods import occlusion

    image = torch.full((1, 1, 32, 30, 34), 1.0)
    image[0, 0, 20:23, 4:7, 12:15], image[0, 0, 8:10, 24:27, 20:23] = 9.0, 1.2  # the other hardly matters
    boxes = occlusion.Boxes.over((32, 30, 34))
    groups = boxes.groups()
    assert sorted(number for group in groups for number in group) == list(range(len(boxes)))
    covers = occlusion._Covers(image, boxes)
    (box,) = {n for n in range(len(boxes)) if boxes.corners[n] == (0, 0, 0)}
    torch.testing.assert_close(covers.of([[box]])[0, :, 4:], image[0, :, 4:])
    first = next(group for group in groups if box in group)
    left = [(covers.of([some]) - image.mean()).abs() for some in (first, [box])]
    assert (left[0] <= left[1] + 1e-6).all(), "covered together they are covered as much"
    found = find_method("occlusion").compute(case_of(Spots(), image, (), 1))
    peak = np.unravel_index(int(found.argmax()), found.shape)
    assert np.abs(np.array(peak) - [21, 5, 13]).max() <= 2.5 and found[9, 25, 21] < 0.05 * found.max()


class Mixing(nn.Module):
    """Whose answer for an image depends on what else is in the batch."""

    def forward(self, x):
        return (x - x.mean(0, keepdim=True) + x.std()).flatten(1).sum(1, keepdim=True).repeat(1, 3)


class OnlyOne(nn.Module):
    def forward(self, x):
        return x.view(1, 1, -1).mean(-1).repeat(1, 3) if len(x) == 1 else x.view(1, 1, 999)


@pytest.mark.parametrize("net", [Mixing(), OnlyOne(), Spots()], ids=lambda net: type(net).__name__)
def test_images_share_a_pass_only_where_each_is_answered_for_itself(net):
    from CAMOverlayLib.engine.methods.batches import MOST, Batches
    from CAMOverlayLib.engine.methods.scored import scored

    image = torch.randn(1, 1, 32, 30, 34, generator=torch.Generator().manual_seed(0))
    case = case_of(net, image, (), 1)
    with scored(case, 10, "") as network:
        batches = Batches(case, network)
        assert batches.size == (MOST if isinstance(net, Spots) else 1)
        images = [image * n for n in range(10)]
        scores = batches.scores(10, lambda numbers: torch.cat([images[n] for n in numbers]))
        alone = [float(net(one)[0, 1]) for one in images]
    torch.testing.assert_close(scores, torch.tensor(alone, dtype=torch.float64), rtol=1e-5, atol=1e-5)


def test_a_batch_that_does_not_fit_is_tried_with_half_of_it():
    from CAMOverlayLib.engine.methods.batches import Batches
    from CAMOverlayLib.engine.methods.scored import scored

    class Small(Spots):
        def forward(self, x):
            if len(x) > 3:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory")
            return super().forward(x)

    image = torch.randn(1, 1, 32, 30, 34, generator=torch.Generator().manual_seed(0))
    case, taken = case_of(Small(), image, (), 1), []
    with scored(case, 10, "") as network:
        batches = Batches(case, network)
        batches.gradients(7, lambda numbers: image.repeat(len(numbers), 1, 1, 1, 1), taken.append)
    assert batches.size == 3 and len(taken) == 7 and all(torch.equal(one, taken[0]) for one in taken)


def test_guided_backpropagation_needs_relu():
    net = nn.Sequential(nn.Conv3d(1, 2, 1), nn.LeakyReLU(), nn.Flatten(), nn.Linear(2 * 4**3, 2))
    with pytest.raises(MethodError, match="no module of that kind"):
        find_method("guidedbackprop").compute(case_of(net, torch.randn(1, 1, 4, 4, 4), (), 1))


@pytest.mark.parametrize(("name", "package"), [("scorecam", "torchcam"), ("integratedgradients", "captum")])
def test_a_missing_package_is_answered_with_the_remedy(name, package, monkeypatch):
    import sys

    net, image = small()
    method, table = find_method(name), list_layers(net, image)
    for module in [m for m in sys.modules if m.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MethodError, match=rf"needs the package {package}.*pip install {package}"):
        method.compute(case_of(net, image, method.layers(table, table.find(None)), 1))


def test_every_method_says_what_it_is():
    assert next(iter(METHODS)) == "gradcam" and len(METHODS) == 17
    for name, method in METHODS.items():
        assert name == method.name and "http" in method.info.paper and method.info.description.endswith(".")
        assert find_method(method.name.upper()) is find_method(method.title) is method
