"""Whether a map can be believed: what the checks say of maps of which that is known."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import support
import torch
from scipy import ndimage, stats
from support import snapshot

from CAMOverlayLib.contract.errors import Cancelled, MethodError
from CAMOverlayLib.contract.findings import CHECKS
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.request import Result
from CAMOverlayLib.demo import DEMO_BUNDLE, DEMO_VOLUME
from CAMOverlayLib.engine.bundle.opened import open_model
from CAMOverlayLib.engine.checks import cost, orderly, randomise, similarity
from CAMOverlayLib.engine.checks.removal import Removal
from CAMOverlayLib.engine.inference import FullImageInference, SlidingWindowInference
from CAMOverlayLib.engine.methods import METHODS, Method
from CAMOverlayLib.engine.methods.method import no_layer
from CAMOverlayLib.engine.network import order
from CAMOverlayLib.engine.network.forward import forward_to_layers
from CAMOverlayLib.engine.pipeline import explain, explain_model
from CAMOverlayLib.reading.comparison import mean_ranks

CPU = torch.device("cpu")


def asking(tmp_path):
    """The demo explained, by its own network or another one in its place."""
    image = nibabel.load(DEMO_VOLUME)
    np.save(tmp_path / "v.npy", np.asfortranarray(np.asarray(image.dataobj)))
    (tmp_path / "out").mkdir()
    from CAMOverlayLib.contract.target import VolumeFile
    from CAMOverlayLib.engine.cache import Cache
    from CAMOverlayLib.engine.geometry.volume import read_volume
    from CAMOverlayLib.engine.progress import Clock

    file = VolumeFile(str(tmp_path / "v.npy"), tuple(map(tuple, image.affine.tolist())), "v")

    def explained(network=None, report=lambda progress: None, **options):
        asked = {"checks": "quick", "device": "cpu"} | options
        request = support.request((file,), DEMO_BUNDLE, tmp_path / "out", **asked)
        if network is None:
            return explain(request, report)
        model = dataclasses.replace(demo_model(), network=network)
        return explain_model(model, [read_volume(file)], request, Clock(report), Cache())

    return explained


@pytest.fixture
def ask(tmp_path):
    return asking(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All that can be asked of the demo, once for every test; and what random numbers come after it."""
    return seeded(asking(tmp_path_factory.mktemp("trained")), checks="full")


def seeded(ask, *network, **options):
    torch.manual_seed(5)
    np.random.seed(5)
    return ask(*network, **options), (*torch.rand(3).tolist(), *np.random.rand(3))


def demo_model():
    return open_model(ModelSource(str(DEMO_BUNDLE), trust=True)).model(CPU)


def verdicts(result):
    return {one.name: one.verdict for one in result.checks}


def of_random_weights(seed):
    torch.manual_seed(seed)
    network = demo_model().network
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return network


def edges(case):
    """An edge detector that passes for an explanation: it knows neither class nor network."""
    return (case.image - case.image.mean()).abs()[0].mean(0)


def test_the_trained_network_passes_all_four(trained):
    result, _ = trained
    assert verdicts(result) == dict.fromkeys(CHECKS, "passed"), [one.words for one in result.checks]
    assert all(one.seconds > 0 and one.words for one in result.checks)
    assert Result.from_json(result.to_json()) == result
    assert {"name", "verdict", "figures", "words", "seconds"} <= set(json.loads(result.to_json())["checks"][0])
    lengths = [{len(values) for values in one.curves.values()} for one in result.checks if one.curves]
    assert len(lengths) == 3 and all(len(one) == 1 for one in lengths)


def test_two_quick_ones_come_with_every_map_and_change_nothing_of_it(ask):
    without = ask(checks="none")
    before = np.load(without.heatmap.path)
    result = ask()
    assert without.checks == () and verdicts(result) == {"class": "passed", "network": "passed"}
    assert np.array_equal(np.load(result.heatmap.path), before)
    took = sum(result.timings[s] for s in ("volume", "bundle", "preprocess", "forward", "backward"))
    print(f"quick checks {result.timings['check'] / took:.2f} × the run up to the map")


def test_random_weights_belong_to_no_network_and_no_answer(ask):
    found = verdicts(ask(of_random_weights(0), checks="full"))
    assert (found["network"], found["answer"]) == ("failed", "failed")


@pytest.mark.slow
def test_no_random_weights_pass_for_a_network(ask):
    found = [verdicts(ask(of_random_weights(seed)))["network"] for seed in (1, 2)]
    found += [verdicts(ask(of_random_weights(5), method="layercam"))["network"]]
    assert set(found) == {"failed"}, found


@pytest.mark.slow
def test_an_edge_detector_belongs_to_no_class_and_no_network(ask, monkeypatch):
    monkeypatch.setitem(METHODS, "saliency", Method(METHODS["saliency"].info, edges, no_layer))
    found = verdicts(ask(method="saliency", checks="full"))
    assert (found["class"], found["network"]) == ("failed", "failed")


def test_the_checks_are_the_same_every_time_and_leave_the_network_and_nobody_elses_numbers(ask, trained):
    network, fractions = demo_model().network, []
    before = snapshot(network)
    again, drawn = seeded(
        ask,
        network,
        lambda progress: fractions.append(progress.fraction) if progress.stage == "check" else None,
        checks="full",
    )
    assert drawn == trained[1] == seeded(ask, checks="none")[1]
    for one, two in zip(trained[0].checks, again.checks, strict=True):
        assert dataclasses.replace(one, seconds=0) == dataclasses.replace(two, seconds=0)
    require_same(network, before)
    assert fractions == sorted(fractions) and len(set(fractions)) > 40


def require_same(network, before):
    after = snapshot(network)
    assert all(torch.equal(after[0][name], value) for name, value in before[0].items())
    assert after[1:] == before[1:]


@pytest.mark.parametrize(
    "end", [support.SLOW("check 1"), "check 2", "check 3", pytest.param("check 4", marks=pytest.mark.slow)]
)
def test_the_network_is_as_it_was_also_when_cancelled(ask, end):
    network = demo_model().network
    before = snapshot(network)

    def report(progress):
        if progress.stage == "check" and progress.message.startswith(end):
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        ask(network, report, checks="full")
    require_same(network, before)


def test_the_figures_are_those_of_scipy(ask):
    """Everything of the two quick checks again, from weights and voxels, by other means."""
    network = demo_model().network
    result = ask(network)
    first, second = (one.figures for one in result.checks)
    from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing

    image = trace_preprocessing(demo_model().chain, [str(DEMO_VOLUME)]).image.as_tensor().float()[None]

    def cam(network, index):
        forward = forward_to_layers(network, image, ["stage4"])
        gradient = torch.autograd.grad(forward.output[0, index], forward.tensors["stage4"])[0].numpy()[0]
        activation = forward.tensors["stage4"].detach().numpy()[0]
        heat = np.einsum("c,cijk->ijk", gradient.mean((1, 2, 3)), activation).clip(0)
        return heat, activation.reshape(len(activation), -1).astype(float)

    own, channels = cam(network, 1)
    other, _ = cam(network, int(first["runner-up"]))
    with torch.no_grad():
        for number, weights in enumerate(network.parameters()):
            generator = torch.Generator().manual_seed(similarity.SEED + number)
            order = torch.randperm(weights.numel(), generator=generator) if weights.numel() > 1 else torch.tensor([0])
            weights.copy_(weights.flatten()[order].view_as(weights))
    shuffled, second_channels = cam(network, 1)
    assert first["similarity"] == pytest.approx(stats.spearmanr(own.ravel(), other.ravel())[0], abs=1e-3)
    assert second["similarity"] == pytest.approx(stats.spearmanr(own.ravel(), shuffled.ravel())[0], abs=1e-3)
    bins = np.histogram(own, int(np.ceil(2 * own.size ** (1 / 3))))[0]
    assert second["entropy"] == pytest.approx(stats.entropy(bins), abs=1e-3)

    def drawn(channels, seed):
        weights = np.random.default_rng(seed).normal(size=(50, len(channels)))
        return (weights @ channels).clip(0)

    for figures, channels_of_other in ((first, channels), (second, second_channels)):
        pairs = zip(drawn(channels, similarity.SEED), drawn(channels_of_other, similarity.SEED + 1), strict=True)
        assert figures["random pairs"] == pytest.approx(
            np.quantile([stats.spearmanr(a, b)[0] for a, b in pairs], 0.95), abs=2e-3
        )


def test_a_map_is_as_orderly_as_every_other_of_its_kind_and_more_so_than_noise():
    random = np.random.default_rng(0)
    noise = [random.random((12, 12, 12)) for _ in range(40)]
    blob = np.zeros((12, 12, 12))
    blob[3:6, 3:6, 3:6] = 1
    found = orderly.orderly(blob + 0.05 * random.random(blob.shape), noise)
    assert (found.as_it_is, found.equally_lit, found.count) == (0, 0, 40)
    shares = [orderly.orderly(one, [*noise[:n], *noise[n + 1 :]]).as_it_is for n, one in enumerate(noise)]
    assert stats.kstest(shares, "uniform").pvalue > 0.05
    empty = orderly.orderly(blob, [np.zeros_like(blob)])
    assert empty.count == 0 and empty.figures()["shuffled maps"] == 0
    hot = orderly.hottest(np.array([5.0, 1.0, 3.0, 2.0]), 2)
    assert np.array_equal(hot, [3, 0, 1, 0])


def test_a_map_that_lights_a_third_is_beside_equally_lit_ones():
    """Of random maps some are hardly lit: less entropy than a peak on a wide ground, and no more order."""
    random = np.random.default_rng(1)
    where = np.linalg.norm(np.argwhere(np.ones((14, 14, 14))) - 5, axis=1).reshape(14, 14, 14)
    peak = np.maximum(np.exp(-((where / 2) ** 2)) + 0.05 - 0.005 * where, 0)
    waves = [ndimage.gaussian_filter(random.normal(size=peak.shape), 1) for _ in range(40)]
    found = orderly.orderly(
        peak,
        [
            np.maximum(one - np.quantile(one, share), 0)
            for one, share in zip(waves, np.linspace(0, 0.99, 40), strict=True)
        ],
    )
    assert found.as_it_is > 0 and found.equally_lit <= found.as_it_is / 2, found


class Backwards(torch.nn.Module):
    """Its parts are registered in another order than they run; one runs twice, one never."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.head = torch.nn.Linear(4, 3, bias=False)
        self.unused = torch.nn.Linear(2, 2, bias=False)
        self.up = torch.nn.ConvTranspose3d(4, 4, 2, 2, bias=False)
        self.twice = torch.nn.Conv3d(4, 4, 1, bias=False)
        self.first = torch.nn.Conv3d(1, 4, 3, padding=1, stride=2, bias=False)

    def forward(self, x):
        return self.head(self.twice(self.up(self.twice(self.first(x)))).amax((2, 3, 4))) * self.scale


def test_the_cascade_goes_by_the_run_and_multiplications_are_counted():
    network, image = Backwards(), torch.zeros(1, 1, 8, 8, 8)
    with order.watched(network) as seen, torch.no_grad():
        network(image)
    names = [name for name, _ in network.named_parameters()]
    by_run = [names[number] for number in order.parameters_by_run(network, seen)]
    assert by_run == ["unused.weight", "scale", "first.weight", "up.weight", "twice.weight", "head.weight"]
    assert seen.multiplications == 64 * 27 * 4 + 64 * 16 + 64 * 16 * 8 + 512 * 16 + 12
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in network.modules())
    parts = randomise.stages(order.parameters_by_run(network, seen), 3)
    assert [names[number] for number in parts[0]] == ["twice.weight", "head.weight"]
    once, staged = randomise.copy_of(network), randomise.copy_of(network)
    randomise.shuffle(once)
    for part in parts:
        randomise.shuffle(staged, part)
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), staged.parameters(), strict=True))


def counted(inference, layers=("0",), pieces=1):
    """What is asked of a map, by counts alone."""
    explained = SimpleNamespace(inferences=[inference] * pieces, layers=layers)
    return cost.cost_of(explained, [SimpleNamespace(volume_grid=SimpleNamespace(shape=(100, 100, 100)))] * pieces)


def test_what_a_check_may_take_is_counted_in_passes():
    inference = FullImageInference(classifier(2), torch.zeros(1, 1, 8, 8, 8))
    inference.predict(("0",), lambda number, count, words: None)
    assert (inference.multiplications, inference.above) == (8 * 64 * 6 + 12, 12)
    assert counted(inference).quick == ("class", "network") and counted(inference).steps == cost.STEPS
    found = []
    for inference.multiplications in np.geomspace(1e8, 1e12, 60):
        one = counted(inference)
        asked = sum({"class": one.klass, "network": one.network}[name] for name in one.quick)
        assert asked <= cost.QUICK_SHARE * one.map
        found.append(len(one.quick))
    assert found == sorted(found, reverse=True) and {1, 2} <= set(found)
    assert counted(inference, pieces=8).quick == ("class", "network")  # half of eight maps is more than one


@pytest.mark.parametrize(("windows", "asked"), [(2, 1), (4, 2)])
def test_windows_pay_for_the_checks_of_one(windows, asked):
    from monai.inferers import SlidingWindowInferer

    image = torch.zeros(1, 1, 8 * windows, 8, 8)
    network = torch.nn.Conv3d(1, 2, 1)
    assert len(counted(SlidingWindowInference(network, image, SlidingWindowInferer((8, 8, 8), 1, 0))).quick) == asked


def test_ranks_share_what_is_equal():
    values = np.random.default_rng(0).integers(0, 5, 200).astype(float)
    assert np.array_equal(mean_ranks(values), stats.rankdata(values))
    assert similarity.spearman(values, np.ones(200)) == 0


@pytest.mark.parametrize("shape", [(24, 20, 16), (24, 20)])
def test_what_is_taken_away_is_filled_from_around_and_the_rest_stays(shape):
    random = np.random.default_rng(0)
    image = torch.as_tensor(ndimage.gaussian_filter(random.normal(size=(1, 1, *shape)), 2)).float()
    heat = random.random([n // 4 for n in shape])
    removal = Removal(image, heat)
    order = removal.by_heat()
    assert sorted(order) == list(range(heat.size)) and heat.ravel()[order[0]] == heat.max()
    for other in (removal.at_random(1), removal.blob((1.0,) * len(shape), 1)):
        assert sorted(other) == list(range(heat.size))
    without = removal.without(order[:3])
    hole = np.zeros(heat.size, bool)
    hole[order[:3]] = True
    fine = np.kron(hole.reshape(heat.shape), np.ones([4] * len(shape))).astype(bool)
    changed = (without != image)[0, 0].numpy()
    assert not changed[~fine].any() and changed[fine].mean() > 0.9
    assert image.min() - image.std() < without.min() and without.max() < image.max() + image.std()


# What cannot be told ------------------------------------------------------------------------------------------------


def test_no_such_checks(ask):
    with pytest.raises(MethodError, match="none, quick or full"):
        ask(checks="some")


@pytest.mark.parametrize("method", ["eigencam", "refined", support.SLOW("saliency")])
def test_methods_of_every_kind_get_an_answer(ask, method):
    found = ask(method=method).checks
    assert [one.name for one in found] == ["class", "network"] and all(one.words for one in found)
    if method == "eigencam":
        assert found[0].verdict == "undecided" and "every class" in found[0].words


def in_memory(network, shape=(32, 32, 32), **options):
    from monai.transforms import Compose, EnsureChannelFirst

    from CAMOverlayLib import explain as explain_direct

    array = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    chain = Compose([EnsureChannelFirst(channel_dim="no_channel")])
    return explain_direct(network, chain, (array, np.diag([1.0, 1.0, 1.0, 1.0])), **options).result


def test_a_long_method_is_asked_in_full_only():
    found = in_memory(classifier(3), method="scorecam").checks
    assert {one.verdict for one in found} == {"undecided"} and "too long" in found[0].words


def classifier(outputs, stride=4):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv3d(1, 6, stride, stride),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool3d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(6, outputs),
    )


@pytest.mark.parametrize("regression", [False, True])
def test_a_single_output_has_no_runner_up(regression):
    found = in_memory(classifier(1), checks="full", regression=regression, layer="0").checks
    assert found[0].verdict == "undecided" and "no other output" in found[0].words
    assert [one.name for one in found] == list(CHECKS)


def test_a_map_of_few_places_tells_nothing():
    found = in_memory(classifier(2, 16), checks="full", layer="0").checks
    assert {one.verdict for one in found} == {"undecided"} and "8 places" in found[0].words


def test_windows_are_checked_by_one_of_them():
    from monai.inferers import SlidingWindowInferer

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(6, 2, 1))
    inferer = SlidingWindowInferer((16, 16, 16), 1, 0.25)
    found = in_memory(network, (32, 16, 16), checks="full", inferer=inferer, layer="0").checks
    assert [one.name for one in found] == list(CHECKS)
    assert all("could not be computed" not in one.words for one in found), found
    assert any("the window of" in one.words for one in found)


def test_slices_of_a_volume_are_checked_too():
    from monai.inferers import SliceInferer
    from monai.networks.nets import SegResNet

    torch.manual_seed(0)
    network = SegResNet(2, 8, 1, 2)
    found = in_memory(
        network, (32, 32, 8), checks="full", inferer=SliceInferer(roi_size=(32, 32), sw_batch_size=1, spatial_dim=2)
    ).checks
    assert all("could not be computed" not in one.words for one in found), found


def test_a_network_that_cannot_be_copied_keeps_its_map():
    class Remembers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = classifier(2), None

        def forward(self, x):
            with torch.enable_grad():
                self.last = self.inner(x).requires_grad_() * 1  # no leaf: deepcopy refuses it
            return self.last

    result = in_memory(Remembers(), layer="inner.0")
    assert result.checks[1].verdict == "undecided" and "cannot be copied" in result.checks[1].words


def test_a_compiled_network_gets_an_answer():
    network = torch.jit.script(classifier(2))
    found = in_memory(network, method="saliency", checks="full").checks
    assert [one.name for one in found] == list(CHECKS) and all(one.words for one in found), found


def test_the_result_is_told_before_it_is_checked_where_that_is_asked(ask):
    told, heat = [], []

    def report(progress):
        if progress.result is not None:
            told.append(progress)
            heat.append(np.load(progress.result.heatmap.path))

    whole = ask(report=report, unchecked=True)
    (early,) = told
    assert early.stage == "check" and early.result.checks == () and len(whole.checks) == 2
    assert np.array_equal(heat[0], np.load(whole.heatmap.path)) and heat[0].max() == 1
    apart = {"checks": (), "timings": {}}
    assert dataclasses.replace(early.result, **apart) == dataclasses.replace(whole, **apart)
    ask(report=report)
    ask(report=report, unchecked=True, checks="none")
    assert len(told) == 1, "nobody asked, or there is nothing to wait for"
