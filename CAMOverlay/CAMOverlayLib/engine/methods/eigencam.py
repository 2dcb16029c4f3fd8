"""Eigen-CAM: what the layer's channels have most in common; no class and no gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from ...contract.methods import CATALOGUE
from .method import Case, ChannelWeights, Method


def eigen_cam(activation: Tensor) -> Tensor:
    """Muhammad and Yeasin 2020: the activations projected on their first principal direction, not centred.

    A principal direction has no sign; it is turned so that the map goes along with the channels' sum.

    Args:
        activation: 1×C×spatial.

    Returns:
        spatial, ≥ 0, in the unit of the activations.
    """
    channels = activation[0].flatten(1).cpu().double()  # C×N; not every device has double precision
    if channels.shape[0] <= channels.shape[1]:  # the smaller of the two Gram matrices
        direction = torch.linalg.eigh(channels @ channels.T).eigenvectors[:, -1]
        projected = direction @ channels
    else:
        values, vectors = torch.linalg.eigh(channels.T @ channels)
        projected = vectors[:, -1] * values[-1].clamp(min=0).sqrt()
    along = projected @ channels.sum(0)
    return (projected * (-1 if along < 0 else 1)).view(activation.shape[2:]).to(activation).relu()


def _gram(activation: Tensor, gradient: Tensor | None) -> Tensor:
    """C×C: what the channels have in common, summed over places."""
    channels = activation[0].flatten(1).cpu().double()
    return channels @ channels.T


def _direction(gram: Tensor, places: int) -> Tensor:
    """The principal direction, turned as in :func:`eigen_cam`."""
    direction = torch.linalg.eigh(gram).eigenvectors[:, -1]
    return direction * (-1 if float(direction @ gram.sum(1)) < 0 else 1)


def _compute(case: Case) -> Tensor:
    (layer,) = case.layers
    return eigen_cam(case.forward.activations[layer].detach())


METHOD = Method(
    CATALOGUE["eigencam"],
    _compute,
    of_target=False,
    channels=ChannelWeights(_gram, _direction),
)
