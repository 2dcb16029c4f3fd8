"""Does the map belong to this network? Compared with the map of the same network with shuffled weights.

Two questions, both must be passed. Is the map still alike (Adebayo et al. 2018, https://arxiv.org/abs/1810.03292)? And
is it more orderly than maps of a network that has learnt nothing (Hedström et al. 2023,
https://arxiv.org/abs/2401.06465, eMPRT: the entropy of the map rises)? The second is asked of 200 maps of the shuffled
network, each weighing the channels of its layer at random: one alone may by chance be as orderly as anything. A network
of random weights passes the first and not the second.

The full check shuffles the weights in stages, from the output down, and tells how alike the map is after each.
"""

from __future__ import annotations

import numpy as np

from ...contract.findings import Check
from ..methods import Case
from .randomise import copy_of, shuffle, stages
from .similarity import SEED, Array, Likeness, correlation, entropy, places, random_maps
from .subject import Subject
from .verdict import said

NAME = "network"

ORDERLY_DRAWS = 200
ORDERLY = 0.05
"""At most this share of the shuffled network's maps is as orderly as the map that passes; from one half on it fails."""


def check(subject: Subject, full: bool, steps: int) -> Check:
    copied = copy_of(subject.case.network)
    ranges = stages(copied, steps if full else 1)
    curve: list[float] = []
    for number, (first, last) in enumerate(ranges):
        subject.step(number, len(ranges), "shuffled weights")
        shuffle(copied, first, last)
        case = subject.changed(network=copied)
        heat = subject.heat_of(case)
        curve.append(correlation(subject.heat, heat))
    found = Likeness.beside(curve[-1], subject.chance(case))
    own = entropy(subject.heat.ravel()[places(subject.heat.shape)])
    others = _entropies(subject, case, heat)
    figures = found.figures() | {
        "entropy": own,
        "entropy shuffled": float(np.median(others)),
        "as orderly": float(np.mean(others <= own)),
        "shuffled maps": float(len(others)),
    }
    curves = {"x": np.linspace(0, 1, len(curve) + 1), "similarity": [1.0, *curve]} if full else {}
    verdict, words = _judge(found, figures)
    return said(NAME, verdict, words, figures, subject, curves)


def _entropies(subject: Subject, case: Case, heat: Array) -> Array:
    """Of maps of the shuffled network: many where there is a layer to weigh, else of the one map."""
    activation = subject.activation(case)
    if activation is None:
        return np.array([entropy(heat.ravel()[places(heat.shape)])])
    return np.array([entropy(one) for one in random_maps(activation, SEED + 2, ORDERLY_DRAWS)])


def _judge(found: Likeness, figures: dict[str, float]) -> tuple[str, str]:
    beside = (
        f"with shuffled weights the map correlates by {found.similarity:.2f} with this one, random pairs by up to "
        f"{found.bound:.2f}"
    )
    if found.blind:
        return "undecided", f"{beside}: they cannot tell"
    share, count = figures["as orderly"], int(figures["shuffled maps"])
    words = f"{beside}; of {count} map{'s' * (count > 1)} of shuffled weights {share:.0%} are as orderly"
    if found.alike or (share >= 0.5 and count > 1):
        return "failed", words
    return ("passed" if found.apart and share <= ORDERLY else "undecided"), words
