"""nnU-Net's sliding window as an inferer: its own places, its own weights, mirroring where it is asked for.

Windows overlap by at least half and are spread evenly, so that the last one ends with the image; what each says is
weighted by a Gaussian around its centre (Isensee et al. 2021; https://github.com/MIC-DKFZ/nnUNet, version 2).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy  # its parts load when they are used
import torch
from monai.inferers import Inferer
from torch import Tensor
from torch.nn.functional import pad

STEP = 0.5
"""Share of a window from one to the next, at most, as nnU-Net has it."""


class NnunetWindows(Inferer):
    """The network on one window of an image after the other.

    Args:
        patch: size of the window in voxels; two numbers cut each slice of the first axis by itself.
        mirrored: spatial axes of the window over which the answer is averaged, with the plain one.
        step: share of a window from one to the next, at most.
    """

    mode = "Gaussian"

    def __init__(self, patch: Sequence[int], mirrored: Sequence[int] = (), step: float = STEP) -> None:
        super().__init__()
        self.patch, self.mirrored, self.step = tuple(patch), tuple(mirrored), step

    def __call__(self, inputs: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """1×C×spatial to 1×K×spatial. ``network`` takes a batch of windows."""
        flat = inputs.ndim - 2 > len(self.patch)
        padded, inside = self._padded(inputs)
        weights = window_weights(self.patch).to(inputs.device)
        total: Tensor | None = None
        summed = padded.new_zeros(padded.shape[2:], dtype=torch.float32)
        for place in self._places(padded.shape[2:]):
            window = padded[(slice(None), slice(None), *place)]
            answer = self._answer(window[:, :, 0] if flat else window, network, *args, **kwargs)[0].float()
            if total is None:
                total = padded.new_zeros((answer.shape[0], *padded.shape[2:]), dtype=torch.float32)
            weighted = answer * weights
            total[(slice(None), *place)] += weighted[:, None] if flat else weighted
            summed[place] += weights[None] if flat else weights
        assert total is not None  # there is always one window
        return (total / summed)[(slice(None), *inside)][None]

    def _answer(self, window: Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        """What the network says of a window, perhaps averaged over all ways of mirroring it."""
        axes = [2 + axis for axis in self.mirrored]
        flips = [f for count in range(len(axes) + 1) for f in itertools.combinations(axes, count)]
        answers = [network(window.flip(f) if f else window, *args, **kwargs).flip(f) for f in flips]
        return sum(answers[1:], answers[0]) / len(answers) if len(answers) > 1 else answers[0]

    def _padded(self, inputs: Tensor) -> tuple[Tensor, tuple[slice, ...]]:
        """The image with zeros around it where it is smaller than a window, and where in it the image is."""
        shape = inputs.shape[2:]
        wanted = (*shape[: len(shape) - len(self.patch)], *self.patch)
        missing = [max(0, size - n) for size, n in zip(wanted, shape, strict=True)]
        around = [(m // 2, m - m // 2) for m in missing]
        inside = tuple(slice(before, before + n) for (before, _after), n in zip(around, shape, strict=True))
        return pad(inputs, [n for pair in reversed(around) for n in pair]), inside

    def _places(self, shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
        along = [
            [slice(start, start + size) for start in starts(n, size, self.step)]
            for n, size in zip(shape[len(shape) - len(self.patch) :], self.patch, strict=True)
        ]
        slices = [[slice(n, n + 1) for n in range(count)] for count in shape[: len(shape) - len(self.patch)]]
        return itertools.product(*slices, *along)


class SlicewiseWindows(NnunetWindows):
    """The same for a 2-D network on a volume: each slice of the first axis by itself."""

    spatial_dim = 0
    """The axis that is cut, as MONAI's ``SliceInferer`` says it."""


def starts(length: int, window: int, step: float = STEP) -> list[int]:
    """Where windows begin along an axis that is no shorter than one.

    >>> starts(64, 32), starts(33, 32), starts(70, 32)
    ([0, 16, 32], [0, 1], [0, 13, 25, 38])
    """
    count = int(np.ceil((length - window) / (window * step))) + 1
    return [round(number * (length - window) / max(1, count - 1)) for number in range(count)]


def window_weights(patch: Sequence[int]) -> Tensor:
    """The weight of every voxel of a window (float32): a Gaussian of an eighth of its size, at most 10.

    nnU-Net keeps them in half precision, in which the corners are 0, and takes the smallest number above it there.
    """
    peak = np.zeros(patch)
    peak[tuple(n // 2 for n in patch)] = 1
    smooth = scipy.ndimage.gaussian_filter(peak, [n / 8 for n in patch], mode="constant")
    weights = torch.from_numpy(smooth * (10 / smooth.max())).half()
    weights[weights == 0] = weights[weights > 0].min()
    return weights.float()
