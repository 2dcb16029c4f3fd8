"""Does the answer depend on what the map shows? Deletion and insertion (Petsiuk et al. 2018,
https://arxiv.org/abs/1806.07421) on the map's own grid, beside controls.

The hottest places are taken away, or are the only ones left, in growing number; the answer after each makes a curve,
and its mean stands for the area under it (over the logarithm of the removed share, as lesions are small). The controls
take as many places away in random order, and as one blob at a random place, two of each; how far they differ among
themselves is what the comparison cannot see. The answer is told as log-odds: a probability of 0.9999 hides a loss.

Judged is deletion. Insertion is told and not judged: where all but a few places are blurred, a network may answer
anything, and the controls do (docs/trust-card.md).
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from ...contract.findings import Check
from ..methods import Case
from ..target.prediction import log_odds
from .removal import Order, Removal
from .similarity import SEED, Array
from .subject import Subject
from .verdict import said

NAME = "answer"

SHARES = (0.0025, 0.3)
"""Smallest and largest share of the places."""

HALF = math.log(2)
"""Odds that fall by less than half, beyond what the best control takes away, hardly depend on the map."""

HARDLY = 0.05
"""The same of an answer without odds, as a share of what it was."""

CONTROLS = ("random", "blob", "second random", "second blob")


def check(subject: Subject, full: bool, steps: int) -> Check:
    removal = Removal(subject.case.image, subject.heat)
    orders = _orders(subject, removal)
    counts = np.unique(np.ceil(np.geomspace(*SHARES, steps) * removal.count).astype(int))
    intact = _answer(subject.case, subject.case.forward.output.detach())
    scale = 1.0 if has_odds(subject.case) else abs(intact) or 1.0
    wanted = [("deletion", name) for name in orders] + [("insertion", name) for name in ("map", *CONTROLS[:2])]
    curves: dict[str, Array] = {"x": counts / removal.count}
    for number, (kind, name) in enumerate(wanted):
        values: list[float] = []
        for count in counts:
            subject.step(number * len(counts) + len(values), len(wanted) * len(counts), kind)
            image = removal.without(orders[name][:count] if kind == "deletion" else orders[name][count:])
            values.append(_answer(subject.case, subject.answer(image)) / scale)
        curves[f"{kind} {name}"] = np.array(values)
    figures = {key: float(np.mean(values)) for key, values in curves.items() if key != "x"} | {"intact": intact / scale}
    verdict, words = _judge(figures, has_odds(subject.case))
    return said(NAME, verdict, words, figures, subject, curves)


def _orders(subject: Subject, removal: Removal) -> dict[str, Order]:
    """In which order places are taken away, by name."""
    spacing = tuple(s * n / m for s, n, m in zip(subject.spacing, subject.heat.shape, removal.shape))
    orders = {"map": removal.by_heat()}
    for number, name in enumerate(CONTROLS):
        seed = SEED + number
        orders[name] = removal.blob(spacing, seed) if "blob" in name else removal.at_random(seed)
    return orders


def has_odds(case: Case) -> bool:
    """The target is one class of a classifier."""
    objective = case.objective
    return objective.region is None and len(objective.terms) == 1 and case.prediction.activation != "none"


def _answer(case: Case, output: Tensor) -> float:
    """Log-odds of the target in nats; without odds the number that is explained."""
    if not has_odds(case):
        return float(case.objective(output.float()))
    scores, index = output.double().flatten(1)[0].cpu(), case.objective.terms[0][0]
    return float(log_odds(scores[:, None], index, case.prediction.activation == "sigmoid"))


def _judge(figures: dict[str, float], odds: bool) -> tuple[str, str]:
    controls = [figures[f"deletion {name}"] for name in CONTROLS]
    gain, spread = min(controls) - figures["deletion map"], max(controls) - min(controls)
    figures |= {"gain": gain, "controls differ": spread}
    what = "log-odds" if odds else "answer"
    words = (
        f"{what} {figures['intact']:.2f}, without the hottest places {figures['deletion map']:.2f}, without as many "
        f"others {min(controls):.2f} to {max(controls):.2f}; with the hottest alone {figures['insertion map']:.2f} "
        f"(others {figures['insertion random']:.2f} and {figures['insertion blob']:.2f})"
    )
    if gain <= (HALF if odds else HARDLY):
        return "failed", words
    return ("passed" if gain > spread else "undecided"), words
