"""What the checks may take, counted and not clocked: a slow moment of the machine changes no verdict.

Counted are passes through the network, those that the map takes from the volume to itself and those that the checks
need. Where the map is made of one pass, half of it is none, and what pays for the checks is the rest of the run:
reading and preparing the volume. That is reckoned in passes too, by the voxels of the volume and the multiplications of
a pass: the smaller the network, the more of its passes fit in. What happens to be in memory does not count, or the same
map would get another verdict the second time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..inference import EnsembleInference, Explained, SlidingWindowInference
from ..network.forward import INPUT
from ..preprocessing.trace import PreprocessingTrace

QUICK_SHARE, FULL_SHARE = 0.5, 10.0
"""What the checks may take, in terms of what the map takes."""

STEPS = 5
"""Of curves and cascades in full; fewer where the network is slow, two at least."""

START, VOXEL = 7e9, 500.0
"""Multiplications of a network that take as long, on one processor core, as reading and preparing a volume, and as one
voxel more of it. Measured on the demo network (0.86e9): 7 to 10 of its passes for 0.6 to 1.7 million voxels. What
speeds up the network alone only leaves more room."""

COMPARING = 1.5e9
"""The same of ranks, random pairs and random maps."""

OF_STEP, OF_CHANGE = 11, 6
"""In full: curves with a pass a step each, and the cascade's; changes of the image, each explained once."""


@dataclass(frozen=True)
class Cost:
    """In forward passes.

    Attributes:
        map: what the map takes, with reading and preparing.
        klass, network: what the two quick checks need.
        again: what another map takes from where the network has run.
    """

    map: float
    klass: float
    network: float
    again: float

    @property
    def quick(self) -> tuple[str, ...]:
        """The checks that come with every map: those that fit into half of it."""
        room = QUICK_SHARE * self.map
        if self.klass > room:
            return ()
        return ("class", "network") if self.klass + self.network <= room else ("class",)

    @property
    def steps(self) -> int:
        """As many as fit into ten maps."""
        room = FULL_SHARE * self.map - self.klass - OF_CHANGE * (1 + self.again)
        return max(2, min(STEPS, int(room / (OF_STEP + self.again))))


def cost_of(explained: Explained, traces: Sequence[PreprocessingTrace]) -> Cost:
    """Of a map that was made.

    Args:
        traces: of the preprocessing, one a piece.
    """
    again = _again(explained)
    one, pieces = explained.inferences[0], len(explained.inferences)
    members = one.members if isinstance(one, EnsembleInference) else (one,)
    first, count = members[0], pieces * len(members)
    if isinstance(first, SlidingWindowInference):  # asked once for the answer and once for the map
        made = count * first.count * (2 + again)
        return Cost(made, 1 + 2 * again, 1 + again, again)  # the window's own map is made anew
    several = isinstance(one, EnsembleInference)
    kept = pieces == 1 and not several
    anew = 0.0 if kept else 1.0 + again * several
    voxels = float(sum(math.prod(trace.volume_grid.shape) for trace in traces))
    one_pass = first.multiplications or math.inf  # nothing is known of a compiled one: no credit for the rest
    prepared, comparing = (START + VOXEL * voxels) / one_pass, COMPARING / one_pass
    made = count * ((1 if kept else 2) + again) + prepared
    return Cost(made, anew + again, 1 + again + comparing, again)


def _again(explained: Explained) -> float:
    """Another map from where the network has run, in forward passes. Back takes twice as long as forward, and goes down
    to the first layer; a method that looks at no layer runs forward once more itself."""
    if not explained.layers:
        return 3.0
    if INPUT in explained.layers:
        return 2.0
    one = explained.inferences[0]
    first = one.members[0] if isinstance(one, EnsembleInference) else one
    if isinstance(first, SlidingWindowInference) or not first.multiplications:
        return 1.0  # how far down it goes was not counted: half of the network
    return 2 * first.above / first.multiplications
