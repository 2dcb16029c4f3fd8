"""How far opinions lie apart: standard deviation of the probability, and of the heatmap.

It is taken on the network's grid and brought to the volume as it is. Of what opinions have in common it says nothing:
an ensemble that is wrong as one is in perfect agreement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..further import FurtherArray
from ..network.running import running
from ..progress import Step, share_of
from ..target.prediction import is_map
from .opinions import PASSES, Opinions, opinions
from .placing import interpolated
from .probability import class_probability
from .subject import Made, Subject


class Spread:
    """Mean and standard deviation of values that come one after the other (Welford 1962), of any shape.

    >>> spread = Spread()
    >>> for value in (1.0, 2.0, 3.0):
    ...     spread.add(torch.tensor(value))
    >>> float(spread.mean), float(spread.deviation())
    (2.0, 1.0)
    """

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, values: Tensor) -> None:
        self.count += 1
        off = values - self.mean.to(values.device)
        self.mean = self.mean.to(values.device) + off / self.count
        self._squares = self._squares.to(values.device) + off * (values - self.mean)

    def deviation(self) -> Tensor:
        """Of the sample: the sum of squares divided by one less than there are values."""
        return (self._squares / max(1, self.count - 1)).sqrt()


@dataclass
class Gathered:
    """Of every piece the spread of the explained class's probability, and of the heatmap.

    Attributes:
        steps: of the maps, where the sizes of the grids do not say it.
    """

    probability: list[Spread]
    heat: list[Spread]
    steps: tuple[float, ...] | None = None


def disagreement_volumes(subject: Subject, wanted: Sequence[str], step: Step, passes: int = PASSES) -> Made:
    """Deviations of the probability of the explained class and of the heatmap; why not, where there is one opinion."""
    asking, placing = share_of(step, 0, 2), share_of(step, 1, 2)
    with running(subject.model.network, subject.amp, "Asking for other opinions"):
        found = opinions(subject, asking, passes)
        if not found.words:
            return [], [f"There is no disagreement to show: {found.why}."]
        gathered = gather(subject, found)
    made, warnings = _of_probability(subject, gathered, found.words, placing)
    deviations = [one.deviation() if one.count else None for one in gathered.heat]
    if all(one is None for one in deviations):
        return made, [
            *warnings,
            f"The deviation of the heatmap was left out: {found.count} maps of {subject.method.title} take too long. "
            "Choose another method for it.",
        ]
    words = f"standard deviation of the heatmap for '{subject.class_name}', each scaled to 1, over {found.words}"
    array = subject.on_volume(deviations, placing, gathered.steps)
    return [*made, FurtherArray("heat_disagreement", array, words, _highest(found.count))], warnings


def gather(subject: Subject, found: Opinions) -> Gathered:
    """All opinions, one after the other; no more of them is kept than their mean and spread."""
    pieces = range(len(subject.answers))
    gathered = Gathered([Spread() for _ in pieces], [Spread() for _ in pieces])
    for opinion in found.each:
        maps = opinion.maps or [None for _ in pieces]
        scale = max((float(one.values.max()) for one in maps if one), default=0.0) or 1.0
        for n, (output, one) in enumerate(zip(opinion.outputs, maps, strict=True)):
            gathered.probability[n].add(_probability(subject, output))
            if one is not None:  # as it would be shown alone
                gathered.heat[n].add(one.values / scale)
                gathered.steps = one.steps
    return gathered


def _of_probability(subject: Subject, gathered: Gathered, words: str, step: Step) -> Made:
    if subject.is_regression:
        return [], []
    spreads = gathered.probability
    if not subject.is_voxelwise:
        mean = float(torch.stack([one.mean for one in spreads]).mean())
        deviation = float(torch.stack([one.deviation() for one in spreads]).mean())
        return [], [
            "This network gives one answer, not one of every voxel, so its disagreement about it is a number: "
            f"'{subject.class_name}' {mean:.1%} ± {deviation:.1%} over {words}."
        ]
    array = interpolated(subject, [one.deviation() for one in spreads], step)
    what = f"standard deviation of the probability of '{subject.class_name}' over {words}"
    return [FurtherArray("disagreement", array, what, _highest(spreads[0].count))], []


def _highest(count: int) -> float:
    """Largest deviation that so many numbers between 0 and 1 can have: one half of them 0, the others 1."""
    low = count // 2
    return math.sqrt(low * (count - low) / count / max(1, count - 1))


def _probability(subject: Subject, output: Tensor) -> Tensor:
    if subject.is_regression:
        return torch.zeros(())
    if is_map(output):
        return class_probability(output, subject.index, subject.sigmoid)
    scores = output.detach().float().flatten(1)[0]
    return (scores.sigmoid() if subject.sigmoid else scores.softmax(0))[subject.index]
