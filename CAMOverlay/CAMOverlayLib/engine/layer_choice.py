"""Which layers there are, and at which of them a method looks: the one asked for, or the automatic one."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..contract.errors import LayerError, NetworkError
from ..contract.inspection import Inspection, LayerInfo
from ..contract.request import Progress
from .bundle.compiled import is_compiled, refuse_layers
from .bundle.isolation import at_home, leaves_no_trace
from .bundle.model import Model
from .bundle.opened import OpenedModel
from .cache import Cache
from .inference import FullImageInference, Inference
from .methods import Method
from .methods.method import no_layer
from .network.layers import LayerTable, likely_layers, list_layers, record_layers
from .progress import Report


def choose_layers(
    method: Method,
    wanted: str | None,
    model: Model,
    applied: Inference,
    cache: Cache,
) -> tuple[tuple[str, ...], str | None]:
    """The layers that the method needs, at the layer asked for or at the default one; and a finer layer, if any.

    To know the default takes a forward pass. To need no second one, a pass over a smaller input says which layer it
    will most likely be; the real pass is cut there and tells whether that was right.

    Raises:
        LayerError: there is no such layer.
        MethodError: the network is compiled, and the method needs layers.
    """
    if method.layers is no_layer:
        return (), None
    network, sample = model.network, applied.sample
    if is_compiled(network):
        raise refuse_layers(method.title)

    def look() -> LayerTable:
        likely = likely_layers(network, sample) if isinstance(applied, FullImageInference) and applied.fresh else None
        if likely is None or not likely.has(wanted):
            return list_layers(network, sample, receptive=False)
        with record_layers(network, sample) as watched:
            output = applied.predict(method.layers(likely, likely.find(wanted)), lambda number, count, words: None)
        return watched.table(output, likely.unused)

    table = cache.table(model, sample, look)
    chosen = table.find(wanted)
    stages = table.stages_to(chosen)
    return method.layers(table, chosen), stages[-2].name if len(stages) > 1 else None


def inspect_model(model: OpenedModel, report: Report = lambda progress: None) -> Inspection:
    """What a model is; of a trusted one its transforms and layers too.

    Raises:
        BundleError, WeightsError, PreprocessingError: the bundle does not evaluate, asks for more than an image, or its
            network does not take the input that the bundle describes.
        LayerError: no layer has an output with spatial extent.
    """
    if not model.may_run:
        return Inspection(model.summary, model.content_hash)
    with at_home(model.home):
        return _inspected(model, report)


@leaves_no_trace
def _inspected(model: OpenedModel, report: Report) -> Inspection:
    model.require_explainable()
    transforms = tuple(type(t).__name__ for t in model.preprocessing().flatten().transforms)
    report(Progress("forward", 0.3, "Looking at the layers"))
    network, shape = model.network(torch.device("cpu")), model.input_shape()
    found = Inspection(model.summary, model.content_hash, transforms, shape)
    if is_compiled(network):
        return found
    try:
        table = list_layers(network, torch.zeros(1, *shape))
    except (LayerError, NetworkError):
        model.inferer()  # one that asks for prompts says better why there is nothing to see
        raise
    numbers = {name: number for number, (name, _) in enumerate(network.named_modules())}
    layers = tuple(
        LayerInfo(one.name, one.kind, one.shape, one.stride, one.receptive_field, one.layout, numbers[one.name])
        for one in table.layers
    )
    stages = tuple(one.name for one in table.stages)
    return replace(found, layers=layers, default=table.default, stages=stages)
