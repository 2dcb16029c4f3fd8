"""Probabilities of the network's output, without a second copy of it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..further import FurtherArray
from ..progress import Step
from ..restore.assemble import on_volume
from .subject import Subject


def probability_volume(subject: Subject, step: Step) -> FurtherArray:
    """The probability of the class that is explained."""
    maps = [_with_third_axis(class_probability(o, subject.index, subject.sigmoid)) for o in subject.answers()]
    array = on_volume(subject.inputs, subject.plans, maps, step)
    activation = subject.explained.prediction.activation
    return FurtherArray("probability", array, f"probability of '{subject.class_name}' in every voxel ({activation})")


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


def _with_third_axis(values: Tensor) -> Tensor:
    return values[..., None] if values.ndim == 2 else values
