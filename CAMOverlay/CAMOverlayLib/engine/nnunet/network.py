"""The network of an nnU-Net model, from its plans and its checkpoint; neither can run code.

Classes are looked up by name in ``dynamic_network_architectures`` and ``torch.nn`` and nowhere else, and a checkpoint
is unpickled with tensors, plain values and a handful of NumPy's names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...contract.errors import BundleError, WeightsError, reason
from ...contract.nnunet_plans import NetworkPlan
from ..bundle.weights import numpy_numbers, put_weights

PACKAGE = "dynamic_network_architectures"
REMEDY = "Install it without the packages that it names (docs/models.md says how), or let the panel do so."
MOST_PARAMETERS = 2_000_000_000
LARGEST = 100_000
"""Of a number in the arguments of a network; features and sizes of kernels are far below."""


def read_checkpoint(path: Path) -> Mapping[str, Any]:
    """A checkpoint of nnU-Net's trainer, as far as plain values and tensors go.

    Raises:
        WeightsError: it is damaged, of another kind, or holds what could run code.
    """
    try:
        with torch.serialization.safe_globals(numpy_numbers()):
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged file raises many kinds
        raise WeightsError(
            f"The checkpoint '{path}' cannot be read safely: {reason(error)}. Copy it again, or save it with "
            "nnU-Net's own trainer."
        ) from error
    if not isinstance(found, Mapping) or not isinstance(found.get("network_weights"), Mapping):
        kind = ", ".join(map(str, list(found)[:8])) if isinstance(found, Mapping) else type(found).__name__
        raise WeightsError(
            f"'{path}' is not a checkpoint of nnU-Net v2: it has no 'network_weights' (found: {kind}). Give the "
            "folder as nnU-Net's trainer writes it."
        )
    return found


def build_network(plan: NetworkPlan, channels: int, outputs: int, path: Path) -> nn.Module:
    """The network without its weights, on no device: nothing is allocated yet.

    Args:
        path: of the plans, for errors.

    Raises:
        BundleError: the plans name something else than a network of nnU-Net's, or it cannot be made so.
    """
    cls = _class(plan.class_name, path)
    arguments = dict(plan.arguments)
    for name in plan.names_of_classes:
        if arguments.get(name) is not None:
            arguments[name] = _class(str(arguments[name]), path)
    if too_large := [n for n in _numbers(plan.arguments) if abs(n) > LARGEST]:
        raise BundleError(f"'{path}' defines a network with {too_large[0]} of something. Copy the file again.")
    try:
        with torch.device("meta"):
            network = cls(input_channels=channels, num_classes=outputs, **(arguments | {"deep_supervision": False}))
    except Exception as error:  # the arguments come from a file
        raise BundleError(
            f"The network {plan.class_name} cannot be made as '{path}' defines it: {reason(error)}. Is it a plan of "
            f"this version of {PACKAGE}?"
        ) from error
    if sum(p.numel() for p in network.parameters()) > MOST_PARAMETERS:
        raise BundleError(f"'{path}' defines a network of more than {MOST_PARAMETERS:,} weights. Copy the file again.")
    return network


def load_network(network: nn.Module, checkpoint: Mapping[str, Any], path: Path, device: torch.device) -> nn.Module:
    """The network with the weights of a checkpoint, in eval mode on a device.

    Raises:
        WeightsError: they are another network's.
    """
    network = network.to_empty(device="cpu")
    put_weights(network, {"network_weights": checkpoint["network_weights"]}, path)
    return network.to(device).eval()


def _class(name: str, path: Path) -> type[nn.Module]:
    """A class of layers or networks by its dotted name.

    Raises:
        BundleError: it is not one, or is not of the two packages.
    """
    module, _, last = name.rpartition(".")
    package = module.split(".")[0] if not module.startswith("torch.nn") else "torch.nn"
    if package not in ("torch.nn", PACKAGE) or not all(part.isidentifier() for part in name.split(".")):
        raise BundleError(
            f"'{path}' names '{name[:120]}', and only classes of {PACKAGE} and torch.nn are made here. Give a model "
            "that was trained with nnU-Net's own networks."
        )
    found = getattr(_module(module, path), last, None)
    if found is None and package == PACKAGE:  # plans of earlier versions name modules that are gone
        found = getattr(_module(f"{PACKAGE}.architectures.unet", path), last, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise BundleError(f"'{path}' names '{name[:120]}', which is not a layer or a network. Copy the file again.")
    return found


def _module(name: str, path: Path) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name == PACKAGE:
            raise BundleError(f"The network of '{path}' is made with {PACKAGE}, which is missing. {REMEDY}") from error
        return None
    except ImportError as error:
        raise BundleError(f"'{name}', which '{path}' names, cannot be imported: {reason(error)}. {REMEDY}") from error


def _numbers(node: Any) -> Iterator[float]:
    if isinstance(node, Mapping):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from _numbers(value)
    elif isinstance(node, (int, float)):
        yield node
