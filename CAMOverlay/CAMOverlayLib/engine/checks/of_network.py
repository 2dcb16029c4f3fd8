"""Does the map belong to this network? Compared with the map of the same network with shuffled weights.

Two questions, both must be passed. Is the map still alike (Adebayo et al. 2018, https://arxiv.org/abs/1810.03292)? And
is it more orderly than maps of a network that has learnt nothing (Hedström et al. 2023,
https://arxiv.org/abs/2401.06465; see :mod:`.orderly`)? A network of random weights passes the first and not the second.
Of a method that looks at no layer there is one random map only: it may fail the first, and cannot pass the second.

The full check shuffles the weights in stages, in the order of the run from the output down, and tells how alike the map
is after each.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from ...contract.findings import Check
from ..methods import Case
from ..network.order import parameters_by_run, watched
from .orderly import Orderly, evidence, orderly, random_maps_of
from .randomise import copy_of, shuffle, stages
from .similarity import Likeness, correlation
from .subject import Subject
from .verdict import said

NAME = "network"

EQUALLY_LIT = (0.05, 0.10)
"""Share of the random maps that may be as orderly where as much is lit: up to the first it passes, beyond the second it
fails."""

AS_IT_IS = (0.25, 1 / 3)
"""The same of whole maps: shuffling should make them less orderly."""


def check(subject: Subject, full: bool, steps: int) -> Check:
    copied = copy_of(subject.case.network)
    parts = _stages(subject, steps) if full else [None]
    curve: list[float] = []
    for number, part in enumerate(parts):
        subject.step(number, len(parts), "shuffled weights")
        shuffle(copied, part)
        case = subject.changed(network=copied)
        curve.append(correlation(subject.heat, subject.heat_of(case)))
    with ThreadPoolExecutor(1) as beside:  # NumPy; the network stays in this thread, whose precision it is
        chance = beside.submit(subject.chance, case)
        order = _order(subject, case)
    found = Likeness.beside(curve[-1], chance.result())
    figures = found.figures() | order.figures()
    curves = {"x": [number / len(curve) for number in range(len(curve) + 1)], "similarity": [1.0, *curve]}
    verdict, words = _judge(found, order)
    return said(NAME, verdict, words, figures, subject, curves if full else {})


def _stages(subject: Subject, steps: int) -> list[list[int]]:
    """Numbers of weight tensors, the output's first."""
    network = subject.case.network
    with watched(network) as seen:
        subject.answer(subject.case.image)
    return stages(parameters_by_run(network, seen), steps)


def _order(subject: Subject, case: Case) -> Orderly:
    """How orderly the map is beside random ones of the shuffled network's case."""
    own, other = evidence(subject.method, subject.case), evidence(subject.method, case)
    if own is None or other is None:
        return orderly(subject.heat, [])
    heat = subject.heat if own[0] is subject.method else own[0].compute(own[1]).detach().float().cpu().double().numpy()
    return orderly(heat, list(random_maps_of(*other)))


def _judge(found: Likeness, order: Orderly) -> tuple[str, str]:
    words = (
        f"with shuffled weights the map correlates by {found.similarity:.2f} with this one, random pairs by up to "
        f"{found.bound:.2f}"
    )
    if found.blind:
        return "undecided", f"{words}: they cannot tell"
    if order.count:
        words += (
            f"; of {order.count} random maps of shuffled weights {order.as_it_is:.0%} are as orderly, "
            f"{order.equally_lit:.0%} where as much is lit"
        )
    if found.alike:
        return "failed", words
    if not order.count:
        return "undecided", f"{words}; there are no random maps to tell whether it is more orderly"
    shares = ((order.as_it_is, AS_IT_IS), (order.equally_lit, EQUALLY_LIT))
    if any(share > fails for share, (_, fails) in shares):
        return "failed", words
    return ("passed" if found.apart and all(share <= passes for share, (passes, _) in shares) else "undecided"), words
