"""Which structure mattered: each is taken out of the image, and the network asked again.

Its voxels in the network's input are replaced by the local mean of their surroundings, in every channel: what lies
around the structure is averaged over the voxels within two of it that are not in it, and every voxel inside is the mean
of its neighbours (:mod:`.geometry.infill`). One forward pass each, as the network was run before: whole, in the model's
own windows, picture by picture, or as an ensemble. What is compared is the number that was explained.

What a structure hides or touches goes on being there, so falls do not add up to the answer; and an image with a hole
that was filled is one that the network has never seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..contract.errors import CAMOverlayError, reason, root_cause
from ..contract.findings import StructureFall
from ..contract.request import Prediction
from ..reading.anatomy import not_seen
from ..reading.structures import Structure
from .geometry.infill import REACH, filled, local_means
from .inference import Explained
from .preprocessing.inputs import NetworkInputs
from .progress import Step, sub_progress
from .restore.onto_input import OntoInput
from .restore.plan import InversionPlan
from .target.objective import Objective
from .target.prediction import log_odds


@dataclass(frozen=True)
class Occluded:
    """By how much the answer falls without each structure, and what the user should know of it."""

    falls: tuple[StructureFall, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Answer:
    """Sums over the places of a target, of one input or several.

    Attributes:
        places: voxels of the region; 1 of an answer for the whole.
        total: of the number that is explained.
        odds, probability: None where there are none.
    """

    places: int
    total: float
    odds: float | None
    probability: float | None

    @classmethod
    def of(cls, output: Tensor, objective: Objective, prediction: Prediction) -> _Answer:
        scores = output.detach()[0].float()
        chosen = (
            scores.reshape(len(scores), -1)
            if objective.region is None
            else scores[:, objective.region.to(scores.device)]
        )
        places = 1 if objective.region is None else chosen.shape[1]
        chosen = chosen.double().cpu()
        total = float(sum(factor * chosen[index].sum() for index, factor in objective.terms))
        if len(objective.terms) > 1 or prediction.activation == "none":
            return cls(places, total, None, None)
        odds = log_odds(chosen, objective.terms[0][0], prediction.activation == "sigmoid")
        return cls(places, total, float(odds.sum()), float(odds.sigmoid().sum()))

    def __add__(self, other: _Answer) -> _Answer:
        odds = None if self.odds is None or other.odds is None else self.odds + other.odds
        sure = None if self.probability is None or other.probability is None else self.probability + other.probability
        return _Answer(self.places + other.places, self.total + other.total, odds, sure)

    def mean(self, sums: float | None) -> float | None:
        return None if sums is None else sums / self.places


def occlude(
    structures: Sequence[Structure],
    explained: Explained,
    outputs: Sequence[Tensor],
    inputs: NetworkInputs,
    plans: Sequence[InversionPlan],
    step: Step,
) -> Occluded:
    """Take every structure out of the image, one after the other.

    Args:
        structures: on the volume's grid; none asks nothing.
        outputs: what the network said of every input as it is.
        plans: which way a structure gets to an input, one an input.

    A structure that the network did not see, or without which it cannot be run, is a warning; only cancellation ends
    the run.
    """
    if not structures:
        return Occluded()
    onto = OntoInput(inputs, plans, structures)
    run = _Run(explained, inputs, outputs)
    falls, warnings = [], []
    for number, structure in enumerate(structures):
        progress = _named(step, number, len(structures), structure.name)
        progress(0, 1, "")
        try:
            places = onto.pieces(structure)
            if places:
                falls.append(run.without(structure.name, places, progress))
            else:
                warnings.append(not_seen(structure.name))
        except Exception as error:  # noqa: BLE001  the map is there, and stays
            own = error if isinstance(error, CAMOverlayError) else root_cause(error)
            warnings.append(f"The answer without '{structure.name}' could not be computed: {reason(own)}")
    return Occluded(tuple(falls), tuple(warnings))


def _named(step: Step, number: int, count: int, name: str) -> Step:
    words = f"without {name} ({number + 1} of {count})"
    return lambda done, of, _words: step(number * max(1, of) + done, count * max(1, of), words)


class _Run:
    """The network asked again and again, always with one structure less.

    The inputs themselves stay as they are: others go on with them. One copy of an input is all that this takes.
    """

    def __init__(self, explained: Explained, inputs: NetworkInputs, outputs: Sequence[Tensor]) -> None:
        self._explained, self._inputs = explained, inputs
        self._intact = [
            None if objective is None else _Answer.of(output, objective, explained.prediction)
            for output, objective in zip(outputs, explained.objectives, strict=True)
        ]
        self._sizes = [float(abs(np.linalg.det(trace.input_grid.affine[:3, :3]))) for trace in inputs.traces]

    def without(self, name: str, places: dict[int, Structure], step: Step) -> StructureFall:
        """The fall without a structure, of which it is known where it lies in which input."""
        answers = list(self._intact)
        asked = [number for number in places if answers[number] is not None]
        for done, number in enumerate(asked):
            inference, objective = self._explained.inferences[number], self._explained.objectives[number]
            assert objective is not None  # or there were no answer
            image = replaced(inference.image, places[number])
            output = inference.answer(image, sub_progress(step, done, len(asked)))
            answers[number] = _Answer.of(output, objective, self._explained.prediction)
        size = sum(int(np.count_nonzero(one.inside)) * self._sizes[number] for number, one in places.items())
        return _fall(name, size, _sum(self._intact), _sum(answers))


def _sum(answers: Sequence[_Answer | None]) -> _Answer:
    found = [one for one in answers if one is not None]
    return sum(found[1:], found[0])


def _fall(name: str, size: float, before: _Answer, after: _Answer) -> StructureFall:
    was, now = before.total / before.places, after.total / after.places
    return StructureFall(
        name,
        size,
        was,
        now,
        was - now,
        before.mean(before.odds),
        after.mean(after.odds),
        before.mean(before.probability),
        after.mean(after.probability),
    )


def replaced(image: Tensor, structure: Structure) -> Tensor:
    """A copy of an image with a structure replaced by its surroundings.

    Args:
        image: 1×C×spatial.
        structure: on its grid; a picture's has a third axis of one voxel.

    Raises:
        ValueError: it fills the image, and nothing lies around it.
    """
    box = structure.box[: image.ndim - 2]
    hole = torch.from_numpy(structure.inside.reshape([one.stop - one.start for one in box])).to(image.device)
    margins = [
        (min(REACH + 1, one.start), min(REACH + 1, n - one.stop)) for one, n in zip(box, image.shape[2:], strict=True)
    ]
    around = tuple(slice(one.start - a, one.stop + b) for one, (a, b) in zip(box, margins))
    hole = torch.nn.functional.pad(hole, [n for pair in reversed(margins) for n in pair])[None, None]
    if bool(hole.all()):
        raise ValueError("it fills all that the network saw, and nothing lies around it")
    copy = image.clone()
    part = copy[(slice(None), slice(None), *around)]
    part.copy_(torch.where(hole, filled(local_means(part, hole), hole), part))
    return copy
