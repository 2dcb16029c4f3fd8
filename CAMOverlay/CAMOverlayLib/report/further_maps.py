"""What else a run says of every voxel, as it is drawn: on a scale with colours of its own, or class by class."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..contract.request import FurtherVolume
from .shown import Shown, color_table

COLORS = {"probability": "leaf", "entropy": "plum"}
"""Colour tables of what is told by name; anything else has those of a deviation."""

OTHER_COLORS = "lagoon"

LEAST = 0.05
"""Share of the scale below which such a map is transparent: nearly 0 nearly everywhere, it would veil all."""


@dataclass(frozen=True)
class FurtherMap:
    """A map on the grid of the heatmap.

    Attributes:
        name: such as ``probability``.
        values: I×J×K, ≥ 0; of classes whole numbers, where 0 is none and n is the n-th of ``classes``.
        colors: N×3 in [0, 1]: evenly from 0 to ``highest``, or one a class.
        highest: where the colours end.
        classes: names; empty of a map on a scale.
    """

    name: str
    values: np.ndarray
    colors: np.ndarray
    highest: float = 1.0
    classes: Sequence[str] = ()

    @classmethod
    def on_scale(cls, said: FurtherVolume, values: np.ndarray) -> FurtherMap:
        """A map on a scale, in its usual colours."""
        colors = color_table(COLORS.get(said.name, OTHER_COLORS))
        return cls(said.name, values, colors, scale_of(said))

    @classmethod
    def of_labels(cls, said: FurtherVolume, labels: np.ndarray) -> FurtherMap:
        """A label map as the engine writes it. Where classes share voxels the last one is drawn; class 0 of a choice is
        also what was not seen, and is not."""
        if said.overlapping:
            values = np.zeros(labels.shape, np.uint16)
            for number in range(len(said.classes)):
                values[(labels >> labels.dtype.type(number)) & labels.dtype.type(1) > 0] = number + 1
            names = said.classes
        else:
            values, names = labels, said.classes[1:]
        colors = np.array([label_color(number + 1) for number in range(len(names))]).reshape(-1, 3)
        return cls(said.name, values, colors, classes=names)

    def over(self, shown: Shown) -> Shown:
        """The volume with this map in the place of the heat, for pictures."""
        if not self.classes:
            heat, low = np.asarray(self.values, np.float32) / np.float32(self.highest), LEAST
        else:
            count = np.float32(len(self.classes))
            heat, low = np.where(self.values > 0, (self.values - np.float32(0.5)) / count, np.float32(0)), 0.0
        colors, range_ = self.colors, (low, np.inf)
        return replace(shown, heat=heat, colors=colors, shown=range_, stepped=bool(self.classes), further=())


def scale_of(said: FurtherVolume) -> float:
    """Where its colours end: an even choice between two classes is an entropy of 1 bit, and hardly any is more."""
    return min(said.highest, 1.0) if said.name == "entropy" else said.highest


def label_color(label: int) -> tuple[float, float, float]:
    """Of a label from 1 on: hues a golden section apart, which begin far from the colours of the heat."""
    return colorsys.hsv_to_rgb((0.5 + 0.381966 * (label - 1)) % 1.0, 0.7, 1.0)
