"""Figures of structures: each equals what whole masks, scikit-learn and a walk over all thresholds say."""

from __future__ import annotations

import time

import numpy as np
import pytest
from geometries import GEOMETRIES, affines, blob, geometry, rotation, world_grid
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import kstest
from sklearn.metrics import average_precision_score, precision_recall_curve
from support import SLOW

from CAMOverlayLib.contract.errors import NotSeenError, TargetError
from CAMOverlayLib.contract.findings import Threshold
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.contract.peaks import peak_of
from CAMOverlayLib.reading.anatomy import MapOnGrid, figures_in, name_hot_spots, structure_figures
from CAMOverlayLib.reading.body import body_of
from CAMOverlayLib.reading.boxes import LEVELS
from CAMOverlayLib.reading.hot_spots import find_hot_spots
from CAMOverlayLib.reading.random_placements import TIMES
from CAMOverlayLib.reading.structures import Structure, mask_on, structures_in


def smooth(seed, shape=(14, 12, 10), sigma=1.5):
    rough = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), sigma)
    return (rough - rough.min()) / (rough.max() - rough.min())


def case(seed, steps=0, shape=(14, 12, 10)):
    """A map with many zeros, perhaps with ties; a mask; what was seen, outside of which the map is 0."""
    seen = np.zeros(shape, bool)
    seen[1:-2, :, 2:] = True
    heat = smooth(seed, shape)
    heat = np.where(seen, np.clip(heat - np.median(heat[seen]), 0, None), 0)
    heat /= heat.max()
    if steps:
        heat = np.round(heat * steps) / steps
    heat = np.asfortranarray(heat.astype(np.float32))
    mask = smooth(seed + 1000, shape) > 0.62
    return heat, seen, mask


def box(mask):
    where = np.argwhere(mask)
    return where.min(0), where.max(0) + 1


def box_iou(one, other):
    (a, b), (c, d) = box(one), box(other)
    common = np.clip(np.minimum(b, d) - np.maximum(a, c), 0, None).prod()
    return common / ((b - a).prod() + (d - c).prod() - common)


def largest(hot):
    labels, _ = ndimage.label(hot)
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax()


def by_rank(heat, mask):
    """Rank accuracy, averaged over many orders of voxels that are equally hot."""
    random, size = np.random.default_rng(0), mask.sum()
    return np.mean([mask[np.lexsort((random.random(len(heat)), -heat))[:size]].mean() for _ in range(400)])


@pytest.mark.parametrize("steps", [0, 4, 1], ids=["all different", "ties", "zero or one"])
@pytest.mark.parametrize("seed", range(6))
def test_every_figure_is_what_a_plain_computation_says(seed, steps):
    heat, seen, mask = case(seed, steps)
    affine = list(GEOMETRIES.values())[seed]
    found = structure_figures(heat, seen, mask, "it", Grid(heat.shape, affine))
    values, inside = heat[seen].astype(float), mask[seen]
    assert found.name == "it"
    assert found.volume_mm3 == pytest.approx(inside.sum() * abs(np.linalg.det(affine[:3, :3])))
    assert found.share == pytest.approx(values[inside].sum() / values.sum())
    assert found.enrichment == pytest.approx(found.share / inside.mean())
    assert found.mean_inside == pytest.approx(values[inside].mean())
    assert found.mean_outside == pytest.approx(values[~inside].mean())
    assert found.holds_peak == mask[peak_of(heat)]
    assert found.rank_accuracy == pytest.approx(by_rank(values, inside), abs=1e-9 if not steps else 0.02)
    assert found.average_precision == pytest.approx(average_precision_score(inside, values))
    precision, recall, _ = precision_recall_curve(inside, values)
    assert found.best_f1 == pytest.approx((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())
    candidates = [largest(heat >= np.float32(level)) for level in LEVELS]
    assert found.best_box_iou == pytest.approx(max(box_iou(hot, mask & seen) for hot in candidates))
    assert 1 / (1 + TIMES) <= found.p_value <= 1


def test_all_seen_is_the_same_as_no_mask_of_what_was_seen():
    heat, _, mask = case(3)
    grid = Grid(heat.shape, GEOMETRIES["oblique"])
    everything = np.ones(heat.shape, bool)
    assert structure_figures(heat, None, mask, "it", grid) == structure_figures(heat, everything, mask, "it", grid)
    again = structure_figures(heat, None, mask, "it", grid, seed=1)
    assert again.p_value != structure_figures(heat, None, mask, "it", grid).p_value


def test_a_map_on_its_structure_and_beside_it():
    affine = GEOMETRIES["anisotropic"]
    shape = (40, 40, 12)
    centre = (affine @ [12, 14, 5, 1])[:3]
    heat = np.asfortranarray(blob(shape, affine, centre, 3.0))
    mask = np.linalg.norm(world_grid(shape, affine) - centre, axis=-1) < 6
    grid = Grid(shape, affine)
    on = structure_figures(heat, None, mask, "on", grid)
    assert on.holds_peak and on.p_value == 1 / (1 + TIMES) and on.enrichment > 20
    assert on.rank_accuracy == on.average_precision == on.best_f1 == 1 and on.best_box_iou > 0.6
    beside = structure_figures(heat, None, mask[::-1, ::-1], "beside", grid)
    assert not beside.holds_peak and beside.p_value > 0.1 and beside.enrichment < 0.3 and beside.rank_accuracy == 0


def test_no_heat_is_no_error():
    heat, _, mask = case(0)
    found = structure_figures(np.zeros_like(heat), None, mask, "it", Grid(heat.shape, np.eye(4)))
    share = mask.mean()
    assert (found.share, found.enrichment, found.p_value, found.holds_peak, found.best_box_iou) == (0, 0, 1, False, 0)
    assert found.rank_accuracy == found.average_precision == pytest.approx(share)
    assert found.best_f1 == pytest.approx(2 * share / (1 + share))


def test_a_structure_that_is_everything():
    heat, _, _ = case(0)
    found = structure_figures(heat, None, np.ones(heat.shape, bool), "all", Grid(heat.shape, np.eye(4)))
    assert (found.share, found.enrichment, found.p_value, found.rank_accuracy) == (1, 1, 1, 1)
    assert (found.average_precision, found.best_f1, found.mean_outside) == pytest.approx((1, 1, 0))


def test_a_random_mask_is_not_enriched():
    heat, _, mask = case(5)
    random = np.random.default_rng(0)
    grid, found = Grid(heat.shape, np.eye(4)), []
    shared = MapOnGrid(heat, grid)
    for _ in range(150):
        rolled = np.roll(mask, random.integers(0, heat.shape), (0, 1, 2))
        found.append(figures_in(shared, Structure.of("random", rolled)).enrichment)
    assert np.mean(found) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("grid", ["oblique and anisotropic", SLOW("left-handed"), SLOW("one slice")])
def test_p_values_of_random_maps_and_masks_are_uniform(grid):
    affine, shape = {
        "oblique and anisotropic": (geometry((1.0, 1.5, 3.0), (5, -7, 9), angles=(20, -10, 30)), (48, 30, 16)),
        "left-handed": (geometry((2.0, 2.0, 2.0), flips=(1, 1, -1), order=(1, 2, 0)), (26, 24, 22)),
        "one slice": (geometry((1.0, 1.0, 5.0), angles=(5, 8, 9)), (60, 50, 1)),
    }[grid]
    random = np.random.default_rng(2)
    where = world_grid(shape, affine)
    found = []
    for number in range(100):
        turn = rotation(*random.uniform(-180, 180, 3))
        centre = (affine @ [*random.integers(0, shape), 1])[:3]
        away = (where - centre) @ turn
        heat = np.exp(-(np.square(away / [3, 5, 8])).sum(-1) / 2).astype(np.float32)
        rough = ndimage.gaussian_filter(random.random(shape), 4 / np.linalg.norm(affine[:3, :3], axis=0), mode="wrap")
        mask = rough > np.median(rough)
        found.append(structure_figures(heat, None, mask, "random", Grid(shape, affine), seed=number).p_value)
    assert kstest(found, "uniform").pvalue > 0.01, np.sort(found)


@settings(max_examples=30)
@given(affine=affines, order=st.permutations([0, 1, 2]), flips=st.tuples(*[st.booleans()] * 3))
def test_figures_do_not_depend_on_which_way_the_axes_run(affine, order, flips):
    heat, seen, mask = case(2, shape=(8, 7, 6))
    one = structure_figures(heat, seen, mask, "it", Grid(heat.shape, affine))
    turn = np.eye(4)
    turn[:3, :3] = np.eye(3)[:, order]
    for axis, flip in enumerate(flips):
        if flip:
            back = np.eye(4)
            back[axis, axis], back[axis, 3] = -1, np.array(heat.shape)[list(order)][axis] - 1
            turn = turn @ back
    axes = tuple(axis for axis, flip in enumerate(flips) if flip)
    moved = [np.flip(x.transpose(order), axes) for x in (heat, seen, mask)]
    other = structure_figures(*moved, "it", Grid(moved[0].shape, affine @ turn))
    for name, value in one.to_dict().items():
        if name not in ("name", "p_value"):  # its random numbers fall on other voxels
            assert getattr(other, name) == pytest.approx(value, rel=1e-5), name
    assert abs(one.p_value - other.p_value) < 0.2


def test_hot_spots_are_named_by_what_holds_their_peak():
    heat = np.zeros((9, 9, 9), np.float32)
    heat[2, 2, 2], heat[6, 6, 6], heat[2, 6, 2] = 1, 0.9, 0.8
    left, right = np.zeros(heat.shape, bool), np.zeros(heat.shape, np.uint8)
    left[:4, :4], right[5:] = True, 7
    spots = find_hot_spots(heat, Grid(heat.shape, np.eye(4)), Threshold())
    for masks in ({"left": left, "right": right}, [Structure.of("left", left), Structure.of("right", right)]):
        assert [spot.structure for spot in name_hot_spots(spots, masks)] == ["left", "right", ""]
    assert name_hot_spots(spots, {}) == spots


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (np.zeros((14, 12, 10)), TargetError, r"Structure 'it' is empty: every voxel is 0\."),
        (np.ones((14, 12, 9)), TargetError, r"Structure 'it' has \(14, 12, 9\) voxels, and the heatmap \(14, 12, 10\)"),
        (np.arange(14)[:, None, None] * np.ones((14, 12, 10)) < 1, NotSeenError, "Nothing of structure 'it' was seen"),
    ],
    ids=["empty", "another grid", "not seen"],
)
def test_what_is_no_structure_is_one_sentence(mask, error, words):
    heat, seen, _ = case(0)
    with pytest.raises(error, match=words):
        structure_figures(heat, seen, mask, "it", Grid(heat.shape, np.eye(4)))


def test_labels_become_structures():
    labels = np.zeros((6, 5, 4), np.int16)
    labels[1, 1, 1], labels[3:5, 2, 2], labels[5, 4, 3] = 2, 5, 40
    for given_labels in (labels, labels.astype(float), np.asfortranarray(labels.astype(np.uint64))):
        found = structures_in(given_labels, "organs")
        assert [one.name for one in found] == ["organs 2", "organs 5", "organs 40"]
        for one, value in zip(found, (2, 5, 40)):
            whole = np.zeros(labels.shape, bool)
            whole[one.box] = one.inside
            np.testing.assert_array_equal(whole, labels == value)
            assert [one[tuple(v)] for v in np.argwhere(labels)] == list((labels == value)[labels > 0])
    assert [one.name for one in structures_in(labels, "organs", ("a", "b", "c"))] == ["a", "b", "c"]
    assert [one.name for one in structures_in(labels > 0, "liver")] == ["liver"]
    large = np.where(labels == 40, 2**31, labels.astype(np.int64))
    assert [one.name for one in structures_in(large, "organs")][-1] == f"organs {2**31}"
    for wrong, words in (
        (labels * 0, "'organs' is empty"),
        (labels - 1, "holds -1, which is no label"),
        (labels + 0.5, "holds 0.5, which is no label"),
        (np.where(labels > 0, np.nan, 0), "holds nan, which is no label"),
        (np.where(labels > 0, np.inf, 0), "holds inf, which is no label"),
        (np.arange(1000).reshape(10, 10, 10), "holds 999 different values, and a label map has at most 300"),
    ):
        with pytest.raises(TargetError, match=words):
            structures_in(wrong, "organs")
    with pytest.raises(TargetError, match=r"holds 3 labels \(2, 5, 40\), and 2 names were given"):
        structures_in(labels, "organs", ("a", "b"))


@given(one=affines, other=affines, seed=st.integers(0, 1000))
def test_a_mask_on_another_grid_takes_the_value_where_each_centre_lies(one, other, seed):
    """Asked voxel by voxel."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, (5, 6, 7)).astype(np.int16)
    centre = (one @ [2, 2.5, 3, 1])[:3]
    other = other.copy()
    other[:3, 3] = centre - other[:3, :3] @ [3, 3, 2]  # so that they meet
    grid = Grid((7, 6, 5), other)
    expected = np.zeros(grid.shape, labels.dtype)
    sure = np.ones(grid.shape, bool)
    for voxel in np.ndindex(grid.shape):
        there = np.linalg.inv(one) @ other @ [*voxel, 1]
        index = np.rint(there[:3]).astype(int)
        sure[voxel] = np.abs(there[:3] - np.floor(there[:3]) - 0.5).min() > 1e-6
        if ((index >= 0) & (index < labels.shape)).all():
            expected[voxel] = labels[tuple(index)]
    if expected.any():
        np.testing.assert_array_equal(mask_on(grid, labels, one)[sure], expected[sure])


def test_a_mask_on_the_same_grid_is_itself_and_one_elsewhere_is_one_sentence():
    labels = np.ones((5, 6, 7), np.int16)
    affine = GEOMETRIES["oblique"]
    assert mask_on(Grid(labels.shape, affine), labels, affine) is labels
    away = affine.copy()
    away[:3, 3] += 500
    with pytest.raises(NotSeenError, match="Nothing of 'organs' lies in the volume"):
        mask_on(Grid(labels.shape, away), labels, affine, "organs")
    with pytest.raises(TargetError, match="The affine of 'organs'"):
        mask_on(Grid(labels.shape, affine), labels, np.zeros((4, 4)), "organs")


def test_the_body_is_what_stands_out():
    volume = np.random.default_rng(0).normal(0, 5, (30, 28, 26))
    ball = np.linalg.norm(np.indices(volume.shape).T - [15, 14, 13], axis=-1).T < 9
    volume[ball] += 100
    body = body_of(volume)
    np.testing.assert_array_equal(body, ball)
    seen = np.zeros(volume.shape, bool)
    seen[:15] = True
    np.testing.assert_array_equal(body_of(volume, seen), ball & seen)
    np.testing.assert_array_equal(body_of(np.stack([volume] * 3, -1), seen), ball & seen)
    assert body_of(np.zeros((4, 4, 4))) is None
    assert body_of(np.zeros((4, 4, 4)), seen) is seen


def test_a_further_structure_costs_a_fraction_of_the_first():
    shape = (256, 256, 160)
    coarse = ndimage.gaussian_filter(np.random.default_rng(0).random((16, 16, 10)), 2)
    coarse = np.clip((coarse - coarse.mean()) / (coarse.max() - coarse.mean()), 0, None).astype(np.float32)
    heat = np.asfortranarray(np.kron(coarse, np.ones((16, 16, 16), np.float32)))
    mask = np.zeros(shape, bool, order="F")
    mask[50:100, 75:150, 40:80] = True
    started = time.process_time()
    found = MapOnGrid(heat, Grid(shape, np.diag([0.7, 0.7, 1, 1])))
    figures_in(found, Structure.of("first", mask))
    first, started = time.process_time() - started, time.process_time()
    figures_in(found, Structure.of("second", mask[::-1]))
    second = time.process_time() - started
    assert second < 0.4 * first, (first, second)
