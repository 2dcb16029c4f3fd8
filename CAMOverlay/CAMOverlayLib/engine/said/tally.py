"""Classes counted one after the other: which one is the most probable so far, and how undecided they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Tally:
    """What all classes together say of some voxels, when each class's probability has been by.

    Args:
        shape: of these voxels.
        count: of classes.
        sigmoid: every class is a yes or no of its own.
        entropy: keep it as well.

    Attributes:
        labels: of a choice, the number of the most probable class, the first of equals; of yes-or-no classes, bit n is
            whether class n is above 50 %. 0 where nothing was seen.
        entropy: of the choice, in bits; None where it was not asked for.
    """

    def __init__(self, shape: Sequence[int], count: int, sigmoid: bool, entropy: bool) -> None:
        self.labels = np.zeros(shape, label_type(count, sigmoid), order="F")
        self.entropy = np.zeros(shape, np.float32, order="F") if entropy else None
        self._sigmoid = sigmoid
        self._best: np.ndarray | None = None

    def take(self, index: int, probability: np.ndarray) -> None:
        """The probability of one class in every voxel; 0 where the network never saw."""
        if self._sigmoid:
            self.labels[probability > 0.5] |= self.labels.dtype.type(1 << index)
            return
        if self._best is None:
            self._best = np.zeros(probability.shape, np.float32)
        better = probability > self._best
        self.labels[better] = index
        np.maximum(self._best, probability, out=self._best)
        if self.entropy is not None:
            self.entropy -= probability * np.log2(np.maximum(probability, np.float32(1e-30)))


def label_type(count: int, sigmoid: bool) -> np.dtype:
    """The smallest whole numbers that hold all labels."""
    highest = (1 << count) - 1 if sigmoid else count - 1
    return np.dtype(np.uint8 if highest < 1 << 8 else np.uint16 if highest < 1 << 16 else np.uint32)
