"""The peak of a heatmap: the middle of the largest plateau, by one definition for the computation and the scene."""

from __future__ import annotations

import time

import numpy as np
import pytest

from CAMOverlayLib.contract.peaks import peak_of


def test_a_peak_is_the_centre_of_its_plateau_and_a_zero_map_has_none():
    array = np.zeros((20, 18, 16), np.float32, order="F")
    assert peak_of(array) is None
    array[15, 2, 2] = 1
    assert peak_of(array) == (15, 2, 2)
    array[3:10, 4:9, 6:11] = 1
    assert peak_of(array) == (6, 6, 8)  # of the larger plateau, its middle
    array[:] = 1
    assert np.abs(np.array(peak_of(array)) - [9.5, 8.5, 7.5]).max() <= 0.5
    ring = np.zeros((21, 21, 1), np.float32, order="F")
    ring[2:19, 2:19] = 1
    ring[5:16, 5:16] = 0.5
    assert ring[peak_of(ring)] == 1  # a member of it, though its centre is not
    assert peak_of(np.full((4, 4, 4), -1, np.float32, order="F")) is None


def by_walking(array):
    """The same, voxel by voxel: every part by itself, its centre, and how near its members are to it."""
    most = array.max()
    left = {tuple(map(int, v)) for v in np.argwhere(array == most)} if most > 0 else set()
    parts = []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            voxel = edge.pop()
            part.add(voxel)
            for axis in range(3):
                for step in (-1, 1):
                    other = tuple(n + step * (a == axis) for a, n in enumerate(voxel))
                    if other in left:
                        left.remove(other)
                        edge.append(other)
        parts.append(part)
    return parts


@pytest.mark.parametrize("seed", range(4))
def test_any_plateaus(seed):
    random = np.random.default_rng(seed)
    for _ in range(100):
        array = np.asfortranarray((random.random(random.integers(1, 7, 3)) > random.random()).astype(np.float32))
        parts, peak = by_walking(array), peak_of(array)
        if not parts:
            assert peak is None
            continue
        (part,) = [part for part in parts if peak in part]
        assert len(part) == max(map(len, parts))
        apart = {v: np.square(np.array(v) - np.mean(list(part), 0)).sum() for v in part}
        assert apart[peak] <= min(apart.values()) + 1e-9


def test_it_takes_no_time_however_large_the_plateau():
    """A network that ends in one activation, or a block of many voxels: each step outwards once was a walk over all."""
    array = np.ones((160, 150, 140), np.float32, order="F")
    noise = np.asfortranarray((np.random.default_rng(0).random((80, 80, 80)) > 0.5).astype(np.float32))
    started = time.perf_counter()
    assert peak_of(array) == (79, 74, 69) and noise[peak_of(noise)] == 1
    assert time.perf_counter() - started < 2
