"""A network applied window by window: the maps are blended as the predictions are."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer
from monai.networks.nets import UNet
from support import FEW, request
from torch import nn

from CAMOverlayLib.contract.errors import Cancelled, MethodError
from CAMOverlayLib.contract.target import TargetSpec
from CAMOverlayLib.engine.inference import FullImageInference, SlidingWindowInference, apply
from CAMOverlayLib.engine.methods import METHODS, find_method
from CAMOverlayLib.engine.network.layers import list_layers
from CAMOverlayLib.engine.pipeline import explain
from CAMOverlayLib.engine.target.objective import build_objective
from CAMOverlayLib.engine.target.prediction import predict


class Local(nn.Module):
    """A segmentation network that sees 8 voxels wide: windows and the whole agree away from the windows' borders."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 4, 4, 4), nn.ReLU())
        self.head = nn.Sequential(nn.Conv3d(4, 2, 1), nn.Upsample(scale_factor=4, mode="nearest"))
        torch.manual_seed(1)
        for p in self.parameters():
            nn.init.normal_(p, 0.1, 0.5)

    def forward(self, x):
        return self.head(self.features(x))


def image_of(shape, seed=0):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    return torch.from_numpy(rng.normal(0, 0.2, shape) + 3 * blob(shape, affine, np.array(shape) / 2, 9)).float()[
        None, None
    ]


def heat_of(applied, method="gradcam", target=1, layers=("features",)):
    calm = lambda *a: None
    output = applied.predict(layers, calm)
    prediction = predict(output, (), False)
    objective = build_objective(output, target, prediction)
    found = find_method(method)
    return applied.attribute(
        found, layers if found.layers.__name__ != "no_layer" else (), prediction, objective, calm
    ), output


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
@pytest.mark.parametrize("shape", [(48, 40, 44), (20, 50, 33)], ids=["larger than a window", "smaller along one axis"])
def test_the_prediction_is_the_inferers_own(mode, shape):
    network, image = Local().eval(), image_of(shape)
    inferer = SlidingWindowInferer((24, 24, 24), sw_batch_size=3, overlap=0.5, mode=mode)
    windows = apply(network, image, inferer)
    assert isinstance(windows, SlidingWindowInference)
    with torch.no_grad():
        torch.testing.assert_close(windows.predict((), lambda *a: None), inferer(image, network))


@pytest.mark.parametrize("mode", ["constant", "gaussian"])
def test_maps_are_blended_with_the_importance_of_the_predictions(mode):
    """The map of every window computed here by hand, blended by MONAI's own function. The channels' weights are the
    mean gradient over all windows."""
    network, image = Local().eval(), image_of((48, 40, 44))
    inferer = SlidingWindowInferer((24, 24, 24), sw_batch_size=2, overlap=0.5, mode=mode)
    heat, output = heat_of(apply(network, image, inferer))
    region = output.argmax(1)[:, None].float()

    weights = []

    def gradients(both):
        for window in both:
            x, where = window[None, :1], window[1] > 0.5
            activation = network.features(x).detach().requires_grad_()
            score = network.head(activation)[0, 1][where].sum()
            weights.append(torch.autograd.grad(score, activation)[0].mean((2, 3, 4), keepdim=True))
        return both[:, :1]

    def by_hand(both):
        common = torch.cat(weights).mean(0, keepdim=True)
        cam = (common * network.features(both[:, :1])).sum(1, keepdim=True).relu().detach()
        return nn.functional.interpolate(cam, (24, 24, 24), mode="trilinear", align_corners=False)

    given = torch.cat([image, region], 1)
    inferer(given, gradients)
    expected = inferer(given, by_hand)[0, 0]
    torch.testing.assert_close(heat.values, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))
    assert heat.activation == (6, 6, 6) and heat.stride == (4, 4, 4)


class Lookup(nn.Module):
    """Sees one voxel at a time, so windows and the whole must agree; with two channels that the classes use
    otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 3, 1), nn.ReLU())
        self.head = nn.Conv3d(3, 2, 1)
        with torch.no_grad():
            self.features[0].weight[:] = torch.tensor([1.0, -1.0, 0.5]).view(3, 1, 1, 1, 1)
            self.features[0].bias[:] = torch.tensor([0.0, 0.3, 0.1])
            self.head.weight[:] = torch.tensor([[-1.0, 0.5, 0.0], [1.0, -0.5, 0.2]]).view(2, 3, 1, 1, 1)
            self.head.bias[:] = torch.tensor([0.4, -0.4])

    def forward(self, x):
        return self.head(self.features(x))


WEIGHING = ["gradcam", "xgradcam", "gradcampp", "finercam", "eigencam", "hirescam", "layercam"]


@pytest.mark.parametrize(
    ("window", "overlap", "mode"), [(24, 0, "constant"), (32, 0.25, "constant"), (24, 0.5, "gaussian")]
)
@pytest.mark.parametrize("method", WEIGHING)
def test_two_equal_lesions_are_equally_hot_wherever_windows_end(method, window, overlap, mode):
    """One lesion inside a window and one that windows cut: with weights per window the cut one comes out weaker."""
    network = Lookup().eval()
    image = 0.05 * torch.rand((1, 1, 72, 40, 40), generator=torch.Generator().manual_seed(0))
    for start in (6, 20):  # the second lies across the border at 24
        image[..., start : start + 8, 8:16, 8:16] = 1.0
    image[..., 50:51, 30:31, 30:31] = 1.0  # a window with hardly any of the target
    whole, _ = heat_of(FullImageInference(network, image), method, layers=("features",))
    found, _ = heat_of(
        apply(network, image, SlidingWindowInferer((window,) * 3, 2, overlap, mode=mode)), method, layers=("features",)
    )
    map_, reference = found.values / found.values.max(), whole.values / whole.values.max()
    for place in (slice(6, 14), slice(20, 28)):
        lesion = map_[place, 8:16, 8:16]
        assert float(lesion.min()) == pytest.approx(1, abs=0.02) and float(lesion.max()) == pytest.approx(1, abs=0.02)
    assert float(map_[50, 30, 30]) == pytest.approx(float(reference[50, 30, 30]), abs=0.02)


class Centre(nn.Module):
    """Copies pixels, but answers for the centre of its window only, as valid convolutions do (HoVerNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()
        self.head = nn.Conv2d(1, 2, 9, bias=False)
        with torch.no_grad():
            self.head.weight.zero_()
            self.head.weight[1, 0, 4, 4] = 1.0

    def forward(self, x):
        return self.head(self.features(x))


@pytest.mark.parametrize("size", [(32, 32), (48, 40)], ids=["one window", "many windows"])
@pytest.mark.parametrize("place", [(10, 9), (15, 20), (24, 27)])
def test_an_answer_for_the_centre_of_a_window_keeps_its_place(size, place):
    from monai.apps.pathology.inferers import SlidingWindowHoVerNetInferer

    network = Centre().eval()
    image = 0.1 + torch.rand((1, 1, *size), generator=torch.Generator().manual_seed(0))
    inferer = SlidingWindowHoVerNetInferer((32, 32), 2, 1 - 24 / 32, extra_input_padding=(4, 4, 4, 4))
    applied = apply(network, image, inferer)
    assert isinstance(applied, SlidingWindowInference)
    calm = lambda *a: None
    output = applied.predict(("features",), calm)
    torch.testing.assert_close(output[0, 1], image[0, 0])
    region = torch.zeros(size, dtype=torch.bool)
    region[place] = True
    objective = dataclasses.replace(build_objective(output, 1, predict(output, (), False)), region=region)
    heat = applied.attribute(find_method("hirescam"), ("features",), predict(output, (), False), objective, calm)
    assert heat.values.shape == size
    assert np.unravel_index(int(heat.values.argmax()), size) == place
    assert float(heat.values.sum()) == pytest.approx(float(image[0, 0][place]), rel=1e-4)


def seam(heat, interval, axis):
    """How much larger the steps of a map are where windows begin or end than elsewhere, on average."""
    steps = (heat.narrow(axis, 1, heat.shape[axis] - 1) - heat.narrow(axis, 0, heat.shape[axis] - 1)).abs()
    others = [d for d in range(3) if d != axis]
    steps = steps.mean(others)
    at = list(range(interval - 1, len(steps), interval))
    elsewhere = [n for n in range(len(steps)) if n not in at]
    return float(steps[at].mean() / steps[elsewhere].mean())


def test_seams_between_windows_are_measured():
    """A network that sees three voxels wide, twice: windows and the whole must be the same where no window ends within
    three voxels. What differs nearer than that is the seam; Gaussian weights make it small."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 2, 3, padding=1)).eval()
    image = image_of((64, 64, 64))
    whole, _ = heat_of(FullImageInference(network, image), "hirescam", layers=("1",))
    away = [n for n in range(64) if 3 <= n % 16 <= 12]
    off = {}
    for mode in ("constant", "gaussian"):
        inferer = SlidingWindowInferer((32, 32, 32), sw_batch_size=1, overlap=0.5, mode=mode)
        heat, _ = heat_of(apply(network, image, inferer), "hirescam", layers=("1",))
        difference = (heat.values - whole.values).abs() / whole.values.max()
        assert difference[away][:, away][:, :, away].max() < 1e-6
        off[mode] = float(difference.mean() / whole.values.mean() * whole.values.max())
        if mode == "gaussian":
            for axis in range(3):
                assert seam(heat.values, 16, axis) < 1.05 * seam(whole.values, 16, axis)
    assert off["gaussian"] < 0.06 and off["gaussian"] < off["constant"] / 4, off


def test_one_window_of_the_whole_is_no_window():
    network, image = Local().eval(), image_of((24, 24, 24))
    assert isinstance(apply(network, image, SlidingWindowInferer((24, 24, 24))), FullImageInference)
    assert isinstance(apply(network, image, None), FullImageInference)


def test_windows_without_a_part_of_the_target_are_left_out():
    network, image = Local().eval(), image_of((96, 24, 24))
    passes = []
    network.features.register_forward_hook(lambda *a: passes.append(1))
    windows = apply(network, image, SlidingWindowInferer((24, 24, 24), sw_batch_size=1, overlap=0))
    output = windows.predict((), lambda *a: None)
    prediction = predict(output, (), False)
    objective = build_objective(output, 1, prediction)
    objective.region[24:] = False
    assert objective.region.any()
    passes.clear()
    heat = windows.attribute(find_method("gradcam"), ("features",), prediction, objective, lambda *a: None)
    assert len(passes) == 1 and not heat.values[24:].any() and heat.values[:24].any()
    passes.clear()
    windows.attribute(find_method("eigencam"), ("features",), prediction, objective, lambda *a: None)
    assert len(passes) == 4  # the same for every target, so every window counts


def test_a_network_for_slices_of_a_prepared_volume():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 4, 2, 1)).eval()
    image = image_of((24, 12, 24))
    applied = apply(network, image, SliceInferer(roi_size=(24, 24), spatial_dim=1, sw_batch_size=4))
    heat, output = heat_of(applied, layers=("1",))
    assert output.shape == (1, 2, 24, 12, 24) and heat.values.shape == (24, 12, 24) and applied.count == 12
    assert heat.activation == (12, 1, 12) and heat.stride == (2, 1, 2)
    region = output.argmax(1)[0]
    activations = [network[1](network[0](image[..., j, :])).detach().requires_grad_() for j in range(12)]
    with_target = [j for j in range(12) if bool((region[:, j] == 1).any())]
    scores = sum(network[2](activations[j])[0, 1][region[:, j] == 1].sum() for j in with_target)
    gradients = torch.autograd.grad(scores, [activations[j] for j in with_target])
    weights = torch.cat(gradients).mean((0, 2, 3))[None, :, None, None]  # one set for the volume
    for j in (2, 6):
        assert j in with_target
        cam = (weights * activations[j]).sum(1, keepdim=True).relu().detach()
        expected = nn.functional.interpolate(cam, (24, 24), mode="bilinear", align_corners=False)[0, 0]
        torch.testing.assert_close(heat.values[:, j], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "method",
    FEW(
        [m for m in METHODS if m != "occlusion"],  # a thousand passes a window
        *("gradcam", "eigencam", "scorecam", "refined", "saliency", "integratedgradients", "guidedbackprop"),
    ),
)
def test_every_method_in_windows_through_the_whole_story(sliding_bundle, export, tmp_path, method):
    affine = GEOMETRIES["oblique"]
    array = (100 + 300 * blob((26, 24, 20), affine, affine[:3] @ [13, 10, 9, 1], 8)).astype(np.int16)
    array = array + np.random.default_rng(0).integers(0, 30, array.shape).astype(np.int16)
    (tmp_path / "out").mkdir()
    target = TargetSpec(output="a", voxel=(13, 10, 9))
    events = []
    ask = request(
        (export(array, affine),), str(sliding_bundle), str(tmp_path / "out"), trust=True, method=method, target=target
    )
    if method == "guidedbackprop":  # UNet has PReLU
        with pytest.raises(MethodError, match="defined for ReLU"):
            explain(ask)
        return
    if method == "saliencytubes":  # nor has it a linear layer behind pooling
        with pytest.raises(MethodError, match="does not end in one"):
            explain(ask)
        return
    result = explain(ask, events.append)
    heat = np.load(result.heatmap.path)
    assert heat.shape == array.shape and np.isfinite(heat).all() and heat.max() > 0 and heat.std() > 0
    assert "windows of 16 × 16 × 16 voxels" in result.applied
    assert any("window 2 of" in e.message for e in events)
    fractions = [e.fraction for e in events]
    assert fractions == sorted(fractions)
    # Of one voxel only the windows count that hold it, so the map ends with them.
    far = np.linalg.norm(np.moveaxis(np.indices(array.shape), 0, -1) - [13, 10, 9], axis=-1) > 30
    if METHODS[method].of_target:
        assert not heat[far].any()


def test_windows_can_be_cancelled_and_report_every_one(sliding_bundle, export, tmp_path):
    affine = np.diag([1.0, 1, 1, 1])
    array = np.random.default_rng(0).integers(0, 300, (40, 30, 20)).astype(np.int16)
    (tmp_path / "out").mkdir()

    def cancel(progress):
        if progress.stage == "backward" and "window 3" in progress.message:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        explain(request((export(array, affine),), str(sliding_bundle), str(tmp_path / "out"), trust=True), cancel)
    assert not list((tmp_path / "out").iterdir())


def test_blocks_are_the_activations_of_each_window(sliding_bundle, export, tmp_path):
    affine = np.eye(4)
    array = np.random.default_rng(0).integers(0, 300, (32, 16, 16)).astype(np.int16)
    (tmp_path / "out").mkdir()
    config = json.loads((sliding_bundle / "configs/inference.json").read_text())
    config["inferer"]["overlap"] = 0
    (sliding_bundle / "configs/inference.json").write_text(json.dumps(config))
    ask = request(
        (export(array, affine),),
        str(sliding_bundle),
        str(tmp_path / "out"),
        trust=True,
        interpolation="nearest",
        target=1,
    )
    result = explain(ask)
    heat = np.load(result.heatmap.path)
    n = 16 // result.activation_shape[0]
    assert n > 1 and np.ptp(heat.reshape(32 // n, n, 16 // n, n, 16 // n, n), axis=(1, 3, 5)).max() < 1e-5


def test_a_simple_inferer_is_none(make_bundle):
    from support import read_bundle

    folder = make_bundle(config={"inferer": {"_target_": "SimpleInferer"}})
    assert read_bundle(folder, trust=True).inferer() is None
    assert isinstance(SimpleInferer(), SimpleInferer)


def test_the_table_is_that_of_one_window():
    network = UNet(3, 1, 2, channels=(4, 8, 8), strides=(2, 2)).eval()
    windows = apply(network, image_of((40, 40, 40)), SlidingWindowInferer((16, 16, 16)))
    table = list_layers(network, windows.sample, receptive=False)
    assert table.find(None).spatial_shape == (4, 4, 4)
