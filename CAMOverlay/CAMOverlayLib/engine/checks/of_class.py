"""Does the map belong to this class? Compared with the map of the runner-up, from the same forward pass.

Random-logit test of Sixt et al. 2020 (https://arxiv.org/abs/1912.09818), with the class that came second instead of a
random one: it is the one that a map of no class in particular would fit as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ...contract.findings import Check
from ...contract.request import Prediction
from ..target.objective import Objective
from .similarity import Likeness, correlation
from .subject import Subject
from .verdict import said, undecided

NAME = "class"


def check(subject: Subject, full: bool, steps: int) -> Check:
    prediction, objective = subject.case.prediction, subject.case.objective
    if not subject.method.of_target:
        return undecided(NAME, f"{subject.method.title} makes the same map for every class")
    other = runner_up(prediction, objective)
    if other is None:
        return undecided(NAME, "the network has no other output to compare with")
    subject.step(0, 1, "the map of the runner-up")
    name = prediction.classes[other]
    heat = subject.heat_of(subject.changed(objective=of_other(objective, other, name)))
    found = Likeness.beside(correlation(subject.heat, heat), subject.chance())
    figures = found.figures() | {"runner-up": float(other)}
    beside = (
        f"the map of '{name}' correlates with it by {found.similarity:.2f}, random pairs by up to {found.bound:.2f}"
    )
    if not np.ptp(heat) > 0:
        return said(NAME, "passed", f"there is no evidence for '{name}' to confuse it with", figures, subject)
    if found.blind:
        return said(NAME, "undecided", f"{beside}: they cannot tell", figures, subject)
    verdict = "passed" if found.apart else "failed" if found.alike else "undecided"
    return said(NAME, verdict, beside, figures, subject)


def runner_up(prediction: Prediction, objective: Objective) -> int | None:
    """The output that comes nearest to the predicted one, of those that the objective does not hold."""
    held = {index for index, _ in objective.terms}
    others = [index for index in range(len(prediction.classes)) if index not in held]
    return max(others, key=lambda index: (prediction.probabilities[index], prediction.outputs[index]), default=None)


def of_other(objective: Objective, index: int, name: str) -> Objective:
    """The same question, over the same region, asked of another class."""
    target = dataclasses.replace(objective.target, index=index, name=name)
    rest = [(one, factor) for one, factor in objective.terms if one != objective.target.index]
    return dataclasses.replace(objective, terms=((index, 1.0), *rest), target=target)
