"""Which input channels the evidence comes from: gradient × input, summed over each of them.

No method to choose: it makes no map that is shown, but is given the same cases as one, window by window where there are
windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...contract.errors import MethodError
from ...contract.methods import MethodInfo
from ..network.forward import require_finite
from .method import Case, Method, no_layer
from .scored import scored

INFO = MethodInfo(
    "channelevidence",
    "Shares of the input channels",
    "Shrikumar et al. 2016, https://arxiv.org/abs/1605.01713",
    "Gradient × input, in absolute value.",
)


class ChannelEvidence:
    """Adds up |gradient × input| of every channel, over all cases of one explanation.

    Where windows overlap, what lies in several counts several times, for all channels alike.
    """

    def __init__(self) -> None:
        self.method = Method(INFO, self._compute, layers=no_layer)
        self._sums: Tensor | None = None

    def shares(self, names: Sequence[str]) -> dict[str, float]:
        """By channel, adding up to 1; nothing where there is no evidence at all.

        Args:
            names: of the channels, in order; each once.
        """
        total = 0.0 if self._sums is None else float(self._sums.sum())
        if self._sums is None or not total > 0:
            return {}
        return {name: float(one) / total for name, one in zip(names, self._sums, strict=True)}

    def _compute(self, case: Case) -> Tensor:
        """|gradient × input| summed over channels, on the network's input.

        Raises:
            MethodError: the output does not depend on the input in a way that can be differentiated.
            NetworkError: the gradient is not finite.
        """
        with scored(case, 1, INFO.title) as network:
            image = case.image.detach().clone().requires_grad_()
            score = network(image.clone()).sum()  # a copy: a network may overwrite what it was given
            gradient = torch.autograd.grad(score, image, allow_unused=True)[0] if score.requires_grad else None
        if gradient is None:
            raise MethodError(
                "The network's output does not depend on its input in a way that can be differentiated, so there are "
                "no shares of its channels. Explain without them.",
                setting="channel_shares",
            )
        require_finite(gradient, "The gradient at the network's input")
        evidence = (gradient * case.image)[0].detach().float().abs()
        sums = evidence.flatten(1).double().sum(1).cpu()
        self._sums = sums if self._sums is None else self._sums + sums
        return evidence.sum(0)
