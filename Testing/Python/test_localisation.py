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
    middle = score(spot(truth, (20, 15, 8)), truth)
    assert middle.distance_mm == pytest.approx(0, abs=1e-6) and middle.hit and middle.near and middle.share == 1
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
        "VxAP": 0.0,
        "MaxF1": 0.0,
        "Max3DBoxAcc": 0.0,
    }


def test_precision_f1_and_box_are_those_of_every_second_or_so_voxel(truth):
    """Voxels are 1 × 2 × 4 mm, so of about 2.5 mm apart every second one along I and all along J and K."""
    random = np.random.default_rng(0)
    heat = (truth.mask + random.random(truth.shape)).astype(np.float32)
    found = score(heat, truth)
    mask, values = truth.mask[::2].ravel(), heat[::2].ravel()
    assert truth.thinned_grid.shape == (24, 32, 16)
    assert truth.thinned_grid.affine[:3] @ [10, 15, 8, 1] == pytest.approx(truth.centre_ras)
    hits = np.cumsum(mask[np.argsort(-values, kind="stable")])
    precision = hits / np.arange(1, len(hits) + 1)
    recall = hits / mask.sum()
    assert found.precision == pytest.approx(float((np.diff(recall, prepend=0) * precision).sum()), rel=1e-4)
    assert found.f1 == pytest.approx(float((2 * precision * recall / (precision + recall + 1e-30)).max()), rel=1e-4)
    assert found.box  # above 1 there is the lesion alone
    perfect = score(truth.mask.astype(np.float32), truth)
    assert (perfect.precision, perfect.f1, perfect.box) == (1.0, 1.0, True)
    elsewhere = score(np.roll(truth.mask, 20, axis=0).astype(np.float32), truth)
    assert elsewhere.f1 < 0.1 and not elsewhere.box


def test_the_share_in_its_own_is_of_the_heat_in_both_lesions():
    from Benchmarks.localisation_pairs import merged, share_of_own, summary

    own, other = np.zeros((2, 4, 4, 4), bool)
    own[0], other[2, :2] = True, True
    heat = np.where(own, 3.0, np.where(other, 6.0, 100.0)).astype(np.float32)
    assert share_of_own(heat, own, other) == pytest.approx(48 / (48 + 48))
    assert share_of_own(heat, own, own & False) == 1 and share_of_own(heat * 0, own, other) == 0
    one = {"a map": {"dark": [0.9, 1.0]}}
    assert merged([one, one]) == {"a map": {"dark": [0.9, 1.0, 0.9, 1.0]}}
    expected = {"volumes": 3, "mean": pytest.approx(0.95), "median": 0.95, "enough": pytest.approx(2 / 3)}
    assert summary([0.9, 0.95, 1.0]) == expected


def test_controls_look_at_the_input_alone():
    torch = pytest.importorskip("torch")
    from Benchmarks.localisation_controls import centre, edges

    image = torch.zeros(1, 1, 32, 24, 16)
    image[..., 10:19, 8:13, 4:9] = 2.0
    image[..., 12, 10, 6] = -9.0
    expected = (image - image.mean()).abs()[0, 0]
    torch.testing.assert_close(edges(image), expected)
    assert np.unravel_index(int(edges(image).argmax()), (32, 24, 16)) == (12, 10, 6)
    assert np.unravel_index(int(centre(image).argmax()), (32, 24, 16)) == (14, 10, 6)  # of the head, not of the image
    assert float(centre(image)[18, 10, 6]) == pytest.approx(math.exp(-0.5))  # an eighth of 32 voxels off


@pytest.mark.parametrize("kind", ["grains", "stripes"])
def test_a_lesion_of_texture_has_the_mean_of_its_surroundings(kind):
    pytest.importorskip("nilearn", reason="phantoms are made from the brain template in nilearn (make .venv/.train)")
    from Benchmarks.lesions import Scan, make_phantom

    scan = Scan("LPS", (1.5, 2.0, 1.2), (5.0, 0.0, 0.0))
    found, plain = (make_phantom(3, one, scan, radius_mm=(9.0, 14.0), second="dark") for one in (kind, None))
    index = np.stack(np.indices(found.array.shape), axis=-1)
    off = np.linalg.norm(index @ found.affine[:3, :3].T + found.affine[:3, 3] - found.centre_ras, axis=-1)
    ball, radius = off <= found.radius_mm - 1, found.radius_mm
    shell = (off > radius + 2) & (off < 1.5 * radius) & (found.array > 0)
    assert found.array[ball].mean() == pytest.approx(found.array[shell].mean(), rel=0.05)
    assert found.array[ball].std() > 1.2 * plain.array[ball].std()
    second = found.second
    assert np.linalg.norm(second.centre_ras - found.centre_ras) >= radius + second.radius_mm + 10
    assert np.array_equal(found.array[off > radius + 2], plain.array[off > radius + 2])  # nothing else differs


def test_seeds_and_networks_for_choosing_are_not_those_for_reporting():
    pytest.importorskip("torch")
    from Benchmarks import localisation as bench

    seeds = [bench.TRAINING_SEEDS, bench.CHECKING_SEEDS, bench.CHOOSING_SEEDS, bench.REPORTING_SEEDS]
    seeds += [bench.PAIR_SEEDS, bench.DEMO_PAIR_SEEDS, bench.CHOOSING_PAIR_SEEDS, bench.DEMO_CHOOSING_PAIR_SEEDS]
    assert len(set().union(*seeds)) == sum(map(len, seeds))
    assert not set(bench.CHOOSING) & set(bench.REPORTING)
    strides = {bench.RECIPES[name].stride for name, _ in bench.REPORTING}
    assert strides == {8, 16, 32}
    for name in {name for name, _ in bench.REPORTING if bench.RECIPES[name].task == "lesions"}:
        assert sum(n == name for n, _ in bench.REPORTING) >= 2  # several seeds


@pytest.mark.parametrize("name", ["plain/8", "densenet/16", "resnet/16", "resnet/32", "densenet/32", "texture plain/8"])
def test_the_networks_have_the_stride_that_they_are_called_by(name):
    torch = pytest.importorskip("torch")
    from Benchmarks.localisation_networks import CLASSES, RECIPES, make

    from CAMOverlayLib.engine.network.layers import list_layers

    network = make(name, seed=0).eval()
    table = list_layers(network, torch.randn(1, 1, 64, 64, 64), receptive=False)
    stride = RECIPES[name].stride
    assert table.find(None).stride == (stride,) * 3 and name.endswith(f"/{stride}")
    assert network(torch.randn(1, 1, 64, 64, 64)).shape == (1, len(CLASSES))


def test_the_report_tells_every_map_and_its_number_of_volumes(capsys):
    pytest.importorskip("torch")
    from Benchmarks.localisation_report import Measured, as_json, as_markdown, report

    right, texture = Measured("plain/8", 1, 0.99, 1), Measured("texture plain/8", 1, 0.97, 2)
    for name in ("Grad-CAM", "Refined (all resolutions)", "|x − mean| alone"):
        for kind in ("bright lesion", "dark lesion"):
            right.add(name, kind, Score(4.0, True, True, 0.5, 0.25, 0.75, True))
            right.add(name, kind, Score(math.inf, False, False, 0.0))
        texture.add(name, "grains", Score(3.0, True, True, 0.5))
    right.pairs = {"Grad-CAM": {"dark lesion": [0.9, 1.0]}}
    found = [right, texture, Measured("resnet/16", 2, 0.6, 2)]
    report(found)
    printed = capsys.readouterr().out
    assert "LEFT OUT" in printed and "texture plain/8, lesions of texture" in printed
    assert "dark lesion     95.0%  95.0%   50% of   2" in printed and "total stride 8" in printed
    figures = as_json(found)
    assert figures["all"]["Grad-CAM"]["volumes"] == 4 and figures["all"]["Grad-CAM"]["VxAP"] == 0.125
    rows = as_markdown(found).splitlines()
    assert "| Grad-CAM | 4 | – | 50% | 25.00% | 12% | 38% | 50% |" in rows
    assert "| Grad-CAM | dark lesion | 2 | 95% | 95% | 50% |" in rows
