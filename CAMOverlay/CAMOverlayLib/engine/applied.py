"""The network applied to its input: all at once, or window by window as the bundle's own inferer does it.

Either way there are two questions to it, in this order: what is the answer, and where does it come from?
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.inferers import Inferer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..errors import BundleError
from ..request import Prediction
from .activation import Pass, first_tensor, forward_to_layers, frozen
from .inverse import to_input_grid
from .methods import Case, Method
from .methods.method import Step
from .steps import true_steps
from .targets import Goal


@dataclass(frozen=True)
class Heat:
    """A raw map over the network's input.

    Attributes:
        values: spatial, ≥ 0, on the activation grid or on the network's input.
        activation: shape of the activation grid that it comes from; of one window, where there are several.
        stride: voxels of the network's input that one activation stands for.
        steps: the same of ``values``, where the sizes of the two grids do not say it; see :mod:`.steps`.
    """

    values: Tensor
    activation: tuple[int, ...]
    stride: tuple[float, ...]
    steps: tuple[float, ...] | None = None


class Whole:
    """The network on its whole input.

    Args:
        image: 1×C×spatial, on the network's device.
        keep: hold on to the forward pass, so that other targets and methods need none.
    """

    def __init__(self, network: nn.Module, image: Tensor, keep: bool = True) -> None:
        self.network, self.image = network, image
        self._keep, self._pass = keep, None

    @property
    def sample(self) -> Tensor:
        """What the network gets in one call, 1×C×spatial."""
        return self.image

    @property
    def fresh(self) -> bool:
        """There was no forward pass yet that is kept for others."""
        return self._keep and self._pass is None

    def answer(self, layers: Sequence[str], step: Step) -> Tensor:
        """The network's output, by a forward pass that is cut at the layers where it will be explained."""
        return self._forward(layers if self._keep else ()).output

    def heat(
        self, method: Method, layers: Sequence[str], prediction: Prediction, goal: Goal, step: Step, blocks: bool = False
    ) -> Heat:
        forward = self._forward(layers)
        raw = method.compute(Case(self.network, self.image, forward, tuple(layers), prediction, goal, step)).float()
        steps = true_steps(self.network, self.image, _layer_of(forward, layers, raw), tuple(raw.shape))
        return Heat(raw, tuple(raw.shape), steps or _stride(self.image, raw), steps)

    def _forward(self, layers: Sequence[str]) -> Pass:
        if self._pass is not None and set(layers) <= set(self._pass.tensors):
            return self._pass
        self._pass = None  # before the next one is made, so that there is room for it
        forward = forward_to_layers(self.network, self.image, layers)
        if self._keep:
            self._pass = forward
        return forward


class Windows:
    """The network on one window of its input after the other.

    The inferer is asked twice to do what it does, so that cutting, padding and blending are its own: first for the
    prediction, with the network; then for the map, with what explains one window. The maps are therefore blended with
    the very weights of the predictions. In each window the target is the same as in the whole, over the part of its
    region that lies in that window; a window that has none of it adds nothing.

    Args:
        image: 1×C×spatial, on the network's device.
    """

    def __init__(self, network: nn.Module, image: Tensor, inferer: Inferer) -> None:
        self.network, self.image = network, image
        self._inferer = _on_device(inferer, image.device)
        self._output: Tensor | None = None
        self.sample, self.count = self._survey()

    @property
    def blend(self) -> str:
        """By which weights windows are blended, in words; with constant ones their edges may show."""
        mode = getattr(self._inferer, "mode", None)
        return f", blended with {str(getattr(mode, 'value', mode))} weights" if mode else ""

    def answer(self, layers: Sequence[str], step: Step) -> Tensor:
        if self._output is None:
            progress = _Progress(step, self.count)

            def predict(windows: Tensor, *_: object, **__: object) -> Tensor:
                progress.window(windows.shape[0])
                return first_tensor(self.network(windows))

            with frozen(self.network), torch.no_grad():
                self._output = self._inferer(self.image, predict)
        return self._output

    def heat(
        self, method: Method, layers: Sequence[str], prediction: Prediction, goal: Goal, step: Step, blocks: bool = False
    ) -> Heat:
        """
        Args:
            blocks: one block an activation instead of interpolating between them.
        """
        progress = _Progress(step, self.count)
        coarse: list[tuple[int, ...]] = [tuple(self.sample.shape[2:])]
        steps: list[tuple[float, ...] | None] = [None]
        # The region travels as one more channel, so that the inferer cuts it as it cuts the image; what it pads is
        # outside of it.
        outside = float(getattr(self._inferer, "cval", 0.0))
        region = torch.ones(self.image.shape[2:]) if goal.region is None else goal.region.float()
        region = _resized(region, tuple(self.image.shape[2:])).to(self.image)[None, None] + outside

        def explain(windows: Tensor, *_: object, **__: object) -> Tensor:
            return torch.stack([explain_one(window) for window in windows])

        def explain_one(window: Tensor) -> Tensor:
            number = progress.window(1)
            image, where = window[None, :-1].contiguous(), window[-1] > outside + 0.5
            if method.of_target and not where.any():
                return torch.zeros_like(window[:1])
            forward = forward_to_layers(self.network, image, layers)
            here = dataclasses.replace(goal, region=_resized(where.float(), tuple(forward.output.shape[2:])) > 0.5)
            case = Case(self.network, image, forward, tuple(layers), prediction, here, progress.within(number))
            raw = method.compute(case).float()
            if coarse[0] != tuple(raw.shape):
                coarse[0] = tuple(raw.shape)
                steps[0] = true_steps(self.network, image, _layer_of(forward, layers, raw), coarse[0])
            return to_input_grid(raw, tuple(window.shape[1:]), blocks, steps[0])

        values = self._inferer(torch.cat([self.image, region], 1), explain)[0, 0].clamp(min=0)
        activation, stride = list(coarse[0]), list(steps[0] or [n / m for n, m in zip(self.sample.shape[2:], coarse[0])])
        if len(stride) < values.ndim:  # slices of a volume: one activation is one slice thick
            activation.insert(self._inferer.spatial_dim, 1)
            stride.insert(self._inferer.spatial_dim, 1.0)
        return Heat(values, tuple(activation), tuple(stride))

    def _survey(self) -> tuple[Tensor, int]:
        """The first window, and how many there are."""
        found: list[Tensor] = []
        count = 0

        def look(windows: Tensor, *_: object, **__: object) -> Tensor:
            nonlocal count
            count += windows.shape[0]
            if not found:
                found.append(windows[:1].clone())
            return torch.zeros_like(windows[:, :1])

        try:
            with torch.no_grad():
                self._inferer(self.image, look)
        except TypeError as error:
            raise BundleError(
                f"The inferer {type(self._inferer).__name__} asks for more than an image and a network ({error}), so it "
                "cannot be explained. A SlidingWindowInferer or a SliceInferer can."
            ) from error
        if not found:
            raise BundleError(f"The inferer {type(self._inferer).__name__} never ran the network on this image.")
        return found[0], count


Applied = Whole | Windows


def apply(network: nn.Module, image: Tensor, inferer: Inferer | None, keep: bool = True) -> Applied:
    """The network applied as its inferer says; an inferer that makes one window of the whole is none."""
    if inferer is None:
        return Whole(network, image, keep)
    windows = Windows(network, image, inferer)
    return Whole(network, image, keep) if windows.sample.shape == image.shape else windows


class _Progress:
    """Counts windows, and tells of the steps inside one as parts of it."""

    def __init__(self, step: Step, count: int) -> None:
        self._step, self._count, self._done = step, max(1, count), 0

    def window(self, number: int) -> int:
        begun = self._done
        self._step(begun, self._count, f"window {begun + 1} of {self._count}")
        self._done += number
        return begun

    def within(self, window: int) -> Step:
        return lambda number, count, words: self._step(
            window * max(1, count) + number, self._count * max(1, count), f"window {window + 1} of {self._count}: {words}"
        )


def _resized(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A region (spatial) on another grid over the same extent."""
    if tuple(values.shape) == shape:
        return values
    return interpolate(values[None, None].float(), size=shape, mode="nearest-exact")[0, 0]


def _layer_of(forward: Pass, layers: Sequence[str], raw: Tensor) -> str | None:
    """The layer on whose grid a raw map is."""
    shapes = {name: tuple(forward.tensors[name].shape[2:]) for name in layers if name in forward.tensors}
    return next((name for name in reversed(layers) if shapes.get(name) == tuple(raw.shape)), None)


def _stride(image: Tensor, raw: Tensor) -> tuple[float, ...]:
    return tuple(n / m for n, m in zip(image.shape[2:], raw.shape))


def _on_device(inferer: Inferer, device: torch.device) -> Inferer:
    """A copy that works where the network is, without a progress bar of its own. Where its author stitches windows on
    the CPU, as for volumes larger than the GPU, that stays."""
    inferer = copy.copy(inferer)
    if hasattr(inferer, "sw_device"):
        inferer.sw_device = device
    if getattr(inferer, "device", None) is not None and torch.device(inferer.device).type != "cpu":
        inferer.device = device
    if hasattr(inferer, "progress"):
        inferer.progress = False
    return inferer
