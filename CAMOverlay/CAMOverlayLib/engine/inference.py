"""The network applied to its input: all at once, or window by window as the bundle's own inferer does it.

Either way there are two questions to it, in this order: what is the answer, and where does it come from?
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from monai.inferers import Inferer, SlidingWindowInferer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..contract.errors import BundleError
from ..contract.request import Prediction
from .bundle.model import Model
from .geometry.resample import to_input_grid
from .methods import Case, Method
from .methods.gradcam import weighted_sum
from .network.forward import ForwardPass, forward_to_layers, frozen, require_finite, run_network
from .network.kept_passes import MOST, KeptPasses
from .network.malloc import large_blocks_returned
from .network.order import watched
from .network.strides import true_steps
from .preprocessing.memory import free_memory
from .progress import Step, sub_progress
from .target.objective import Objective


@dataclass(frozen=True)
class AttributionMap:
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


class FullImageInference:
    """The network on its whole input.

    Args:
        image: 1×C×spatial, on the network's device.
        keep: hold on to the forward pass, so that other targets and methods need none.

    Attributes:
        multiplications: of weights in the last forward pass, as far as modules tell, and ``above``, those above the
            layers that it was cut at; see :mod:`.network.order`.
    """

    multiplications = above = 0.0

    def __init__(self, network: nn.Module, image: Tensor, keep: bool = True) -> None:
        self.network, self.image = network, image
        self._keep = keep
        self._pass: ForwardPass | None = None

    @property
    def sample(self) -> Tensor:
        """What the network gets in one call, 1×C×spatial."""
        return self.image

    @property
    def fresh(self) -> bool:
        """There was no forward pass yet that is kept for others."""
        return self._keep and self._pass is None

    def predict(self, layers: Sequence[str], step: Step) -> Tensor:
        """The network's output, by a forward pass that is cut at the layers where it will be explained."""
        return self._forward(layers if self._keep else ()).output

    def answer(self, image: Tensor, step: Step) -> Tensor:
        """The network's output for another image of the same shape, which it may overwrite; nothing is kept of it."""
        step(0, 1, "")
        with frozen(self.network), torch.no_grad():
            output = run_network(self.network, image)
        require_finite(output, f"The output of the network {type(self.network).__name__}")
        return output

    def attribute(
        self,
        method: Method,
        layers: Sequence[str],
        prediction: Prediction,
        objective: Objective,
        step: Step,
        nearest: bool = False,
    ) -> AttributionMap:
        case = self.case(layers, prediction, objective, step)
        # Of many passes the next one has use for the large blocks of the one before.
        with nullcontext() if method.info.long else large_blocks_returned():
            raw = method.compute(case).float()
        steps = true_steps(self.network, self.image, _layer_of(case.forward, layers, raw), tuple(raw.shape))
        return AttributionMap(raw, tuple(raw.shape), steps or _stride(self.image, raw), steps)

    def case(self, layers: Sequence[str], prediction: Prediction, objective: Objective, step: Step) -> Case:
        """What a method is given, by the forward pass that is kept, if one is."""
        return Case(self.network, self.image, self._forward(layers), tuple(layers), prediction, objective, step)

    def _forward(self, layers: Sequence[str]) -> ForwardPass:
        if self._pass is not None and set(layers) <= set(self._pass.tensors):
            return self._pass
        self._pass = None  # before the next one is made, so that there is room for it
        with watched(self.network, layers) as seen:
            forward = forward_to_layers(self.network, self.image, layers)
        self.multiplications, self.above = seen.multiplications, seen.above
        if self._keep:
            self._pass = forward
        return forward


class SlidingWindowInference:
    """The network on one window of its input after the other.

    The inferer is asked twice to do what it does, so that cutting, padding and blending are its own: first for the
    prediction, with the network; then for the map, with what explains one window. The maps are therefore blended with
    the very weights of the predictions. In each window the target is the same as in the whole, over the part of its
    region that lies in that window. Where a method weighs channels (Grad-CAM and its kin), the weights are found in a
    first round over all windows and are the same for all: a window's own weights would grow with how much of the target
    lies in it, and of two equal lesions the one at a window's border would come out weaker.

    Args:
        image: 1×C×spatial, on the network's device.
        keep: hold on to the forward passes of windows, as many as there is room for, so that the map, and further
            targets, need none.
    """

    def __init__(self, network: nn.Module, image: Tensor, inferer: Inferer, keep: bool = True) -> None:
        self.network, self.image = network, image
        self.inferer = _on_device(inferer, image.device)
        self._keep = keep
        self._passes = KeptPasses(network)
        self._output: Tensor | None = None
        self.sample, self.count = self._survey()

    @property
    def blend(self) -> str:
        """By which weights windows are blended, in words; with constant ones their edges may show."""
        mode = getattr(self.inferer, "mode", None)
        return f", blended with {getattr(mode, 'value', mode)!s} weights" if mode else ""

    def predict(self, layers: Sequence[str], step: Step) -> Tensor:
        if self._output is None:
            room = room_for_passes(self.image.device) if self._keep and layers else 0.0
            self._passes = KeptPasses(self.network, layers, room)
            self._output = self._answer(self.image, self._passes, step)
        return self._output

    def answer(self, image: Tensor, step: Step) -> Tensor:
        """The network's output for another image of the same shape, through the same windows; nothing is kept of it."""
        return self._answer(image, KeptPasses(self.network), step)

    def _answer(self, image: Tensor, passes: KeptPasses, step: Step) -> Tensor:
        progress = _Progress(step, self.count)

        def predict(windows: Tensor, *_: object, **__: object) -> Tensor:
            progress.window(windows.shape[0])
            return passes.answer(windows)

        with frozen(self.network), torch.no_grad():
            output = self.inferer(image, predict)
        require_finite(output, f"The output of the network {type(self.network).__name__}")
        return output

    def attribute(
        self,
        method: Method,
        layers: Sequence[str],
        prediction: Prediction,
        objective: Objective,
        step: Step,
        nearest: bool = False,
    ) -> AttributionMap:
        """
        Args:
            nearest: one block per activation instead of interpolating between them.
        """
        given = self._with_region(objective)
        run = self._run(method, layers, prediction, self._objective(method, prediction, objective))
        if method.channels is None:
            values = self._each(given, lambda window, within: run.explain(window, within, nearest), step, 1)
        else:
            self._each(given, lambda window, within: run.gather(window), step, 2)
            values = self._each(given, lambda window, within: run.weigh(window, nearest), step, 2, second=True)
        coarse = run.coarse or tuple(self.sample.shape[2:])
        activation, stride = list(coarse), list(run.steps or [n / m for n, m in zip(self.sample.shape[2:], coarse)])
        if len(stride) < values.ndim:  # slices of a volume: one activation is one slice thick
            activation.insert(self.inferer.spatial_dim, 1)
            stride.insert(self.inferer.spatial_dim, 1.0)
        return AttributionMap(values.clamp(min=0), tuple(activation), tuple(stride))

    def hottest_case(
        self, method: Method, layers: Sequence[str], prediction: Prediction, objective: Objective, values: Tensor
    ) -> Case:
        """What the method is given in the one window that holds most of a map.

        Args:
            values: the map of the whole, as :meth:`attribute` makes it.
        """
        heat = _resized(values, tuple(self.image.shape[2:])).to(self.image)[None, None]
        found: list[tuple[float, Tensor]] = []

        def look(windows: Tensor, *_: object, **__: object) -> Tensor:
            for window in windows:
                total = float(window[-1].sum())
                if not found or total > found[0][0]:
                    found[:] = [(total, window[:-1].clone())]
            return torch.zeros_like(windows[:, :1])

        with torch.no_grad():
            self.inferer(torch.cat([self._with_region(objective), heat], 1), look)
        return self._run(method, layers, prediction, objective).case(found[0][1])

    @property
    def _outside(self) -> float:
        """What the inferer pads with."""
        return float(getattr(self.inferer, "cval", 0.0))

    def _with_region(self, objective: Objective) -> Tensor:
        """The image, and the region as one more channel, so that the inferer cuts it as it cuts the image; what it pads
        is outside of it."""
        region = torch.ones(self.image.shape[2:]) if objective.region is None else objective.region.float()
        region = _resized(region, tuple(self.image.shape[2:])).to(self.image)[None, None] + self._outside
        return torch.cat([self.image, region], 1)

    def _run(self, method: Method, layers: Sequence[str], prediction: Prediction, objective: Objective) -> _WindowRun:
        inside = self._outside + 0.5
        run = _WindowRun(self.network, method, tuple(layers), prediction, objective, inside, self.centred)
        run.passes = self._passes
        return run

    def _objective(self, method: Method, prediction: Prediction, objective: Objective) -> Objective:
        """The objective as the method has it, decided once on the answer for the whole and not in each window."""
        if self._output is None:
            return objective
        return method.objective(
            Case(self.network, self.image, ForwardPass(self._output, {}, {}), (), prediction, objective)
        )

    def _each(self, given: Tensor, explain: Callable, step: Step, rounds: int, second: bool = False) -> Tensor:
        """What ``explain`` makes of every window (C×spatial), blended: spatial."""
        progress = _Progress(step, self.count, rounds, self.count if second else 0)

        def windows_to_maps(windows: Tensor, *_: object, **__: object) -> Tensor:
            maps = []
            for window in windows:
                number = progress.window(1)
                maps.append(explain(window, progress.within(number)))
            return torch.stack(maps)

        return self.inferer(given, windows_to_maps)[0, 0]

    @property
    def centred(self) -> bool:
        """The inferer itself puts a smaller answer into the centre of its window (HoVerNet), instead of taking it as
        one of a coarser grid over the whole window."""
        own = getattr(type(self.inferer), "process_output", None)
        return own is not None and own is not getattr(SlidingWindowInferer, "process_output", None)

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
                self.inferer(self.image, look)
        except TypeError as error:
            raise BundleError(
                f"The inferer {type(self.inferer).__name__} asks for more than an image and a network ({error}), so "
                "it "
                "cannot be explained. A SlidingWindowInferer or a SliceInferer can."
            ) from error
        if not found:
            raise BundleError(f"The inferer {type(self.inferer).__name__} never ran the network on this image.")
        return found[0], count


class EnsembleInference:
    """Several networks of the same layers on one input, such as the folds of a training: answers are averaged, and so
    are the maps, before they are normalised.

    Attributes:
        agreement: correlation of every member's map with the average of all; empty before there was a map.
        outputs, maps: the latest of every member.
    """

    fresh = False

    def __init__(self, members: Sequence[FullImageInference | SlidingWindowInference]) -> None:
        self.members = tuple(members)
        self.network, self.image, self.sample = members[0].network, members[0].image, members[0].sample
        self.agreement: tuple[float, ...] = ()
        self.outputs: tuple[Tensor, ...] = ()
        self.maps: tuple[AttributionMap, ...] = ()

    def predict(self, layers: Sequence[str], step: Step) -> Tensor:
        count = len(self.members)
        self.outputs = ()  # before the next ones are made, so that there is room for them
        outputs = [one.predict(layers, sub_progress(step, n, count, "network")) for n, one in enumerate(self.members)]
        self.outputs = tuple(outputs)
        return sum(outputs[1:], outputs[0]) / count

    def answer(self, image: Tensor, step: Step) -> Tensor:
        """The averaged output for another image of the same shape; nothing is kept of it."""
        count, total = len(self.members), None
        for number, one in enumerate(self.members):
            output = one.answer(image.clone(), sub_progress(step, number, count, "network"))
            total = output if total is None else total + output
        assert total is not None  # there are several
        return total / count

    def attribute(
        self,
        method: Method,
        layers: Sequence[str],
        prediction: Prediction,
        objective: Objective,
        step: Step,
        nearest: bool = False,
    ) -> AttributionMap:
        """As of one network, with the same objective for all: the region is that of the averaged answer."""
        count = len(self.members)
        maps = [
            one.attribute(method, layers, prediction, objective, sub_progress(step, n, count, "network"), nearest)
            for n, one in enumerate(self.members)
        ]
        average = sum((one.values for one in maps[1:]), maps[0].values) / count
        self.agreement = tuple(_correlation(one.values, average) for one in maps)
        self.maps = tuple(maps)
        return dataclasses.replace(maps[0], values=average)


def _correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, of two maps of one shape; 0 where one of them is the same everywhere."""
    a, b = one.flatten().double(), other.flatten().double()
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 0 else 0.0


Inference = FullImageInference | SlidingWindowInference | EnsembleInference


@dataclass(frozen=True)
class Explained:
    """What the network said, and what is asked of it: one inference and one objective per piece of the volume, and the
    network's output of each, 1×K or 1×K×spatial."""

    inferences: list[Inference]
    layers: tuple[str, ...]
    finer_layer: str | None
    prediction: Prediction
    objectives: list[Objective | None]
    outputs: Sequence[Tensor] = ()


def apply_all(model: Model, image: Tensor, keep: bool = True) -> Inference:
    """A model's networks applied as its inferer says.

    Args:
        image: 1×C×spatial, on the networks' device.
        keep: hold on to the forward pass of a single network; of several that would be too much.
    """
    if not model.others:
        return apply(model.network, image, model.inferer, keep)
    return EnsembleInference([apply(one, image, model.inferer, False) for one in (model.network, *model.others)])


def apply(
    network: nn.Module, image: Tensor, inferer: Inferer | None, keep: bool = True
) -> FullImageInference | SlidingWindowInference:
    """The network applied as its inferer says; an inferer that makes one window of the whole is none."""
    if inferer is None:
        return FullImageInference(network, image, keep)
    windows = SlidingWindowInference(network, image, inferer, keep)
    whole = windows.count == 1 and windows.sample.shape == image.shape and not windows.centred
    return FullImageInference(network, image, keep) if whole else windows


class _WindowRun:
    """One map made window by window. Every window comes as C+1×spatial, the target's region as its last channel.

    Args:
        inside: what the region's channel exceeds inside the region.
        centred: a smaller answer is one for the window's centre.

    Attributes:
        passes: forward passes that are there already.
        coarse: shape of the activation grid of a window, once one was seen.
        steps: voxels from one activation to the next, where they are not the ratio of the shapes.
    """

    def __init__(
        self,
        network: nn.Module,
        method: Method,
        layers: tuple[str, ...],
        prediction: Prediction,
        objective: Objective,
        inside: float,
        centred: bool,
    ) -> None:
        self._network, self._method, self._layers = network, method, layers
        self._prediction, self._objective = prediction, objective
        self._inside, self._centred = inside, centred
        self._sums: Tensor | float = 0.0
        self._windows = self._gathered = 0
        self._kept: dict[int, Tensor] = {}
        self._room = KEPT_BYTES
        self._weighed = 0
        self.passes = KeptPasses(network)
        self.coarse: tuple[int, ...] = ()
        self.steps: tuple[float, ...] | None = None
        self._answer: tuple[int, ...] = ()

    def explain(self, window: Tensor, step: Step, nearest: bool) -> Tensor:
        """The map of a method that looks at each window for itself: 1×spatial. Without any of the target it is 0."""
        image, where = self._split(window)
        number, self._windows = self._windows, self._windows + 1
        if self._method.of_target and not where.any():
            return self._nothing(window)
        case = self._case(image, where, step, number)
        raw = self._method.compute(case).float()
        self._measure(case.forward, image, raw)
        return self._on_window(raw, window, nearest)

    def case(self, window: Tensor) -> Case:
        """What the method is given in a window."""
        return self._case(*self._split(window))

    def gather(self, window: Tensor) -> Tensor:
        """Add what a window contributes to the weights that all windows share; returns 0 in the shape of a map."""
        image, where = self._split(window)
        number, self._windows = self._windows, self._windows + 1
        if self._method.of_target and not where.any():
            return self._nothing(window)
        case = self._case(image, where, number=number)
        (layer,) = self._layers
        activation = case.forward.activations[layer].detach()
        gradient = case.gradients()[layer] if self._method.of_target else None
        assert self._method.channels is not None  # only a method that weighs channels gathers
        self._sums = self._sums + self._method.channels.sums(activation, gradient)
        self._gathered += 1
        self._measure(case.forward, image, activation[0, 0])
        if number not in self.passes:
            self._keep(number, activation)
        return self._nothing(window)

    def _measure(self, forward: ForwardPass, image: Tensor, raw: Tensor) -> None:
        """The grid of a window's map: its shape and its true steps."""
        if self.coarse != tuple(raw.shape):
            self.coarse = tuple(raw.shape)
            self.steps = true_steps(self._network, image, _layer_of(forward, self._layers, raw), self.coarse)

    def weigh(self, window: Tensor, nearest: bool) -> Tensor:
        """The window's channels with the weights of the whole: 1×spatial."""
        number, self._weighed = self._weighed, self._weighed + 1
        image, where = self._split(window)
        if self._method.of_target and not where.any():
            return self._nothing(window)  # it cannot have contributed to the target
        activation = self._kept.pop(number, None)
        if activation is None:
            (layer,) = self._layers
            activation = self._forward(image, number).activations[layer].detach()
        places = self._gathered * math.prod(self.coarse)
        assert self._method.channels is not None
        weights = self._method.channels.weights(self._sums, places).to(activation)
        return self._on_window(weighted_sum(weights, activation).float(), window, nearest)

    def _split(self, window: Tensor) -> tuple[Tensor, Tensor]:
        return window[None, :-1].contiguous(), window[-1] > self._inside

    def _forward(self, image: Tensor, number: int | None) -> ForwardPass:
        found = None if number is None else self.passes.find(number, image, self._layers)
        return forward_to_layers(self._network, image, self._layers) if found is None else found

    def _case(
        self,
        image: Tensor,
        where: Tensor,
        step: Step = lambda number, count, words: None,
        number: int | None = None,
    ) -> Case:
        forward = self._forward(image, number)
        self._answer = tuple(forward.output.shape[2:])
        fit = _centre if self._centred else _resized
        here = dataclasses.replace(self._objective, region=fit(where.float(), self._answer) > 0.5)
        return Case(self._network, image, forward, self._layers, self._prediction, here, step)

    def _keep(self, number: int, activation: Tensor) -> None:
        size = activation.numel() * activation.element_size()
        if size <= self._room:
            self._room -= size
            self._kept[number] = activation

    def _on_window(self, raw: Tensor, window: Tensor, nearest: bool) -> Tensor:
        fine = to_input_grid(raw, tuple(window.shape[1:]), nearest, self.steps)
        return _centre(fine[0], self._answer)[None] if self._centred and self._answer else fine

    def _nothing(self, window: Tensor) -> Tensor:
        if not self._centred:
            return torch.zeros_like(window[:1])
        if not self._answer:
            with frozen(self._network), torch.no_grad():
                self._answer = tuple(run_network(self._network, self._split(window)[0]).shape[2:])
        return window.new_zeros((1, *self._answer))


def room_for_passes(device: torch.device) -> float:
    """Bytes that the forward passes of windows may take: a third of what is free, nothing where that is unknown."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory() or 0.0
    return min(MOST, free / 3)


KEPT_BYTES = 256 * 2**20
"""Activations of windows that are kept from the first round to the second; those beyond it are computed again."""


def _centre(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The middle of an array (spatial) in the shape of a smaller one."""
    starts = [(n - m) // 2 for n, m in zip(values.shape, shape, strict=True)]
    return values[tuple(slice(a, a + m) for a, m in zip(starts, shape))]


class _Progress:
    """Counts windows, and tells of the steps inside one as parts of it.

    Args:
        rounds: how many times all windows come by; ``done`` are those that did.
    """

    def __init__(self, step: Step, count: int, rounds: int = 1, done: int = 0) -> None:
        self._step, self._windows, self._done = step, max(1, count), done
        self._count = self._windows * rounds

    def window(self, number: int) -> int:
        begun = self._done
        self._step(begun, self._count, self._words(begun))
        self._done += number
        return begun

    def within(self, window: int) -> Step:
        return lambda number, count, words: self._step(
            window * max(1, count) + number, self._count * max(1, count), f"{self._words(window)}: {words}"
        )

    def _words(self, begun: int) -> str:
        return f"window {begun % self._windows + 1} of {self._windows}"


def _resized(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A region (spatial) on another grid over the same extent."""
    if tuple(values.shape) == shape:
        return values
    return interpolate(values[None, None].float(), size=shape, mode="nearest-exact")[0, 0]


def _layer_of(forward: ForwardPass, layers: Sequence[str], raw: Tensor) -> str | None:
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
