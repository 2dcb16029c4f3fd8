"""The localisation benchmark's metrics, on maps whose worth is known by reckoning; nothing is trained here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from Benchmarks.localisation_metrics import Score, Truth, peak, score, summary

SPACING = (1.0, 2.0, 4.0)


def rotated():
    """An oblique, anisotropic affine that points against RAS along one axis."""
    c, s = math.cos(0.3), math.sin(0.3)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, -1]]) * SPACING
    affine[:3, 3] = 10, -20, 30
    return affine


@pytest.fixture
def truth():
    """A lesion of 8 mm about voxel (20, 15, 8) of a 48×32×16 grid."""
    affine = rotated()
    return Truth((48, 32, 16), affine, affine[:3] @ [20, 15, 8, 1], 8.0)


def spot(truth, index, value=1.0):
    heat = np.zeros(truth.shape, np.float32, order="F")
    heat[index] = value
    return heat


def test_the_mask_is_the_ball_on_the_voxel_grid(truth):
    i, j, k = np.indices(truth.shape)
    expected = (i - 20) ** 2 + (2 * (j - 15)) ** 2 + (4 * (k - 8)) ** 2 <= 64 + 1e-6
    assert truth.mask.shape == truth.shape and np.array_equal(truth.mask, expected)
    assert truth.mask.sum() * np.prod(SPACING) == pytest.approx(4 / 3 * math.pi * 8**3, rel=0.1)


def test_distance_in_mm_and_hits(truth):
    assert score(spot(truth, (20, 15, 8)), truth) == Score(pytest.approx(0, abs=1e-6), True, True, 1.0)
    beside = score(spot(truth, (20, 15, 6)), truth)  # two voxels of 4 mm along K: on the edge
    assert beside.distance_mm == pytest.approx(8)
    off = score(spot(truth, (30, 15, 8)), truth, half_activation_mm=2.5)  # ten voxels of 1 mm along I
    assert off.distance_mm == pytest.approx(10) and not off.hit and off.near and off.share == 0
    assert not score(spot(truth, (31, 15, 8)), truth, half_activation_mm=2.5).near


def test_share_of_heat_is_of_all_heat_on_the_grid(truth):
    even = np.ones(truth.shape, np.float32)
    assert score(even, truth).share == pytest.approx(truth.mask.mean())
    amp = np.where(truth.mask, 3.0, 0.0) / truth.mask.sum() + np.where(truth.mask, 0.0, 1.0) / (~truth.mask).sum()
    assert score(amp.astype(np.float32), truth).share == pytest.approx(0.75)
    assert score(7 * amp, truth).share == pytest.approx(0.75)  # whatever the unit


def test_a_plateau_peaks_in_its_middle_and_not_in_its_corner(truth):
    heat = np.zeros(truth.shape, np.float32)
    heat[10:31, 13:18, 8] = 1
    assert peak(heat) == pytest.approx([20, 15, 8])
    assert score(heat, truth).hit


def test_a_map_without_evidence_is_a_miss(truth):
    empty = score(np.zeros(truth.shape, np.float32), truth)
    assert empty == Score(math.inf, False, False, 0.0)
    assert summary([empty])["median_mm"] is None and summary([empty])["hits"] == 0


def test_a_map_on_another_grid_is_refused(truth):
    with pytest.raises(ValueError, match=r"\(16, 32, 48\)"):
        score(np.ones((16, 32, 48), np.float32), truth)


def test_summary_is_median_and_means(truth):
    found = summary([Score(2.0, True, True, 0.5), Score(9.0, False, True, 0.1), Score(math.inf, False, False, 0.0)])
    assert found == {
        "volumes": 3,
        "median_mm": 9.0,
        "hits": pytest.approx(1 / 3),
        "near": pytest.approx(2 / 3),
        "share": pytest.approx(0.2),
    }


def test_seeds_and_networks_for_choosing_are_not_those_for_reporting():
    pytest.importorskip("torch")
    from Benchmarks import localisation as bench

    seeds = [bench.TRAINING_SEEDS, bench.CHECKING_SEEDS, bench.CHOOSING_SEEDS, bench.REPORTING_SEEDS]
    assert len(set().union(*seeds)) == sum(map(len, seeds))
    assert not set(bench.CHOOSING) & set(bench.REPORTING)
    strides = {bench.RECIPES[name].stride for name, _ in bench.REPORTING}
    assert strides == {8, 16, 32}
    for name in {name for name, _ in bench.REPORTING}:
        assert sum(n == name for n, _ in bench.REPORTING) >= 2  # several seeds


@pytest.mark.parametrize("name", ["plain/8", "densenet/16", "resnet/16", "resnet/32", "densenet/32"])
def test_the_networks_have_the_stride_that_they_are_called_by(name):
    torch = pytest.importorskip("torch")
    from Benchmarks.localisation_networks import CLASSES, RECIPES, make

    from CAMOverlayLib.engine.network.layers import list_layers

    network = make(name, seed=0).eval()
    table = list_layers(network, torch.randn(1, 1, 64, 64, 64), receptive=False)
    stride = RECIPES[name].stride
    assert table.find(None).stride == (stride,) * 3 and name.endswith(f"/{stride}")
    assert network(torch.randn(1, 1, 64, 64, 64)).shape == (1, len(CLASSES))
