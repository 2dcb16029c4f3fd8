"""Groups of made-up maps by this package's search and by scikit-learn's HDBSCAN on the same points: how often a small
group that looks elsewhere is found, and how often none is found where there is none.

    python Testing/Cohort/groups.py [--seeds 12]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "CAMOverlay"), str(ROOT / "Testing" / "Python")]

from cohorts import blob

from CAMOverlayLib.cohort.summary import groups

SIDE = (16, 16, 16)

Maps = list[np.ndarray]


def around(random: np.random.Generator, count: int, wander: float, at: tuple = (0.5, 0.5, 0.5)) -> Maps:
    """Maps of one blob each, around a place, with noise."""
    return [blob(np.array(at) + wander * random.normal(size=3), SIDE) + noise(random) for _ in range(count)]


def noise(random: np.random.Generator) -> np.ndarray:
    return 0.02 * random.random(SIDE)


def anywhere(random: np.random.Generator, count: int) -> Maps:
    return [blob(random.random(3), SIDE) + noise(random) for _ in range(count)]


CORNER = (0.85, 0.15, 0.2)

SCENES: dict[str, tuple[set[int], Callable[[np.random.Generator], Maps]]] = {
    **{
        f"4 of 40 elsewhere, the others wander {share:.0%}": (
            set(range(36, 40)),
            lambda random, share=share: around(random, 36, share) + around(random, 4, 0.03, CORNER),
        )
        for share in (0.06, 0.1, 0.15, 0.2)
    },
    "6 of 60 at a marker, the others wander 20%": (
        set(range(54, 60)),
        lambda random: around(random, 54, 0.2) + around(random, 6, 0.005, (0.95, 0.05, 0.05)),
    ),
    **{
        f"50 without groups, wander {share:.0%}": (
            set(range(50)),
            lambda random, share=share: around(random, 50, share),
        )
        for share in (0.05, 0.12, 0.2)
    },
    "50 without groups, anywhere": (set(range(50)), lambda random: anywhere(random, 50)),
}
"""What is to be found, and the maps: the small group; of maps without groups all of them."""


def ours(maps: Maps) -> list[set[int]]:
    return [set(one.members) for one in groups.group_maps(maps).groups]


def hdbscan(samples: int | None) -> Callable[[Maps], list[set[int]]]:
    """HDBSCAN on the same components, with the same least size of a group; what it calls noise is in none."""

    def found(maps: Maps) -> list[set[int]]:
        from sklearn.cluster import HDBSCAN

        points, least = groups._components(groups.features(maps)), groups.least_members(len(maps))
        search = HDBSCAN(min_cluster_size=least, min_samples=samples, allow_single_cluster=True, copy=True)
        labels = search.fit_predict(points)
        names = np.unique(labels[labels >= 0])
        if len(names) < 2:
            return [set(range(len(maps)))]
        return [set(np.flatnonzero(labels == name).tolist()) for name in names]

    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=12)
    seeds = parser.parse_args().seeds
    ways = {"here": ours, "HDBSCAN": hdbscan(None), "HDBSCAN, 1 sample": hdbscan(1)}
    print(f"{'of ' + str(seeds) + ' cohorts':46s}" + "".join(f"{name:>19s}" for name in ways))
    for name, (wanted, make) in SCENES.items():
        drawn = [make(np.random.default_rng(1000 + seed)) for seed in range(seeds)]
        right = [sum(wanted in way(maps) for maps in drawn) for way in ways.values()]
        print(f"{name:46s}" + "".join(f"{count:19d}" for count in right), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
