"""Does the answer depend on what the map shows? Deletion and insertion (Petsiuk et al. 2018,
https://arxiv.org/abs/1806.07421) on the map's own grid, beside controls.

The hottest places are taken away, or are the only ones left, in growing number; the answer after each makes a curve,
and its mean stands for the area under it (over the logarithm of the removed share, as lesions are small). The controls
take as many other places away in random order, and as one blob at a random place, two of each; how far they differ
among themselves is what the comparison cannot see. What the map holds hottest, a control leaves where it is: a blob
that happens to lie on the finding says nothing against a map that shows it. The answer is told as log-odds: a
probability of 0.9999 hides a loss.

Judged is deletion. Insertion is told and not judged: where all but a few places are blurred, a network may answer
anything, and the controls do (docs/trust-card.md). Captum's infidelity, over the same deletions, is told as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ...contract.findings import Check
from ..methods import Case
from ..target.prediction import log_odds
from .captum_figures import infidelity
from .removal import Order, Removal
from .similarity import SEED, Array
from .subject import Subject
from .verdict import said

NAME = "answer"

SHARES = (0.0025, 0.1)
"""Smallest and largest share of the places. With more than a tenth gone, little is left that the network knows."""

HALF = math.log(2)
"""Odds that fall by less than half, beyond what the best control takes away, hardly depend on the map."""

HARDLY = 0.05
"""The same of an answer without odds, as a share of what it was."""

CONTROLS = ("random", "blob", "second random", "second blob")


@dataclass(frozen=True)
class _Deletion:
    """Places that were taken away, and the explained number after it."""

    removed: Order
    answer: float


def check(subject: Subject, full: bool, steps: int) -> Check:
    removal = Removal(subject.case.image, subject.heat)
    orders = _orders(subject, removal)
    counts = np.unique(np.ceil(np.geomspace(*SHARES, steps) * removal.count).astype(int))
    output = subject.case.forward.output.detach()
    intact = _answer(subject.case, output)
    scale = 1.0 if has_odds(subject.case) else abs(intact) or 1.0
    wanted = [("deletion", name) for name in orders] + [("insertion", name) for name in ("map", *CONTROLS[:2])]
    curves: dict[str, Array] = {"x": counts / removal.count}
    deletions: list[_Deletion] = []
    for number, (kind, name) in enumerate(wanted):
        values: list[float] = []
        for count in counts:
            subject.step(number * len(counts) + len(values), len(wanted) * len(counts), kind)
            removed = orders[name][:count] if kind == "deletion" else orders[name][count:]
            after = subject.answer(removal.without(removed))
            values.append(_answer(subject.case, after) / scale)
            if kind == "deletion":
                deletions.append(_Deletion(removed, _explained(subject.case, after)))
        curves[f"{kind} {name}"] = np.array(values)
    figures = {key: float(np.mean(values)) for key, values in curves.items() if key != "x"} | {"intact": intact / scale}
    verdict, words = _judge(figures, has_odds(subject.case))
    figures |= _infidelity(subject, removal, deletions, _explained(subject.case, output))
    return said(NAME, verdict, words, figures, subject, curves)


def _infidelity(subject: Subject, removal: Removal, deletions: list[_Deletion], intact: float) -> dict[str, float]:
    return infidelity(
        subject,
        lambda number: removal.fine(deletions[number].removed),
        lambda number: removal.without(deletions[number].removed),
        intact,
        [one.answer for one in deletions],
    )


def _orders(subject: Subject, removal: Removal) -> dict[str, Order]:
    """In which order places are taken away, by name."""
    spacing = tuple(s * n / m for s, n, m in zip(subject.spacing, subject.heat.shape, removal.shape))
    orders = {"map": removal.by_heat()}
    hottest = orders["map"][: math.ceil(SHARES[1] * removal.count)]
    for number, name in enumerate(CONTROLS):
        seed = SEED + number
        elsewhere = removal.blob(spacing, seed, hottest) if "blob" in name else removal.at_random(seed, hottest)
        orders[name] = elsewhere
    return orders


def has_odds(case: Case) -> bool:
    """The target is one class of a classifier."""
    objective = case.objective
    return objective.region is None and len(objective.terms) == 1 and case.prediction.activation != "none"


def _explained(case: Case, output: Tensor) -> float:
    """The number that the map explains."""
    return float(case.objective(output.float()))


def _answer(case: Case, output: Tensor) -> float:
    """Log-odds of the target in nats; without odds the number that is explained."""
    if not has_odds(case):
        return _explained(case, output)
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
