"""What is asked: the network's answer of every piece of the volume, and the way back of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..bundle.model import Model
from ..further import FurtherArray
from ..inference import Explained
from ..methods import Method
from ..preprocessing.inputs import NetworkInputs
from ..progress import Step
from ..restore.assemble import on_volume
from ..restore.plan import InversionPlan
from ..target.prediction import is_map

MOST_BITS = 32
"""Classes that may share voxels, in a label map: one bit each."""

Made = tuple[list[FurtherArray], list[str]]
"""Maps, and sentences about those that could not be made."""


@dataclass(frozen=True)
class Subject:
    """One run of the network, with everything that led to it.

    Attributes:
        amp: run the network in mixed precision, where it is run again.
    """

    model: Model
    inputs: NetworkInputs
    plans: Sequence[InversionPlan]
    explained: Explained
    method: Method
    amp: bool = False

    @property
    def is_voxelwise(self) -> bool:
        """The network says something of every voxel."""
        return is_map(self.explained.outputs[0])

    @property
    def is_regression(self) -> bool:
        """Its outputs are numbers in a unit of their own, and no probabilities."""
        return self.explained.prediction.activation == "none"

    @property
    def sigmoid(self) -> bool:
        """Every class is a yes or no of its own."""
        return self.explained.prediction.activation == "sigmoid"

    @property
    def index(self) -> int:
        """Of the class that is explained."""
        return next(one.target.index for one in self.explained.objectives if one)

    @property
    def class_name(self) -> str:
        return self.explained.prediction.classes[self.index]

    @property
    def answers(self) -> list[Tensor]:
        """The network's output of each piece: 1×K×spatial, without a graph."""
        return [output.detach() for output in self.explained.outputs]

    def no_voxels(self, names: Sequence[str]) -> tuple[Sequence[str], str]:
        """Which of these maps there cannot be, as the network says nothing of voxels; and that in a sentence."""
        listed = ", ".join(names)
        if self.is_regression:
            return names, f"The outputs of this network are numbers, not probabilities of classes: no {listed} to show."
        if not self.is_voxelwise:
            whole = "picture" if self.inputs.stack else "volume"
            words = f"This network gives one answer for the whole {whole}, not one of every voxel: no {listed} to show."
            return names, words
        return (), ""

    def too_many(self, names: Sequence[str]) -> tuple[Sequence[str], str]:
        """The same for classes that may share voxels, and are too many for a label map."""
        count = len(self.explained.prediction.classes)
        if "prediction" not in names or not self.sigmoid or count <= MOST_BITS:
            return (), ""
        return ("prediction",), (
            f"This network has {count} classes that may share voxels, and a label map holds {MOST_BITS} of such: no "
            "prediction to show. Ask for the probability of one class."
        )

    def views(self, array: np.ndarray) -> list[np.ndarray]:
        """An array on the volume's grid as the pieces have it, I×J×K or I×J×1: writing to them writes there."""
        stack = self.inputs.stack
        if stack is None:
            return [array]
        turned = stack.view(array)
        return [turned[:, :, n : n + 1] for n in range(turned.shape[2])]

    def on_volume(
        self, maps: Sequence[Tensor | None], step: Step, steps: tuple[float, ...] | None = None
    ) -> np.ndarray:
        """Maps of all pieces (spatial), placed as the heatmap is."""
        thick = [one[..., None] if one is not None and one.ndim == 2 else one for one in maps]
        return on_volume(self.inputs, self.plans, thick, step, steps=steps)
