"""The probability of the class that is explained, without a second copy of the network's output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..further import FurtherArray
from ..progress import Step
from .placing import interpolated
from .subject import Made, Subject


def explained_volumes(subject: Subject, wanted: Sequence[str], step: Step) -> Made:
    """Of the explained class alone: its probability, and of a yes or no its entropy."""
    entropy = "entropy" in wanted and subject.sigmoid
    if "probability" not in wanted and not entropy:
        return [], []
    maps = [class_probability(one, subject.index, subject.sigmoid) for one in subject.answers]
    array, made = interpolated(subject, maps, step), []
    if "probability" in wanted:
        activation = subject.explained.prediction.activation
        words = f"probability of '{subject.class_name}' in every voxel, by {activation}"
        made.append(FurtherArray("probability", array, words))
    if entropy:
        words = f"entropy of '{subject.class_name}', yes or no, in bits: 0 is sure, 1 is 50 %"
        made.append(FurtherArray("entropy", binary_entropy(array), words))
    return made, []


def class_probability(scores: Tensor, index: int, sigmoid: bool) -> Tensor:
    """Spatial, float32: the probability of one class.

    One slab of the first axis after the other, so that of a hundred classes there is no second copy of all scores.

    Args:
        scores: 1×K×spatial, before the activation.
    """
    if sigmoid:
        return scores[0, index].float().sigmoid()
    found = torch.empty(scores.shape[2:], dtype=torch.float32, device=scores.device)
    for n in range(scores.shape[2]):
        slab = scores[0, :, n].float()
        found[n] = (slab[index] - slab.logsumexp(0)).exp()
    return found


def binary_entropy(probability: np.ndarray) -> np.ndarray:
    """Bits, slice by slice along the last axis."""
    found = np.zeros_like(probability)
    for k in range(probability.shape[-1]):
        p = np.clip(probability[..., k].astype(np.float64), 1e-30, 1)
        q = np.clip(1 - p, 1e-30, 1)
        found[..., k] = np.maximum(0, -p * np.log2(p) - q * np.log2(q))
    return found
