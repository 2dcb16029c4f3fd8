"""What the checks of answer and stability measure: against Quantus' own answers, Captum's metrics asked anew, and plain
algebra."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from Oracles.quantus import cases

from CAMOverlayLib import explain
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.contract.request import Prediction, Target
from CAMOverlayLib.engine.checks import of_answer, of_stability, removal, similarity
from CAMOverlayLib.engine.checks.captum_figures import infidelity, sensitivity_max
from CAMOverlayLib.engine.checks.imputation import impute
from CAMOverlayLib.engine.checks.of_class import of_other
from CAMOverlayLib.engine.checks.removal import Removal
from CAMOverlayLib.engine.checks.subject import Subject
from CAMOverlayLib.engine.methods import METHODS, Case
from CAMOverlayLib.engine.network.forward import forward_to_layers
from CAMOverlayLib.engine.target.objective import Objective
from CAMOverlayLib.reading.anatomy import structure_figures

CASE, SAID = cases.inputs(), cases.answers()
NUMBERS = range(cases.IMAGES)


# Quantus -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def network():
    """The one that Quantus was given, in double precision."""
    made = torch.nn.Sequential(
        torch.nn.Conv2d(1, cases.FEATURES, cases.KERNEL, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(cases.FEATURES, cases.CLASSES),
    ).double()
    weights = [CASE[name] for name in ("convolution", "bias", "linear", "offset")]
    with torch.no_grad():
        for parameter, values in zip(made.parameters(), weights, strict=True):
            parameter.copy_(torch.as_tensor(values))
    return made.eval()


def subject_of(network, number, heat=None):
    """One of Quantus' images, explained at the network's ReLU for the class that it predicts."""
    image = torch.as_tensor(CASE["image"][number])[None]
    forward = forward_to_layers(network, image, ["1"])
    scores = forward.output.detach()[0]
    index = int(scores.argmax())
    names = tuple(str(one) for one in range(len(scores)))
    prediction = Prediction(names, tuple(scores.tolist()), tuple(scores.softmax(0).tolist()), "softmax", index)
    objective = Objective(((index, 1.0),), None, Target(index, str(index), "its output"))
    case = Case(network, image, forward, ("1",), prediction, objective)
    method = METHODS["gradcam"]
    found = method.compute(case).double().numpy() if heat is None else heat
    return Subject(method, case, found, (1.0, 1.0))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_hole_is_filled_as_road_fills_it(number):
    hole = CASE["hole"][number]
    filled = impute(CASE["coloured"][number], hole)
    np.testing.assert_allclose(filled, SAID["imputed"][number], atol=1e-6)
    assert np.array_equal(filled[:, ~hole], CASE["coloured"][number][:, ~hole])


def test_what_is_left_of_the_answers_is_roads_curve(network, monkeypatch):
    monkeypatch.setattr(removal, "NOISE", 0.0)
    right = {percentage: [] for percentage in cases.PERCENTAGES}
    for number in NUMBERS:
        taken = Removal(torch.as_tensor(CASE["image"][number])[None], CASE["map"][number])
        assert taken.shape == cases.SHAPE, "the places are the pixels"
        for percentage in cases.PERCENTAGES:
            image = taken.without(taken.by_heat()[: int(taken.count * percentage / 100)])
            right[percentage].append(int(network(image).argmax()) == SAID["classes"][number])
    assert {str(percentage): np.mean(found) for percentage, found in right.items()} == SAID["road"]
    assert len(set(SAID["road"].values())) >= 3, "it says something"


@pytest.mark.parametrize("number", NUMBERS)
def test_the_map_of_another_class_is_as_alike_as_the_random_logit_test_says(network, number):
    subject = subject_of(network, number)
    assert subject.case.objective.target.index == SAID["classes"][number]
    other = SAID["random logit"]["others"][number]
    heat = subject.heat_of(subject.changed(objective=of_other(subject.case.objective, other, str(other))))
    found = similarity.correlation(subject.heat, heat)
    assert found == pytest.approx(SAID["random logit"]["scores"][number], abs=1e-6)


@pytest.mark.parametrize("number", NUMBERS)
def test_figures_of_maps_are_quantus_figures(network, number):
    heat, changed = CASE["map"][number], CASE["changed"][:, number]
    assert similarity.spearman(heat, changed[0]) == pytest.approx(SAID["spearman"][number], abs=1e-9)
    assert similarity.entropy(heat) == pytest.approx(SAID["entropy"][number], abs=1e-9)
    subject = subject_of(network, number, heat)
    images = [subject.case.image] * len(changed)
    found = sensitivity_max(subject, images, list(changed))["sensitivity_max"]
    assert found == pytest.approx(SAID["max sensitivity"][number], rel=1e-6)


@pytest.mark.parametrize("number", NUMBERS)
def test_infidelity_is_quantus_loss_of_the_map_scaled_as_fits_best(network, number):
    subject, parts = subject_of(network, number, CASE["map"][number]), CASE["parts"][number]
    image, explained = subject.case.image, subject.case.objective
    without = [torch.where(torch.as_tensor(part), 0.0, image) for part in parts]
    with torch.no_grad():
        intact, *answers = (float(explained(network(one))) for one in (image, *without))
    found = infidelity(subject, lambda n: torch.as_tensor(parts[n])[None, None], without.__getitem__, intact, answers)
    assert found["infidelity"] == pytest.approx(SAID["infidelity"][number], rel=1e-5)
    assert found["infidelity"] <= found["infidelity of no map"]


@pytest.mark.parametrize("number", NUMBERS)
def test_where_the_heat_lies_is_told_as_quantus_tells_it(number):
    heat = CASE["map"][number].astype(np.float32)[..., None]
    found = structure_figures(heat, None, CASE["mask"][number][..., None], "disc", Grid(heat.shape, np.eye(4)))
    told = {name: values[number] for name, values in SAID["localisation"].items()}
    assert found.holds_peak == bool(told["pointing game"])
    assert found.rank_accuracy == pytest.approx(told["rank accuracy"], abs=1e-6)
    assert found.share == pytest.approx(told["mass accuracy"], abs=1e-6)


# Filling -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(12,), (11, 12), (9, 10, 8)])
def test_a_hole_in_what_is_straight_is_filled_with_what_is_straight(shape):
    """Weights that are the same on both sides have every linear function as their solution."""
    straight = sum((axis + 1.0) * index for axis, index in enumerate(np.indices(shape)))[None]
    hole = np.zeros(shape, bool)
    hole[tuple(slice(2, n - 2) for n in shape)] = True
    np.testing.assert_allclose(impute(np.where(hole, 1e6, straight), hole), straight, atol=1e-5)


@pytest.mark.parametrize("share", [0.02, 0.4, 0.97])
def test_in_three_dimensions_every_removed_place_is_the_mean_of_its_neighbours(share):
    random = np.random.default_rng(int(100 * share))
    values, hole = random.normal(size=(2, 7, 8, 6)), random.random((7, 8, 6)) < share
    filled = impute(values, hole)
    padded = np.pad(filled, ((0, 0), (1, 1), (1, 1), (1, 1)), constant_values=np.nan)
    away = np.linalg.norm(np.indices((3, 3, 3)) - 1, axis=0) ** 2
    weights = np.divide(1, away, out=np.zeros_like(away), where=away > 0)
    for place in np.argwhere(hole):
        around = padded[(slice(None), *(slice(n, n + 3) for n in place))]
        there = ~np.isnan(around[0])
        expected = (around[:, there] * weights[there]).sum(1) / weights[there].sum()
        np.testing.assert_allclose(filled[(slice(None), *place)], expected, atol=1e-6)


def test_nothing_removed_and_everything_removed():
    values = np.random.default_rng(0).normal(size=(1, 4, 5, 3))
    assert np.array_equal(impute(values, np.zeros((4, 5, 3), bool)), values)
    np.testing.assert_allclose(impute(values, np.ones((4, 5, 3), bool)), values.mean())


def test_controls_leave_what_the_map_holds_hottest_and_take_what_is_busy_first():
    random = np.random.default_rng(0)
    image = torch.as_tensor(random.normal(size=(1, 1, 24, 24, 24))).float()
    image[..., :12] = 0  # empty
    taken = Removal(image, random.random((8, 8, 8)))
    hottest = taken.by_heat()[:51]
    for order in (taken.at_random(1, hottest), taken.blob((1.0, 1.0, 1.0), 1, hottest)):
        assert sorted(order) == list(range(512)) and set(order[-51:]) == set(hottest)
        assert taken.busy.ravel()[order[0]]
    busy = taken.busy.ravel()[taken.at_random(1, hottest)[:-51]]
    assert np.array_equal(busy, np.sort(busy)[::-1])
    blob = np.array(np.unravel_index(taken.blob((1.0, 2.0, 1.0), 1)[:100], taken.shape)).T
    away = np.linalg.norm((blob - blob[0]) * (1.0, 2.0, 1.0), axis=1)
    assert np.array_equal(away, np.sort(away))


# Captum, asked anew --------------------------------------------------------------------------------------------------


def lesion_finder():
    """Finds what is bright, in a volume that has one bright ball."""
    torch.manual_seed(0)
    made = torch.nn.Sequential(
        torch.nn.AvgPool3d(4),
        torch.nn.Conv3d(1, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveMaxPool3d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2, bias=False),
    )
    with torch.no_grad():
        made[1].weight[0], made[1].bias[0] = 1 / 27, -1.0
        made[5].weight[:, 0] = torch.tensor([-3.0, 3.0])
    return made


def bright_ball(shape=(24, 24, 24)):
    random = np.random.default_rng(0)
    away = np.linalg.norm(np.moveaxis(np.indices(shape), 0, -1) - (14, 10, 12), axis=-1)
    return (random.normal(size=shape) + 20 * (away < 5)).astype(np.float32)


def checked(network, array, **options):
    from monai.transforms import Compose, EnsureChannelFirst

    chain = Compose([EnsureChannelFirst(channel_dim="no_channel")])
    return explain(network, chain, (array, np.diag([1.0, 2.0, 1.5, 1.0])), checks="full", **options)


@pytest.fixture(scope="module")
def found():
    """Of a map on the input's own grid, so that nothing is resampled on its way to the volume."""
    return checked(lesion_finder(), bright_ball(), method="saliency")


def figures(found, name):
    return next(one.figures for one in found.result.checks if one.name == name)


@pytest.fixture(scope="module")
def coarse():
    """Of a map on a layer's grid, four times as coarse as the image."""
    return checked(lesion_finder(), bright_ball(), layer="2")


def test_captums_figures_are_among_those_of_the_card(found, coarse):
    answer, stability = figures(found, "answer"), figures(found, "stability")
    assert 0 <= answer["infidelity"] <= answer["infidelity of no map"] and stability["sensitivity_max"] >= 0
    better, said = figures(coarse, "answer"), next(c for c in coarse.result.checks if c.name == "answer")
    assert said.verdict == "passed" and better["infidelity"] < 0.5 * better["infidelity of no map"], said.words


def test_without_captum_its_figures_are_absent_and_nothing_else_changes(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    without = checked(lesion_finder(), bright_ball(), method="saliency").result.checks
    for one, other in zip(found.result.checks, without, strict=True):
        gone = set(one.figures) - set(other.figures)
        expected = {"answer": {"infidelity", "infidelity of no map"}, "stability": {"sensitivity_max"}}
        assert gone == expected.get(one.name, set())
        assert (one.words, one.verdict) == (other.words, other.verdict)
        assert not any(word in other.words.casefold() for word in ("captum", "infidelity", "sensitivity"))


def test_captum_says_the_same_when_it_asks_network_and_method_itself(monkeypatch):
    """The checks hand Captum answers and maps that they have already; here it gets them from network and method."""
    import captum.metrics

    handed = {}
    for module, name in ((of_answer, "infidelity"), (of_stability, "sensitivity_max")):
        original = getattr(module, name)

        def spy(*given, name=name, original=original):
            handed[name] = (given, original(*given))
            return handed[name][1]

        monkeypatch.setattr(module, name, spy)
    network = lesion_finder()
    checked(network, bright_ball(), layer="2")
    (subject, hole, without, _, answers), told = handed["infidelity"]
    image, number = subject.case.image, iter(range(len(answers)))

    def taken(images):
        n = next(number)
        return hole(n).to(images).expand_as(images), without(n)

    heat = torch.nn.functional.interpolate(
        torch.as_tensor(subject.heat)[None, None].float(), image.shape[2:], mode="trilinear"
    )
    asked = {"n_perturb_samples": len(answers), "max_examples_per_batch": 1, "normalize": True}
    again = captum.metrics.infidelity(lambda images: network(images)[:, 1], taken, image, heat, **asked)
    assert float(again) == pytest.approx(told["infidelity"], rel=1e-4)
    (subject, images, _), told = handed["sensitivity_max"]
    noisy = iter(images)
    again = captum.metrics.sensitivity_max(
        lambda given: (
            torch.as_tensor(subject.heat_of(subject.changed(image=given[0] if isinstance(given, tuple) else given)))[
                None
            ],
        ),
        image,
        lambda given: next(noisy),
        n_perturb_samples=len(images),
        max_examples_per_batch=1,
    )
    assert float(again) == pytest.approx(told["sensitivity_max"], rel=1e-4)


# The map of the deviation --------------------------------------------------------------------------------------------


def test_the_deviation_is_that_of_maps_that_are_made_one_by_one(found):
    """Noise, shifts and mirroring by hand, each explained by torch alone."""
    image, network = torch.as_tensor(bright_ball())[None, None], lesion_finder()

    def saliency(given):
        given = given.clone().requires_grad_()
        heat = torch.autograd.grad(network(given)[0, 1], given)[0][0, 0].abs().numpy()
        return heat / heat.max()

    maps = [saliency(image)]
    np.testing.assert_allclose(found.heatmap.get_fdata(), maps[0], atol=1e-6)
    for number in range(2):
        generator = torch.Generator().manual_seed(similarity.SEED + number)
        maps.append(saliency(image + torch.randn(image.shape, generator=generator) * of_stability.NOISE * image.std()))
    for axis in range(3):
        maps.append(np.roll(saliency(torch.roll(image, 1, 2 + axis)), -1, axis))
    maps.append(np.flip(saliency(torch.flip(image, (2,))), 0))
    assert figures(found, "stability")["mirrored"] == 1
    expected, said = np.std(maps, axis=0), found.result.further[0]
    assert (said.name, said.highest) == ("deviation", 0.5) and expected.max() > 0.1
    np.testing.assert_allclose(found.further["deviation"].get_fdata(), expected, atol=1e-5)
    np.testing.assert_allclose(found.further["deviation"].affine, found.heatmap.affine)
    assert figures(found, "stability")["largest deviation"] == pytest.approx(expected.max(), abs=1e-5)


def test_a_coarse_map_deviates_on_the_volumes_grid_within_its_scale(coarse):
    deviation, said = coarse.further["deviation"].get_fdata(), coarse.result.further[0]
    assert deviation.shape == coarse.heatmap.shape and 0 < deviation.max() <= said.highest
    assert deviation.max() <= figures(coarse, "stability")["largest deviation"] * said.highest / 0.5 + 1e-6


def test_of_a_part_there_is_no_map_and_the_words_say_so():
    from monai.inferers import SlidingWindowInferer

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(6, 2, 1))
    array = bright_ball((32, 16, 16))
    found = checked(network, array, inferer=SlidingWindowInferer((16, 16, 16), 1, 0.25), layer="0")
    assert found.further == {} and found.result.further == ()
    words = {one.name: one.words for one in found.result.checks}
    assert "no map of the deviation" in words["stability"] and "the window of" in words["stability"]
