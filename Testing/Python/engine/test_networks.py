"""The networks that people really have: random weights, the automatic layer, every target that fits.

Each must give a finite, non-constant map on the original grid that responds to the target. Inputs are as small as the
network takes them; sizes differ from axis to axis, so that nothing mixed up goes unnoticed. What cannot work is in
:data:`CANNOT`, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import monai.networks.nets as nets
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES
from support import SLOW

from CAMOverlayLib.contract.errors import LayerError
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.contract.target import TargetSpec
from CAMOverlayLib.engine.bundle.model import is_regression
from CAMOverlayLib.engine.geometry.resample import activation_grid
from CAMOverlayLib.engine.methods import METHODS, Case
from CAMOverlayLib.engine.network.forward import forward_to_layers
from CAMOverlayLib.engine.network.layers import list_layers
from CAMOverlayLib.engine.restore.affine import place_by_affine
from CAMOverlayLib.engine.target.objective import build_objective
from CAMOverlayLib.engine.target.prediction import predict
from CAMOverlayLib.engine.target.regions import TargetRegions

torch.set_num_threads(1)


def dints():
    return nets.DiNTS(nets.TopologyInstance(channel_mul=0.2, num_blocks=6, num_depths=3), in_channels=1, num_classes=3)


def efficient(**options):
    return nets.EfficientNetBN("efficientnet-b0", pretrained=False, in_channels=1, num_classes=3, **options)


THREE = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3}
FEW = {"channels": (4, 8, 16), "strides": (2, 2)}
SMALL_VIT = {"hidden_size": 48, "mlp_dim": 64, "num_heads": 3}


@dataclass
class Row:
    """How to make it, the spatial size of its input, and what the automatic layer must be: name and grid."""

    make: object
    size: tuple
    layer: str
    grid: tuple


TABLE = {
    # Classifiers: the last map before pooling.
    "DenseNet121": Row(lambda: nets.DenseNet121(**THREE), (64, 32, 64), "class_layers.relu", (2, 1, 2)),
    "ResNet18": Row(
        lambda: nets.resnet18(spatial_dims=3, n_input_channels=1, num_classes=3), (48, 40, 32), "layer4", (3, 3, 2)
    ),
    "ResNet50": Row(
        lambda: nets.resnet50(spatial_dims=3, n_input_channels=1, num_classes=3), (48, 40, 32), "layer4", (3, 3, 2)
    ),
    "SEResNet50": Row(
        lambda: nets.SEResNet50(spatial_dims=3, in_channels=1, num_classes=3), (64, 48, 64), "layer4", (2, 2, 2)
    ),
    "EfficientNet-B0": Row(lambda: efficient(spatial_dims=3), (64, 48, 64), "_swish", (2, 1, 2)),
    "SENet154": Row(lambda: nets.SENet154(spatial_dims=2, in_channels=1, num_classes=3), (96, 64), "layer4", (3, 2)),
    # Only the class token leaves the last attention: its norm is the last layer where places still count.
    "ViT": Row(
        lambda: nets.ViT(1, (32, 48, 32), 16, num_layers=2, classification=True, num_classes=3, **SMALL_VIT),
        (32, 48, 32),
        "blocks.1.norm1",
        (2, 3, 2),
    ),
    # Segmentation networks: their coarsest level.
    "UNet": Row(lambda: nets.UNet(**THREE, **FEW, num_res_units=1), (32, 24, 32), "model.1.submodule.1", (8, 6, 8)),
    "BasicUNet": Row(lambda: nets.BasicUNet(**THREE, features=(4, 4, 8, 8, 16, 4)), (32, 48, 32), "down_4", (2, 3, 2)),
    "DynUNet": Row(
        lambda: nets.DynUNet(3, 1, 3, [3, 3, 3], [1, 2, 2], [2, 2], filters=[4, 8, 16], deep_supervision=True),
        (32, 24, 32),
        "bottleneck",
        (8, 6, 8),
    ),
    "SegResNet": Row(lambda: nets.SegResNet(**THREE, init_filters=8), (32, 24, 32), "down_layers.3", (4, 3, 4)),
    # Its encoder returns a list of all stages; the coarsest of them is taken.
    "SegResNetDS": Row(
        lambda: nets.SegResNetDS(**THREE, init_filters=8, dsdepth=2), (32, 48, 32), "encoder", (4, 6, 4)
    ),
    "VNet": Row(lambda: nets.VNet(**THREE), (32, 48, 32), "down_tr256", (2, 3, 2)),
    "AttentionUnet": Row(
        lambda: nets.AttentionUnet(**THREE, **FEW), (32, 24, 32), "model.1.submodule.1.submodule", (8, 6, 8)
    ),
    "FlexibleUNet": Row(
        lambda: nets.FlexibleUNet(1, 3, "efficientnet-b0", spatial_dims=3, decoder_channels=(32, 16, 8, 8, 8)),
        (64, 64, 32),
        "encoder",
        (2, 2, 1),
    ),
    "UNETR": Row(lambda: nets.UNETR(1, 3, (32, 48, 32), feature_size=4, **SMALL_VIT), (32, 48, 32), "vit", (2, 3, 2)),
    "SwinUNETR": Row(
        lambda: nets.SwinUNETR(1, 3, feature_size=12, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 2)),
        (64, 64, 32),
        "encoder10",
        (2, 2, 1),
    ),
    # It keeps its resolution: the last layer before the head.
    "HighResNet": Row(lambda: nets.HighResNet(**THREE), (24, 16, 20), "blocks.10", (24, 16, 20)),
    "AHNet": Row(lambda: nets.AHNet(**THREE, upsample_mode="trilinear"), (128, 128, 32), "layer4", (4, 4, 1)),
    "DiNTS": Row(dints, (32, 48, 32), "dints_space", (4, 6, 4)),
    # Regressions.
    "Regressor": Row(
        lambda: nets.Regressor((1, 32, 24, 32), (3,), channels=(4, 8, 16), strides=(2, 2, 2)),
        (32, 24, 32),
        "net",
        (4, 3, 4),
    ),
}

CANNOT = {
    "FullyConnectedNet": (
        lambda: nets.FullyConnectedNet(64, 3, hidden_channels=[8]),
        (1, 64),
        "no map inside: every value is mixed with every other",
    ),
}


def awake(network, size):
    """In eval mode, its normalisation having seen data: with untouched statistics deep activations fade to nothing, and
    a map of rounding errors is what nobody wants to test."""
    stored = [m for m in network.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    if stored:
        network.eval()
        for module in stored:
            module.train()
            module.momentum = None  # the average of what was seen
        with torch.no_grad():
            network(torch.randn(2, 1, *size))
    return network.eval()


@dataclass
class PreprocessingTrace:
    """As much of a trail as the way back needs: a chain that resampled an oblique volume."""

    volume_grid: Grid
    input_grid: Grid

    @property
    def grids(self):
        return self.volume_grid, self.input_grid

    @property
    def executed(self):
        return tuple(enumerate(self.grids))


def trail_over(size):
    """The network's input covers the volume edge to edge; of a 2-D network it is one thick slice."""
    size = (*size, 1)[:3]
    volume = Grid((20, 18, 16), GEOMETRIES["oblique LPS"])
    ratio = np.array(volume.shape) / size
    to_volume = np.diag([*ratio, 1.0])
    to_volume[:3, 3] = (ratio - 1) / 2
    return PreprocessingTrace(volume, Grid(size, volume.affine @ to_volume))


def targets_of(output, trace):
    """Every target that fits, by name."""
    fitting = {"first": 0, "second": 1, "difference": "1-0"}
    if output.ndim == 2:
        return fitting
    fitting["predicted"] = None
    if output.ndim == 5:
        # At one voxel: where both outputs have something to say. (HighResNet ends in a ReLU, and a voxel where that
        # cuts an output off has no gradient.)
        both = output[0, 1:3].abs().amin(0).detach()
        index = np.unravel_index(int(both.argmax()), both.shape)
        ras = tuple(float(x) for x in activation_grid(tuple(both.shape), trace.input_grid).affine[:3] @ [*index, 1])
        fitting |= {"voxel": TargetSpec(1, ras=ras), "voxel, other class": TargetSpec(2, ras=ras)}
    return fitting


OTHERS_OF_A_KIND = ("AHNet", "ResNet50", "SEResNet50", "SENet154", "VNet")


@pytest.fixture(scope="module", params=[SLOW(name) if name in OTHERS_OF_A_KIND else name for name in TABLE])
def row(request):
    """The network after one forward pass at its automatic layer, which all that follows shares."""
    entry = TABLE[request.param]
    torch.manual_seed(0)
    network = awake(entry.make(), entry.size)
    image = torch.randn(1, 1, *entry.size)
    table = list_layers(network, image)
    forward = forward_to_layers(network, image, (table.default,))
    prediction = predict(forward.output, (), False, is_regression(network, {}))
    return entry, network, image, table, forward, prediction


@pytest.mark.some(7)
def test_the_automatic_layer(row):
    entry, _, _image, table, forward, _ = row
    layer = table.find(None)
    assert (layer.name, layer.spatial_shape) == (entry.layer, entry.grid)
    assert forward.activations[layer.name].shape[1:] == layer.shape
    assert layer.stride == tuple(n / g for n, g in zip(entry.size, entry.grid))
    assert all(len(x.spatial_shape) == len(entry.size) for x in table.layers)


@pytest.mark.some(5)
def test_every_target_gives_a_map_on_the_original_grid_that_responds_to_it(row):
    entry, network, image, table, forward, prediction = row
    assert (prediction.activation == "none") == (type(network) is nets.Regressor)
    trace = trail_over(entry.size)
    region = TargetRegions(trace.volume_grid, trace.input_grid)
    maps, raws = {}, {}
    for name, target in targets_of(forward.output, trace).items():
        objective = build_objective(forward.output, target, prediction, region)
        case = Case(network, image, forward, (table.default,), prediction, objective)
        assert bool(case.gradients()[table.default].any()), f"{name}: the layer has no say in the target"
        # Random weights may speak against a class everywhere, which Grad-CAM rightly shows as nothing. LayerCAM leaves
        # out what speaks against it channel by channel.
        raw = METHODS["layercam"].compute(case)
        raw = raw if raw.ndim == 3 else raw[..., None]
        placed = place_by_affine(raw / raw.max(), trace).array
        assert placed.shape == trace.volume_grid.shape and np.isfinite(placed).all(), name
        assert placed.max() > 0.1 and placed.std() > 1e-3, f"{name}: a constant map"
        maps[name], raws[name] = placed, raw
    assert not np.allclose(maps["first"], maps["second"], atol=1e-3)
    assert not np.allclose(maps["difference"], maps["second"], atol=1e-3)
    if "voxel" in maps:
        assert not np.allclose(maps["voxel"], maps["second"], atol=1e-3)
        # In the target's own unit: before a head that looks at single voxels the map is that voxel, whatever the class.
        assert not torch.allclose(raws["voxel"], raws["voxel, other class"], rtol=1e-3)


@pytest.mark.parametrize("method", [m for m in METHODS.values() if m.weigh is not None], ids=lambda m: m.name)
def test_every_gradient_method_takes_the_layer(row, method):
    _, network, image, table, forward, prediction = row
    objective = build_objective(forward.output, 1, prediction)
    found = method.compute(Case(network, image, forward, (table.default,), prediction, objective))
    assert found.shape == table.find(None).spatial_shape and torch.isfinite(found).all() and (found >= 0).all()


@pytest.mark.parametrize(("make", "shape", "reason"), CANNOT.values(), ids=CANNOT)
def test_what_cannot_be_explained_says_so(make, shape, reason):
    with pytest.raises(LayerError, match="nothing that a heatmap could be made of"):
        list_layers(make().eval(), torch.randn(shape))
