"""Score-CAM: channels weighted by what the target becomes when the input is masked with them. torchcam's
implementation."""

from __future__ import annotations

from torch import Tensor

from ...contract.methods import CATALOGUE
from ..network.forward import first_tensor
from .batches import TRIAL, Batches
from .method import Case, Method, library
from .scored import scored

TITLE = CATALOGUE["scorecam"].title


def _compute(case: Case) -> Tensor:
    """Wang et al. 2020. In the unit of the activations: the weights are a softmax over the channels.

    One pass through the network a channel: minutes for the last layer of a large network.
    """
    torchcam = library("torchcam", "torchcam.methods", TITLE)
    (layer,) = case.layers
    view = case.forward.views[layer]
    channels = case.forward.activations[layer].shape[1]

    def as_map(output) -> Tensor:
        return view.to_map(view.pick(output))

    with scored(case, TRIAL + 2 + channels, TITLE) as network:
        size = Batches(case, network).size
        with torchcam.ScoreCAM(network, f"network.{layer}", batch_size=size, reshape_transform=as_map) as method:
            scores = network(case.image)
            (found,) = method(class_idx=0, scores=first_tensor(scores), normalized=False)
    return found[0].detach().relu()


METHOD = Method(
    CATALOGUE["scorecam"],
    _compute,
)
