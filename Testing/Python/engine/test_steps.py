"""Strided layers on sizes that do not divide: each activation lies where its voxels are, to the end of the axis."""

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose, EnsureChannelFirst
from torch import nn

from CAMOverlayLib import explain
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.engine.geometry.resample import activation_grid, to_input_grid
from CAMOverlayLib.engine.network.strides import true_steps

HALVING = {
    "k2 s2": lambda: nn.Conv3d(1, 1, 2, 2, bias=False),
    "AvgPool": lambda: nn.AvgPool3d(2),
}


def halvings(kind, times):
    """Box kernels, so that a ramp of coordinates goes through as the mean of the voxels that each activation sees."""
    layers = [HALVING[kind]() for _ in range(times)]
    for layer in layers:
        if hasattr(layer, "weight"):
            nn.init.constant_(layer.weight, 1 / layer.weight.numel())
    return nn.Sequential(*layers)


@pytest.mark.parametrize("size", [319, 300, 257, 96])
@pytest.mark.parametrize("times", [1, 3, 5])
@pytest.mark.parametrize("kind", ["k2 s2", "AvgPool"])
def test_the_grid_follows_the_strides_to_the_end(kind, times, size):
    """Truth by the network itself: what it makes of a volume of coordinates is where each activation looks."""
    network = halvings(kind, times)
    shape = (size, 2**times, 2**times)
    image = torch.arange(float(size)).view(1, 1, size, 1, 1).expand(1, 1, *shape).contiguous()
    activations = network(image)[0, 0]
    truth = activations[:, 0, 0].detach().numpy()
    steps = true_steps(network, image, str(times - 1), tuple(activations.shape))
    grid = activation_grid(tuple(activations.shape), Grid(shape, np.eye(4)), steps)
    shown = grid.affine[0, 0] * np.arange(len(truth)) + grid.affine[0, 3]
    np.testing.assert_allclose(shown, truth, atol=1e-3 * size)
    assert grid.spacing[0] == pytest.approx(2**times)


def test_layers_without_padding_are_not_stretched():
    network = nn.Sequential(*[nn.Conv3d(1, 1, 3) for _ in range(4)])
    image = torch.rand(1, 1, 40, 24, 20)
    shape = tuple(network(image).shape[2:])
    steps = true_steps(network, image, "3", shape)
    assert steps == (1, 1, 1)
    grid = activation_grid(shape, Grid((40, 24, 20), np.eye(4)), steps)
    np.testing.assert_allclose(grid.affine[:3, 3], 4)


def test_what_cannot_be_followed_stays_edge_to_edge():
    image = torch.rand(1, 1, 30, 30, 30)
    adaptive = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.AdaptiveAvgPool3d(7))
    assert true_steps(adaptive, image, "1", (7, 7, 7)) is None
    assert true_steps(halvings("k2 s2", 1), image, "0", (15, 15, 15)) is None  # the sizes say it
    assert true_steps(halvings("k2 s2", 1), image, None, (7, 7, 7)) is None
    np.testing.assert_allclose(activation_grid((7, 7, 7), Grid((30, 30, 30), np.eye(4))).spacing, 30 / 7)


def test_a_network_of_one_size_is_followed_on_its_own_input():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = halvings("k2 s2", 2)
            self.head = nn.Linear(29 * 3 * 3, 2)

        def forward(self, x):
            return self.head(self.features(x).flatten(1))

    image = torch.rand(1, 1, 119, 14, 14)
    assert true_steps(Fixed(), image, "features", (29, 3, 3)) == (4, 4, 4)


def test_to_the_inputs_grid_as_by_the_affine():
    heat = torch.arange(9.0).view(9, 1, 1)
    fine = to_input_grid(heat, (319, 4, 4), steps=(32, 4, 4))[0, :, 1, 1]
    expected = ((torch.arange(319.0) + 0.5) / 32 - 0.5).clamp(0, 8)
    torch.testing.assert_close(fine, expected, atol=1e-4, rtol=0)
    picture = to_input_grid(torch.arange(9.0).view(9, 1), (319, 4), steps=(32, 4))
    torch.testing.assert_close(picture[0, :, 1], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("inferer", [None, SlidingWindowInferer((71, 30, 30), overlap=0)], ids=["whole", "windows"])
@pytest.mark.parametrize("inverse", ["affine", "operations"])
def test_a_spot_at_the_end_of_an_uneven_axis_is_shown_where_it_is(inferer, inverse):
    """71 voxels halved three times are 8 activations of 8 voxels: the ratio of 8.9 would put the last but one 6 too
    far."""
    network = nn.Sequential(halvings("k2 s2", 3), nn.ReLU(), nn.AdaptiveMaxPool3d(1), nn.Flatten())
    if inferer is not None:
        network = nn.Sequential(halvings("k2 s2", 3), nn.ReLU(), nn.Upsample((71, 30, 30)))
    array = np.random.default_rng(0).uniform(0, 5, (71, 30, 30)).astype(np.float32)
    array[48:56, 8:16, 8:16] = 100
    found = explain(
        network,
        Compose([EnsureChannelFirst(channel_dim="no_channel")]),
        (array, np.eye(4)),
        target=0,
        layer="0",
        inferer=inferer,
        inverse=inverse,
        regression=True,
    )
    heat = found.heatmap.get_fdata()
    weights = np.where(heat > 0.5, heat, 0)
    centre = np.indices(heat.shape).reshape(3, -1) @ weights.ravel() / weights.sum()
    assert np.abs(centre - [51.5, 11.5, 11.5]).max() < 1.5, centre
    assert found.result.activation_spacing == pytest.approx((8, 8, 8))
