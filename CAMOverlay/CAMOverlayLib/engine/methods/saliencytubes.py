"""Saliency Tubes: the layer's channels, each weighted by what the network's last, linear layer makes of it."""

from __future__ import annotations

from torch import Tensor, nn

from ...contract.errors import MethodError
from ...contract.methods import CATALOGUE
from .gradcam import weighted_sum
from .method import Case, Method

TITLE = CATALOGUE["saliencytubes"].title


def _compute(case: Case) -> Tensor:
    """Stergiou et al. 2019, https://arxiv.org/abs/1902.01078: the class's weights in the prediction layer times the
    activations, summed over channels. It is CAM (Zhou et al. 2016) in three dimensions, and takes no gradient.

    The authors stretch the map to the size of the video by splines and draw nothing below a fifth of its maximum; here
    it is placed and cut as the maps of all methods are, and only negative evidence is left out. Right before average
    pooling it is Grad-CAM times the number of activations; at other layers, which the authors' code takes too, the two
    differ.

    Raises:
        MethodError: the network does not end in a linear layer with a weight for every channel of the layer.
    """
    (layer,) = case.layers
    activation = case.forward.activations[layer].detach()
    weights = _prediction_weights(case, layer, activation.shape[1])
    weights = sum(factor * weights[index] for index, factor in case.objective.terms)
    return weighted_sum(weights.to(activation), activation)


def _prediction_weights(case: Case, layer: str, channels: int) -> Tensor:
    """Outputs×channels, of the last linear layer or convolution of one voxel that makes the network's output."""
    outputs = case.forward.output.shape[1]
    found = [
        one for module in case.network.modules() if (one := _linear(module)) is not None and one.shape[0] == outputs
    ]
    if case.forward.output.ndim > 2 or not found:
        raise MethodError(
            f"{TITLE} takes the weights of a linear layer behind global pooling, and {type(case.network).__name__} "
            "does not end in one. Use Grad-CAM, which needs none."
        )
    weights = found[-1]
    if weights.shape[1] != channels:
        raise MethodError(
            f"{TITLE} needs a weight for each channel of the layer: '{layer}' has {channels} channels, and the "
            f"prediction layer takes {weights.shape[1]} values. Choose the last layer before global pooling, or use "
            "Grad-CAM."
        )
    return weights


def _linear(module: nn.Module) -> Tensor | None:
    """Outputs×inputs of a linear layer or of a convolution of one voxel; None of other modules."""
    if isinstance(module, nn.Linear):
        return module.weight.detach()
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) and max(module.kernel_size) == 1 and module.groups == 1:
        return module.weight.detach().flatten(1)
    return None


METHOD = Method(
    CATALOGUE["saliencytubes"],
    _compute,
)
