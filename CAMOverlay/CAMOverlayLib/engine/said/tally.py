"""Which class is the most probable, and how undecided they are: of all classes at once, or one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


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


def decided(numbers: Sequence[int], values: Tensor, dtype: np.dtype, sigmoid: bool) -> np.ndarray:
    """Labels as of a :class:`Tally`, of all classes at once that count somewhere.

    Args:
        numbers: of these classes, ascending.
        values: their probabilities, N×i×j×k.
    """
    if not len(numbers):
        return np.zeros(values.shape[1:], dtype)
    if sigmoid:
        bits = [np.where(one.numpy() > 0.5, dtype.type(1 << n), dtype.type(0)) for n, one in zip(numbers, values)]
        return np.bitwise_or.reduce(bits)
    best, place = values.max(0)
    found = np.asarray(numbers)[place.numpy()]
    return np.where(best.numpy() > 0, found, 0).astype(dtype)


def entropy_of(values: Tensor) -> np.ndarray:
    """Bits, of a choice among N: probabilities N×i×j×k."""
    return torch.special.entr(values).sum(0).div_(math.log(2)).numpy()


def label_type(count: int, sigmoid: bool) -> np.dtype:
    """The smallest whole numbers that hold all labels."""
    highest = (1 << count) - 1 if sigmoid else count - 1
    return np.dtype(np.uint8 if highest < 1 << 8 else np.uint16 if highest < 1 << 16 else np.uint32)
