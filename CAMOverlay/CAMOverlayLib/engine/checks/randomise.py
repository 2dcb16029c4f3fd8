"""The network with its weights shuffled: a copy, so that the network itself is never touched."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from ...contract.errors import NetworkError, reason
from ...contract.on_cores import on_cores
from .similarity import SEED


def copy_of(network: nn.Module) -> nn.Module:
    """A copy whose weights may be shuffled.

    Raises:
        NetworkError: it has no weights that can be reached, or cannot be copied.
    """
    if not any(one.is_floating_point() for one in network.parameters()):
        raise NetworkError("The network's weights cannot be reached, as it is compiled or has none.")
    try:
        return copy.deepcopy(network)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise NetworkError(f"The network cannot be copied ({reason(error)}).") from error


def shuffle(network: nn.Module, numbers: Iterable[int] | None = None) -> None:
    """Put the values of each weight tensor in random order, of the tensors of these numbers, or of all.

    Every tensor keeps its distribution, so that activations stay in range, and loses what it has learnt. The order of a
    tensor depends on its number alone: the network with all of them shuffled at once or one after the other is the
    same. Buffers, such as the statistics of batch normalisation, stay.
    """
    tensors = list(network.parameters())

    def shuffle_one(number: int) -> None:
        weights = tensors[number]
        if weights.is_floating_point() and weights.numel() > 1:
            generator = torch.Generator().manual_seed(SEED + number)
            order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
            with torch.no_grad():
                weights.data.copy_(weights.data.flatten()[order].view_as(weights))

    on_cores(shuffle_one, range(len(tensors)) if numbers is None else numbers)


def stages(order: Sequence[int], count: int) -> list[list[int]]:
    """Weight tensors in stages from the output to the input, of about as many each.

    Args:
        order: their numbers, those first that come first in the run.
    """
    ends = np.unique(np.linspace(0, len(order), min(count, len(order)) + 1).round().astype(int))[::-1]
    return [list(order[first:last]) for last, first in pairwise(ends)]
