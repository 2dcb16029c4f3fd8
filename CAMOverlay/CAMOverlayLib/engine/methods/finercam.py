"""Finer-CAM: Grad-CAM of what tells the target from the class most like it."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from ...contract.errors import MethodError
from ...contract.methods import CATALOGUE
from ..target.objective import Objective
from .gradcam import METHOD as GRADCAM
from .method import Case, Method

STRENGTH = 0.6
"""γ of the paper: 0 is Grad-CAM, 1 leaves only the difference."""


def finer(case: Case) -> Objective:
    """Zhang et al. 2025: the target is y_c − γ y_d, with d the class whose output comes nearest to that of c.

    Raises:
        MethodError: there is no other class.
    """
    other = most_similar(case)
    return case.objective.minus(other, STRENGTH, case.prediction.classes[other])


def _compute(case: Case) -> Tensor:
    return GRADCAM.compute(dataclasses.replace(case, objective=finer(case)))


def most_similar(case: Case) -> int:
    """The class d of the paper; over the same region where the target has one."""
    index, objective = case.objective.target.index, case.objective
    if objective.target.minus is not None:
        return objective.target.minus
    others = [i for i in range(len(case.prediction.classes)) if i != index]
    if not others:
        raise MethodError("Finer-CAM compares classes, and this network has a single output. Use Grad-CAM.")
    output = case.forward.output.detach()
    own = _value(objective, index, output)
    return min(others, key=lambda i: abs(_value(objective, i, output) - own))


def _value(objective: Objective, index: int, output: Tensor) -> float:
    return float(dataclasses.replace(objective, terms=((index, 1.0),))(output))


METHOD = Method(
    CATALOGUE["finercam"],
    _compute,
    channels=GRADCAM.channels,
    objective=finer,
)
