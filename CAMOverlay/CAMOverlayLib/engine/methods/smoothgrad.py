"""SmoothGrad: saliency averaged over noisy copies of the input. MONAI's implementation."""

from __future__ import annotations

from monai.visualize import SmoothGrad
from torch import Tensor

from ...contract.methods import CATALOGUE
from .method import Case, Method, no_layer
from .scored import scored

SAMPLES = 25
SPREAD = 0.15
"""Standard deviation of the noise as a share of the input's range; the paper finds 0.1 to 0.2 best."""


def _compute(case: Case) -> Tensor:
    """Smilkov et al. 2017, with squared gradients as MONAI has it; the largest of the channels."""
    with scored(case, SAMPLES, "SmoothGrad", seed=0) as network:
        smooth = SmoothGrad(network, stdev_spread=SPREAD, n_samples=SAMPLES, verbose=False)
        return smooth(case.image.clone(), index=0)[0].amax(0)


METHOD = Method(
    CATALOGUE["smoothgrad"],
    _compute,
    layers=no_layer,
)
