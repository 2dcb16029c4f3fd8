"""Hot spots: every figure is what a plain computation says, on any grid."""

from __future__ import annotations

import csv
import io
import math
import time

import numpy as np
import pytest
from geometries import GEOMETRIES, affines, blob
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from CAMOverlayLib.contract.errors import MethodError
from CAMOverlayLib.contract.findings import HotSpot, Threshold
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.contract.peaks import peak_of
from CAMOverlayLib.reading.hot_spots import COLUMNS, find_hot_spots, findings_csv, label_hot_spots, level_of


def noise(seed, shape=(13, 11, 9), steps=6):
    """Few distinct values, so that there are plateaus and ties."""
    random = np.random.default_rng(seed)
    rough = ndimage.gaussian_filter(random.random(shape), 1.0)
    rough = (rough - rough.min()) / (rough.max() - rough.min())
    return np.asfortranarray((np.round(rough * steps) / steps).astype(np.float32))


def plainly(heat, affine, level):
    """Region by region with whole masks: peak, mm³, mean, maximum, share and mask of each, the hottest first."""
    labels, count = ndimage.label((heat >= level) & (heat > 0))
    found = []
    for number in range(1, count + 1):
        mask = labels == number
        inside = np.where(mask, heat, 0)
        peak = peak_of(np.asfortranarray(inside))
        top, _ = ndimage.label(inside == inside.max())
        plateau = int(np.bincount(top.ravel())[1:].max())
        volume = mask.sum() * abs(np.linalg.det(affine[:3, :3]))
        values = heat[mask].astype(float)
        found.append(
            (
                peak,
                volume,
                values.mean(),
                values.max(),
                values.sum() / heat.sum(dtype=float),
                mask,
                -values.max(),
                -plateau,
            )
        )
    return sorted(found, key=lambda one: one[-2:])


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("level", [0.5, 0.85, 0.0])
def test_every_figure_is_what_whole_masks_say(name, level):
    for seed in range(5):
        heat, affine = noise(seed), GEOMETRIES[name]
        spots = find_hot_spots(heat, Grid(heat.shape, affine), Threshold("absolute", level))
        expected = plainly(heat, affine, level)
        assert [spot.region for spot in spots] == list(range(1, len(expected) + 1))
        labels, count = label_hot_spots(heat, level)
        assert (labels.dtype, labels.shape, count) == (np.int32, heat.shape, len(expected))
        by_peak = {one[0]: one for one in expected}
        for spot in spots:
            peak, volume, mean, maximum, share, mask, *_ = by_peak.pop(spot.peak)
            np.testing.assert_allclose(spot.peak_ras, (affine @ [*peak, 1])[:3])
            assert (spot.volume_mm3, spot.mean, spot.maximum, spot.share) == pytest.approx(
                (volume, mean, maximum, share), rel=1e-6
            )
            np.testing.assert_array_equal(labels == spot.region, mask)
        assert not by_peak
        maxima = [spot.maximum for spot in spots]
        assert maxima == sorted(maxima, reverse=True)
        assert spots[0].peak == peak_of(heat)  # also where several regions reach the maximum
        for spot in spots:
            others = [math.dist(spot.peak_ras, other.peak_ras) for other in spots if other is not spot]
            assert spot.next_mm == (pytest.approx(min(others)) if others else None)


@given(affine=affines, seed=st.integers(0, 10**6), level=st.floats(0.1, 1))
def test_on_any_grid_the_places_are_the_grids(affine, seed, level):
    heat = noise(seed, (7, 6, 5))
    spots = find_hot_spots(heat, Grid(heat.shape, affine), Threshold("absolute", level))
    assert spots and spots[0].peak == peak_of(heat)
    assert sum(spot.volume_mm3 for spot in spots) == pytest.approx(
        np.count_nonzero(heat >= np.float32(level)) * abs(np.linalg.det(affine[:3, :3]))
    )
    for spot in spots:
        np.testing.assert_allclose(np.linalg.inv(affine) @ [*spot.peak_ras, 1], [*spot.peak, 1], atol=1e-6)


def test_turning_an_axis_over_turns_the_peaks_over_and_nothing_else():
    affine = GEOMETRIES["oblique"]
    heat = np.asfortranarray(
        blob((20, 18, 16), affine, (affine @ [5, 6, 7, 1])[:3], 3)
        + 0.8 * blob((20, 18, 16), affine, (affine @ [14, 11, 9, 1])[:3], 3)
    )
    turn = np.diag([-1.0, 1, 1, 1])
    turn[0, 3] = 19
    one = find_hot_spots(heat, Grid(heat.shape, affine))
    other = find_hot_spots(np.asfortranarray(heat[::-1]), Grid(heat.shape, affine @ turn))
    assert len(one) == len(other) == 2
    for a, b in zip(one, other):
        assert (19 - a.peak[0], *a.peak[1:]) == b.peak
        np.testing.assert_allclose(a.peak_ras, b.peak_ras)
        assert (a.volume_mm3, a.mean, a.share, a.next_mm) == pytest.approx((b.volume_mm3, b.mean, b.share, b.next_mm))


def test_no_heat_no_spots():
    for order in "FC":
        empty = np.zeros((5, 4, 3), np.float32, order=order)
        for threshold in (Threshold(), Threshold("absolute", 0), Threshold("percentile", 95), Threshold("share", 0.5)):
            assert find_hot_spots(empty, Grid(empty.shape, np.eye(4)), threshold) == ()
        labels, count = label_hot_spots(empty, 0.5)
        assert count == 0 and not labels.any()
    assert findings_csv(()) == ",".join(COLUMNS) + "\n"


def test_whole_slices_and_borders_belong_to_a_region():
    full = np.ones((5, 4, 3), np.float32)
    (spot,) = find_hot_spots(full, Grid(full.shape, np.diag([2.0, 3, 4, 1])))
    assert (
        spot.volume_mm3 == pytest.approx(60 * 24)
        and spot.share == 1
        and spot.next_mm is None
        and spot.peak == peak_of(full)
    )
    ends = np.zeros((5, 4, 3), np.float32)
    ends[0, 1, 1] = ends[4, 0, 1] = 1  # neighbours in memory, not in space
    assert len(find_hot_spots(ends, Grid(ends.shape, np.eye(4)))) == 2


def test_levels():
    heat = noise(3)
    seen = np.zeros(heat.shape, bool)
    seen[2:9] = True
    assert level_of(heat, Threshold("absolute", 0.3)) == 0.3
    assert level_of(heat, Threshold("percentile", 90)) == pytest.approx(np.percentile(heat, 90))
    assert level_of(heat, Threshold("percentile", 90), seen) == pytest.approx(np.percentile(heat[seen], 90))
    with pytest.raises(MethodError, match="no threshold of kind 'loud'; choose one of absolute"):
        level_of(heat, Threshold("loud", 1))


@given(seed=st.integers(0, 10**6), share=st.floats(0.01, 1))
def test_the_level_of_a_share_is_the_highest_that_holds_it(seed, share):
    heat = np.random.default_rng(seed).random((6, 5, 4)).astype(np.float32) ** 3
    level = level_of(heat, Threshold("share", share))
    total = heat.sum(dtype=float)
    assert heat[heat >= level].sum(dtype=float) >= share * total * (1 - 1e-9)
    assert level in heat and heat[heat > level].sum(dtype=float) < share * total


def test_a_table_lists_the_hottest_and_says_how_far_to_the_next_of_them():
    heat = np.zeros((30, 3, 3), np.float32)
    heat[1::2, 1, 1] = np.linspace(1, 0.6, 15)
    spots = find_hot_spots(heat, Grid(heat.shape, np.diag([1.5, 1, 1, 1])), most=4)
    assert [spot.peak for spot in spots] == [(1, 1, 1), (3, 1, 1), (5, 1, 1), (7, 1, 1)]
    assert {spot.next_mm for spot in spots} == {3.0}
    assert label_hot_spots(heat, 0.5)[1] == 15


def test_the_file_says_what_the_table_says():
    heat = noise(7)
    spots = [*find_hot_spots(heat, Grid(heat.shape, GEOMETRIES["oblique LPS"]), Threshold("percentile", 95))]
    spots[0] = HotSpot.from_dict({**spots[0].to_dict(), "structure": 'left, "upper" lobe'})
    rows = list(csv.DictReader(io.StringIO(findings_csv(spots))))
    assert len(rows) == len(spots) > 1 and tuple(rows[0]) == COLUMNS
    for row, spot in zip(rows, spots):
        assert tuple(int(row[f"peak_{axis}"]) for axis in "ijk") == spot.peak
        assert tuple(float(row[f"peak_{axis}"]) for axis in "ras") == spot.peak_ras
        for name in ("volume_mm3", "mean", "maximum", "share"):
            assert float(row[name]) == getattr(spot, name)
        assert (int(row["region"]), row["structure"]) == (spot.region, spot.structure)


def test_a_large_volume_takes_less_than_a_second():
    coarse = np.random.default_rng(0).random((32, 32, 15)).astype(np.float32)
    heat = np.zeros((512, 512, 240), np.float32, order="F")
    heat.T[:] = np.kron(coarse**4, np.ones((16, 16, 16), np.float32)).T
    seconds = []
    for _ in range(3):
        started = time.process_time()
        spots = find_hot_spots(heat, Grid(heat.shape, np.diag([0.7, 0.7, 1, 1])))
        seconds.append(time.process_time() - started)
    print(f"512×512×240, {len(spots)} regions: {min(seconds):.2f} s of one core")
    assert len(spots) == 50 and min(seconds) < 1
