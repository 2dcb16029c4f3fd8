"""Does the answer depend on what the map shows? Deletion and insertion (Petsiuk et al. 2018,
https://arxiv.org/abs/1806.07421) on the map's own grid, beside two controls.

The hottest places are taken away, or are the only ones left, in growing number; the answer after each makes a curve,
and its mean stands for the area under it (over the logarithm of the removed share, as lesions are small). The controls
take as many places away in random order, and as one blob at a random place. How far the two controls differ from each
other is what the comparison cannot see.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ...contract.findings import Check
from ..methods import Case
from ..target.prediction import probabilities_of
from .removal import Removal
from .similarity import SEED, Array
from .subject import Subject
from .verdict import said

NAME = "answer"

SHARES = (0.0025, 0.3)
"""Smallest and largest share of the places."""

HARDLY = 0.05
"""An answer that moves by less than this along all curves, from 0 to 1 or as a share of itself, depends on nothing
that was taken away."""

ORDERS = ("map", "random", "blob")


def check(subject: Subject, full: bool, steps: int) -> Check:
    removal = Removal(subject.case.image, subject.heat)
    spacing = tuple(s * n / m for s, n, m in zip(subject.spacing, subject.heat.shape, removal.shape))
    orders = dict(zip(ORDERS, (removal.by_heat(), removal.at_random(SEED), removal.blob(spacing, SEED + 1))))
    counts = np.unique(np.ceil(np.geomspace(*SHARES, steps) * removal.count).astype(int))
    intact = _answer(subject.case, subject.answer(subject.case.image), 1.0)
    scale = 1.0 if _is_probability(subject.case) else abs(intact) or 1.0
    passes, curves = 2 * len(orders) * len(counts), {"x": counts / removal.count}
    done = 0
    for kind in ("deletion", "insertion"):
        for name, order in orders.items():
            values = []
            for count in counts:
                subject.step(done, passes, kind)
                image = removal.without(order[:count] if kind == "deletion" else order[count:])
                values.append(_answer(subject.case, subject.answer(image), scale))
                done += 1
            curves[f"{kind} {name}"] = np.array(values)
    figures = {key: float(np.mean(values)) for key, values in curves.items() if key != "x"} | {"intact": intact / scale}
    verdict, words = _judge(figures, _moved(curves, intact / scale))
    return said(NAME, verdict, words, figures, subject, curves)


def _is_probability(case: Case) -> bool:
    objective = case.objective
    return objective.region is None and len(objective.terms) == 1 and case.prediction.activation != "none"


def _answer(case: Case, output: Tensor, scale: float) -> float:
    """The target's probability; the number that is explained, where it has none, as a share of what it was."""
    if not _is_probability(case):
        return float(case.objective(output.float())) / scale
    probabilities = probabilities_of(output.float().flatten(1), case.prediction.activation == "sigmoid")
    return float(probabilities[0, case.objective.terms[0][0]])


def _moved(curves: dict[str, Array], intact: float) -> float:
    return max(float(np.abs(values - intact).max()) for name, values in curves.items() if name.startswith("deletion"))


def _judge(figures: dict[str, float], moved: float) -> tuple[str, str]:
    deleted, inserted = ([figures[f"{kind} {name}"] for name in ORDERS] for kind in ("deletion", "insertion"))
    words = (
        f"without the hottest places the answer is {deleted[0]:.2f} (random places {deleted[1]:.2f}, a blob "
        f"{deleted[2]:.2f}), with them alone {inserted[0]:.2f} ({inserted[1]:.2f}, {inserted[2]:.2f})"
    )
    if moved < HARDLY:
        return "failed", f"whatever is taken away, the answer moves by {moved:.2f} at most; {words}"
    gains = min(deleted[1:]) - deleted[0], inserted[0] - max(inserted[1:])
    blur = abs(deleted[1] - deleted[2]) + abs(inserted[1] - inserted[2])
    figures |= {"gain": sum(gains), "controls differ": blur}
    if sum(gains) <= 0:
        return "failed", words
    return ("passed" if min(gains) >= 0 and sum(gains) > blur else "undecided"), words
