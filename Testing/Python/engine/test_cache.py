"""What is kept between explanations, and that what changed is never confused with what was."""

import json
import os

import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from support import request

from CAMOverlayLib.contract.errors import UntrustedBundleError
from CAMOverlayLib.engine import inference, layer_choice
from CAMOverlayLib.engine.cache import Cache, LruCache
from CAMOverlayLib.engine.pipeline import explain
from CAMOverlayLib.engine.preprocessing import inputs

AFFINE = GEOMETRIES["oblique"]


WHERE = {
    "trace_preprocessing": inputs,
    "forward_to_layers": inference,
    "likely_layers": layer_choice,
    "list_layers": layer_choice,
}


@pytest.fixture
def counted(monkeypatch):
    """How often each expensive thing was really done."""
    counts = {"trace_preprocessing": 0, "forward_to_layers": 0, "likely_layers": 0, "list_layers": 0}
    for name in counts:
        original = getattr(WHERE[name], name)

        def count(*arguments, name=name, original=original, **options):
            counts[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(WHERE[name], name, count)
    return counts


@pytest.fixture
def ask(make_bundle, export, tmp_path):
    (tmp_path / "out").mkdir()
    bundle = make_bundle()

    def run(cache, seed=0, affine=AFFINE, **options):
        array = (
            np.random.default_rng(seed).normal(0, 5, (30, 28, 26))
            + 300 * blob((30, 28, 26), AFFINE, AFFINE[:3] @ [15, 12, 13, 1], 7)
        ).astype(np.int16)
        file = export(array, affine)
        result = explain(request((file,), str(bundle), str(tmp_path / "out"), **options), cache=cache)
        return result, np.load(result.heatmap.path)

    run.bundle = bundle
    return run


def test_another_class_is_only_another_backward_pass(ask, counted):
    cache = Cache()
    for target in (0, 2, 0):
        kept, map_kept = ask(cache, target=target)
        fresh, map_fresh = ask(None, target=target)
        np.testing.assert_array_equal(map_kept, map_fresh)
        assert kept.prediction == fresh.prediction and kept.magnitude == fresh.magnitude
    assert counted == {
        "trace_preprocessing": 1 + 3,
        "forward_to_layers": 1 + 3,
        "likely_layers": 1 + 3,
        "list_layers": 0,
    }


def test_another_layer_is_one_more_forward_pass(ask, counted):
    cache = Cache()
    ask(cache, target=1)
    ask(cache, target=1, layer="features.denseblock1")
    ask(cache, target=2, layer="features.denseblock1", interpolation="nearest")
    assert counted == {"trace_preprocessing": 1, "forward_to_layers": 2, "likely_layers": 1, "list_layers": 0}


def test_a_changed_volume_is_another_volume(ask, counted):
    cache = Cache()
    one, _ = ask(cache, seed=0)
    other, _ = ask(cache, seed=1)
    moved, _ = ask(cache, seed=1, affine=GEOMETRIES["LPS"])
    again, _ = ask(cache, seed=1)
    assert counted["trace_preprocessing"] == 3
    assert one.prediction != other.prediction and again.prediction == other.prediction
    assert moved.steps != other.steps


def test_a_changed_bundle_is_another_bundle(ask, counted):
    cache = Cache()
    before, _ = ask(cache)
    weights = ask.bundle / "models" / "model.pt"
    torch.save({k: v * 1.5 if v.is_floating_point() else v for k, v in torch.load(weights).items()}, weights)
    after, _ = ask(cache)
    assert before.prediction.outputs != after.prediction.outputs and counted["trace_preprocessing"] == 2
    config = ask.bundle / "configs" / "inference.json"
    text = json.loads(config.read_text())
    text["preprocessing"]["transforms"][6]["spatial_size"] = [40, 40, 40]
    config.write_text(json.dumps(text))
    assert ask(cache)[0].network_input_shape == (40, 40, 40)


def test_a_bundle_is_trusted_anew_for_every_request(ask):
    cache = Cache()
    ask(cache)
    with pytest.raises(UntrustedBundleError):
        ask(cache, trust=False)


def test_a_run_that_asks_for_the_trail_gets_it(ask, counted, tmp_path):
    cache = Cache()
    ask(cache)
    (tmp_path / "trail").mkdir()
    ask(cache, intermediates_folder=str(tmp_path / "trail"))
    assert len(os.listdir(tmp_path / "trail")) == 16 and counted["trace_preprocessing"] == 2


def test_a_failed_run_is_not_kept(ask, monkeypatch):
    cache = Cache()
    real = inputs.trace_preprocessing
    monkeypatch.setattr(inputs, "trace_preprocessing", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("once")))
    with pytest.raises(RuntimeError, match="once"):
        ask(cache)
    monkeypatch.setattr(inputs, "trace_preprocessing", real)
    assert ask(cache)[0].magnitude > 0


def test_a_shelf_holds_the_last_used():
    shelf, made = LruCache(2), []
    for key in "abacab":
        shelf.get(key, lambda key=key: made.append(key))
    assert made == ["a", "b", "c", "b"] and len(shelf) == 2


class Deeper(torch.nn.Module):
    """Takes another way for a large image than for a small one, so that the small one says nothing of it."""

    def __init__(self):
        super().__init__()
        self.near = torch.nn.Conv3d(1, 4, 4, 2, 1)
        self.far = torch.nn.Conv3d(4, 4, 4, 2, 1)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x):
        x, large = self.near(x).relu(), x.shape[2] > 16
        return self.head((self.far(x).relu() if large else x).amax((2, 3, 4)))


def test_the_default_layer_is_that_of_the_real_input_whatever_a_small_one_says():
    from monai.transforms import Compose, EnsureChannelFirst

    from CAMOverlayLib import explain as explain_direct

    torch.manual_seed(0)
    array = np.random.default_rng(0).normal(0, 1, (32, 32, 32)).astype(np.float32)
    chain = Compose([EnsureChannelFirst(channel_dim="no_channel")])
    for method, layer in (("gradcam", "far"), ("refined", "the network's input × near × far")):
        found = explain_direct(Deeper(), chain, (array, AFFINE), method=method)
        assert found.result.layer == layer


@pytest.mark.parametrize("name", ["DenseNet", "SegResNet"])
def test_no_second_forward_pass_where_the_small_input_was_right(name):
    from monai.networks.nets import DenseNet, SegResNet
    from monai.transforms import Compose, EnsureChannelFirst

    from CAMOverlayLib import explain as explain_direct

    network = {
        "DenseNet": lambda: DenseNet(3, 1, 2, init_features=4, growth_rate=4, block_config=(2, 2)),
        "SegResNet": lambda: SegResNet(3, 8, 1, 2),
    }[name]()
    seen = []
    network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].numel()))
    array = np.random.default_rng(0).normal(0, 1, (32, 32, 32)).astype(np.float32)
    chain = Compose([EnsureChannelFirst(channel_dim="no_channel")])
    explain_direct(network, chain, (array, AFFINE), checks="none")  # one of which is a pass of a copy, hooks and all
    assert seen == [16**3, 32**3]


def test_mixed_precision_is_the_same_map_but_for_rounding(ask):
    cache = Cache()
    one, exact = ask(cache, target=1)
    two, amp = ask(cache, target=1, amp=True)
    assert 0 < np.abs(amp - exact).max() < 0.1
    assert two.prediction.probabilities == pytest.approx(one.prediction.probabilities, abs=0.02)


class TooMuch(torch.nn.Module):
    """Has too little memory for anything, or on a GPU only."""

    def __init__(self, on_cpu):
        super().__init__()
        self.conv, self.on_cpu = torch.nn.Conv3d(1, 2, 2, 2), on_cpu

    def forward(self, x):
        if x.is_cuda or self.on_cpu:
            raise torch.OutOfMemoryError("out of memory")
        return self.conv(x).amax((2, 3, 4))


def test_too_little_memory_says_so():
    from monai.transforms import Compose, EnsureChannelFirst

    from CAMOverlayLib import explain as explain_direct
    from CAMOverlayLib.contract.errors import DeviceError

    array = np.random.default_rng(0).normal(0, 1, (20, 20, 20)).astype(np.float32)
    with pytest.raises(DeviceError, match="CPU has too little memory for this network"):
        explain_direct(TooMuch(True), Compose([EnsureChannelFirst(channel_dim="no_channel")]), (array, AFFINE))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_with_too_little_memory_leaves_it_to_the_cpu(make_bundle, export, tmp_path):
    folder = make_bundle(weights=None, network={"_target_": "scripts.nets.TooMuch", "on_cpu": False})
    (folder / "scripts").mkdir()
    (folder / "scripts/__init__.py").touch()
    source = "import torch\n\n\n" + __import__("inspect").getsource(TooMuch)
    (folder / "scripts/nets.py").write_text(source)
    torch.save(TooMuch(False).state_dict(), folder / "models/model.pt")
    (tmp_path / "out").mkdir()
    file = export(np.random.default_rng(0).integers(0, 300, (30, 28, 26)).astype(np.int16), AFFINE)
    result = explain(request((file,), str(folder), str(tmp_path / "out"), trust=True, device="cuda"))
    assert (
        result.device == "cpu"
        and "too little memory" in result.warnings[0]
        and "The CPU computed" in result.warnings[0]
    )
