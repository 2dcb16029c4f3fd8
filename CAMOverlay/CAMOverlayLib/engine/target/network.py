"""Which network answers for a class, where a model's classes are shared among several."""

from __future__ import annotations

import dataclasses

from ...contract.model_kinds import kind_of, model_path
from ...contract.request import Prediction, Request
from .parse import parse_target


def of_one_network(request: Request) -> Request:
    """The request with the network in its model's ``configs`` that has the classes of its target.

    A class by number is one of the list that the whole model gives, and becomes its name, because each network counts
    anew. Requests for every other model stay as they are.

    Raises:
        TargetError: no such class, or none was named and several networks could be meant.
        BundleError: the network that has it is missing.
    """
    source = request.model
    path = model_path(source.path)
    kind = kind_of(path)
    if kind.narrow is None:
        return request
    classes = kind.summarise(path, source.configs).info.classes
    nothing = (0.0,) * len(classes)
    spec = parse_target(request.target, Prediction(classes, nothing, nothing, "softmax", 0))
    output, minus = (None if one is None else classes[int(one)] for one in (spec.output, spec.minus))
    configs = kind.narrow(path, source.configs, [name for name in (output, minus) if name is not None])
    if configs == source.configs:
        return request
    target = dataclasses.replace(spec, output=output, minus=minus)
    return dataclasses.replace(request, model=dataclasses.replace(source, configs=configs), target=target)
