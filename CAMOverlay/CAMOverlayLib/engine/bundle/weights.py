"""Weights into a network: all of them, or an error that names what does not fit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch

from ...contract.bundle_content import SAFETENSORS
from ...contract.errors import WeightsError
from .needs import what_went_wrong

Weights = Mapping[str, torch.Tensor]


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load a checkpoint into a network, unwrapping what trainers wrap around it.

    Accepts a bare state dict, one inside a checkpoint (``model``, ``state_dict``, whatever the key is), and keys with
    a common prefix (``module.`` of DataParallel, ``model.`` or ``net.`` of Lightning). Only tensors are unpickled.
    Where there is no such file, ``model.safetensors`` beside it is meant: there no pickle is read at all.

    Raises:
        WeightsError: the file is missing or unreadable, or its keys or shapes are another network's.
    """
    path = _there(path)
    if not os.path.isfile(path):
        raise WeightsError(
            f"The weights '{path}' do not exist. Download the bundle with its weights, or put them there."
        )
    put_weights(network, _read(path), path)


def put_weights(network: torch.nn.Module, checkpoint: Any, path: Path) -> None:
    """Weights that were read into a network.

    Args:
        path: where they are from, for errors.

    Raises:
        WeightsError: their keys or shapes are another network's.
    """
    candidates = list(_state_dicts(checkpoint))
    if not candidates:
        raise WeightsError(f"'{path}' holds no state dict but a {type(checkpoint).__name__}. Save state_dict() there.")
    wanted = network.state_dict()
    best = max((_strip(c, wanted) for c in candidates), key=lambda weights: len(weights.keys() & wanted.keys()))
    _check(best, wanted, path, type(network).__name__)
    try:
        network.load_state_dict(dict(best))
    except Exception as error:  # complex, meta, sparse or nested tensors
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise WeightsError(f"The weights '{path}' cannot be loaded: {reason}. Save ordinary tensors.") from error


def _there(path: Path) -> Path:
    """The file, or the safetensors beside it that stand for it."""
    instead = path.with_suffix(SAFETENSORS)
    return instead if not os.path.isfile(path) and os.path.isfile(instead) else path


def _read(path: Path) -> Any:
    """What the file holds, tensors on the CPU.

    Raises:
        WeightsError: it is damaged, holds what could run, or needs a package that is not here.
    """
    advice = "Save the network's state_dict() alone."
    try:
        if path.suffix != SAFETENSORS:
            with torch.serialization.safe_globals(numpy_numbers()):
                return torch.load(path, map_location="cpu", weights_only=True)
        advice = "Download it again, or save the weights as model.pt."
        from safetensors.torch import load_file

        return load_file(path)
    except Exception as error:  # a damaged file raises many kinds
        reason = what_went_wrong(error).rstrip(".")
        advice = "" if isinstance(error, ModuleNotFoundError) else f" {advice}"  # the reason has its own
        raise WeightsError(f"The weights '{path}' cannot be read safely: {reason}.{advice}") from error


def numpy_numbers() -> list[Any]:
    """NumPy's numbers (``best_metric``), by the names of both its versions; besides them only tensors are unpickled."""
    scalar = numpy.float64(0).__reduce__()[0]
    names = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    kinds = {type(numpy.dtype(letter)) for letter in "?bhilqBHILQefd"}
    return [*((scalar, name) for name in names), numpy.dtype, *kinds]


def require_finite_weights(network: torch.nn.Module, path: Path) -> None:
    """Raise WeightsError where a weight is not a number, or infinite."""
    for name, values in network.state_dict().items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise WeightsError(
                f"The weights '{path}' hold NaN or infinite numbers ({name}): the training went wrong. Give another "
                "checkpoint."
            )


def _state_dicts(node: Any, depth: int = 0) -> Iterator[Weights]:
    """Every dictionary of tensors in a checkpoint, outermost first."""
    if not isinstance(node, Mapping) or depth > 3:
        return
    tensors = {str(k): v for k, v in node.items() if isinstance(v, torch.Tensor)}
    if tensors:
        yield tensors
    for value in node.values():
        yield from _state_dicts(value, depth + 1)


def _strip(weights: Weights, wanted: Weights) -> Weights:
    """The weights without the prefix that hides the network's own names, if there is one."""
    if weights.keys() & wanted.keys() == wanted.keys():
        return weights
    anchor = next(iter(wanted), "")
    prefixes = {key[: -len(anchor)] for key in weights if anchor and key.endswith("." + anchor)}
    stripped = [{k.removeprefix(p): v for k, v in weights.items() if k.startswith(p)} for p in sorted(prefixes)]
    return max([weights, *stripped], key=lambda w: len(w.keys() & wanted.keys()))


def _check(weights: Weights, wanted: Weights, path: Path, network: str) -> None:
    problems = []
    if missing := [k for k in wanted if k not in weights]:
        problems.append(f"{len(missing)} of {len(wanted)} keys are missing ({_some(missing)})")
    if unexpected := [k for k in weights if k not in wanted]:
        problems.append(f"{len(unexpected)} are unexpected ({_some(unexpected)})")
    if misfits := [
        f"{k} {tuple(weights[k].shape)} instead of {tuple(wanted[k].shape)}"
        for k in wanted
        if k in weights and weights[k].shape != wanted[k].shape
    ]:
        problems.append(f"{len(misfits)} have another shape ({_some(misfits)})")
    if problems:
        raise WeightsError(
            f"The weights '{path}' are not those of this {network}: {'; '.join(problems)}. "
            "Use the weights that belong to network_def, or correct network_def."
        )


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
