"""Cases that differ: a tenth that looks elsewhere is found, and what has no groups is one group."""

from __future__ import annotations

import numpy as np
import pytest
from cohorts import blob

from CAMOverlayLib.cohort.summary import groups
from CAMOverlayLib.cohort.summary.groups import group_maps

SIDE = (16, 16, 16)


def wandering(random, count, wander, at=(0.5, 0.5, 0.5)):
    """Maps whose heat lies around a place, somewhere else in each, with noise of its own."""
    noise = 0.02 * random.random((count, *SIDE))
    places = np.array(at) + wander * random.normal(size=(count, 3))
    return [blob(place, SIDE) + one for place, one in zip(places, noise)]


@pytest.mark.parametrize("seed", range(3))
def test_a_tenth_that_looks_elsewhere_is_found(seed):
    random = np.random.default_rng(seed)
    maps = wandering(random, 36, 0.06) + wandering(random, 4, 0.03, (0.85, 0.15, 0.2))
    found = group_maps(maps, seed)
    assert [set(one.members) for one in found.groups] == [set(range(36)), set(range(36, 40))]
    assert not found.apart and found.words.startswith("2 groups:")
    small = found.groups[1]
    assert small.medoid in small.members
    assert np.unravel_index(small.mean.argmax(), SIDE) == pytest.approx((13, 2, 3), abs=1.5)
    assert small.mean.sum() == pytest.approx(1)


@pytest.mark.parametrize("wander", [0.05, 0.12, 0.2])
def test_heat_that_wanders_without_groups_is_one_group(wander):
    random = np.random.default_rng(7)
    found = group_maps(wandering(random, 50, wander), 0)
    assert len(found.groups) == 1 and len(found.groups[0].members) == 50 and "One group" in found.words


def test_a_marker_at_one_place_is_found_among_heat_that_is_anywhere():
    random = np.random.default_rng(2)
    maps = wandering(random, 54, 0.1, (0.45, 0.5, 0.55)) + wandering(random, 6, 0.005, (0.95, 0.05, 0.05))
    found = group_maps(maps)
    assert set(range(54, 60)) in [set(one.members) for one in found.groups]


def test_three_groups_of_a_third():
    random = np.random.default_rng(3)
    places = ((0.2, 0.3, 0.5), (0.8, 0.3, 0.5), (0.5, 0.85, 0.5))
    maps = [one for at in places for one in wandering(random, 20, 0.03, at)]
    found = group_maps(maps)
    assert sorted(sorted(one.members) for one in found.groups) == [list(range(n, n + 20)) for n in (0, 20, 40)]


def test_too_few_equal_and_strangers():
    random = np.random.default_rng(0)
    few = group_maps(wandering(random, 11, 0.05))
    assert not few.groups and "Too few" in few.words and "11" in few.words
    same = group_maps([blob((0.5, 0.5, 0.5), SIDE)] * 15)
    assert len(same.groups) == 1
    one = group_maps([*wandering(random, 40, 0.05), blob((0.05, 0.05, 0.05), SIDE)])
    assert len(one.groups) == 1  # one case is no group


def test_the_search_can_be_stopped():
    class Enough(Exception):
        pass

    def stop():
        raise Enough

    with pytest.raises(Enough):
        group_maps(wandering(np.random.default_rng(0), 20, 0.05), cancelled=stop)


def test_more_cases_than_are_searched_join_the_nearest(monkeypatch):
    monkeypatch.setattr(groups, "MOST_FITTED", 40)
    random = np.random.default_rng(1)
    maps = wandering(random, 90, 0.04) + wandering(random, 30, 0.02, (0.85, 0.2, 0.2))
    found = group_maps(maps)
    assert [set(one.members) for one in found.groups] == [set(range(90)), set(range(90, 120))]


def test_the_silhouette_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(5)
    points = random.normal(size=(30, 4))
    labels = np.repeat([0, 1, 2], 10)
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(-1))
    assert groups.silhouette(distances, labels) == pytest.approx(metrics.silhouette_score(points, labels))


def test_points_are_as_far_apart_as_hellinger_says():
    one, other = blob((0.3, 0.4, 0.5), SIDE), blob((0.6, 0.4, 0.5), SIDE)
    points = groups.features([one, other])
    from scipy.ndimage import gaussian_filter

    p, q = (gaussian_filter(x.astype(float), groups.BLUR, mode="constant") for x in (one, other))
    overlap = np.sqrt(p / p.sum() * q / q.sum()).sum()
    assert np.linalg.norm(points[0] - points[1]) == pytest.approx(np.sqrt(1 - overlap))
