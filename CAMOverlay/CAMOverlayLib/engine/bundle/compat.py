"""What bundles were written for, and this MONAI, torch, NumPy or machine no longer has. Their files stay as they are.

Each case here gives the very same network or image as before; where it would not, the bundle needs the MONAI that it
was made with (in Slicer: *Advanced → Python*), and evaluating it says what is missing.

:func:`bring_up_to_date` changes the configuration, :func:`as_it_was_written` what the bundle's code meets while it is
evaluated.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks import nets
from torch.overrides import TorchFunctionMode

# Arguments of networks that MONAI removed (None) or renamed in 1.5, of which none changes the network.
ARGUMENTS: dict[str, dict[str, str | None]] = {
    "SwinUNETR": {"img_size": None},
    "UNETR": {"pos_embed": "proj_type"},
    "ViT": {"pos_embed": "proj_type"},
    "ViTAutoEnc": {"pos_embed": "proj_type"},
}

# Names that NumPy removed (in 1.24, 2.0 and later), and what each of them was another name for.
NUMPY: dict[str, Any] = {
    "product": np.prod,
    "cumproduct": np.cumprod,
    "sometrue": np.any,
    "alltrue": np.all,
    "round_": np.round,
    "in1d": lambda ar1, ar2, **options: np.isin(np.ravel(ar1), ar2, **options),
    "row_stack": np.vstack,
    "trapz": getattr(np, "trapezoid", None) or getattr(np, "trapz", None),
    "mat": np.asmatrix,
    "msort": lambda a: np.sort(a, axis=0),
    "asfarray": lambda a, dtype=np.float64: np.asarray(a, dtype=dtype),
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
    "string_": np.bytes_,
    "int": int,
    "float": float,
    "bool": bool,
    "complex": complex,
    "object": object,
    "str": str,
    "long": int,
    "Inf": np.inf,
    "Infinity": np.inf,
    "infty": np.inf,
    "PINF": np.inf,
    "NINF": -np.inf,
    "NaN": np.nan,
    "NAN": np.nan,
    "PZERO": 0.0,
    "NZERO": -0.0,
}
CUDA = re.compile(r"cuda(:\d+)?")
CUDA_DEVICE = re.compile(r"""(torch\.device\(\s*|\b(?:map_location|device)\s*=\s*|\.to\(\s*)(["'])cuda(?::\d+)?\2""")


def bring_up_to_date(node: Any) -> None:
    """Change a configuration in place, everywhere in it."""
    for key, value in list(
        node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    ):
        if isinstance(value, str) and not torch.cuda.is_available():
            node[key] = _without_cuda(key, value)
    if isinstance(node, list):
        for value in node:
            bring_up_to_date(value)
    if not isinstance(node, dict):
        return
    name = str(node.get("_target_", "")).rpartition(".")[2]
    if name in ARGUMENTS and str(node["_target_"]) in (name, f"monai.networks.nets.{name}"):
        known = inspect.signature(getattr(nets, name).__init__).parameters
        for old, new in ARGUMENTS[name].items():
            if old in node and old not in known:
                value = node.pop(old)
                if new is not None:
                    node.setdefault(new, value)
    # Volumes come as NIfTI here, which nibabel reads just as ITK does: the same voxels in the same order, RAS.
    if name in ("LoadImage", "LoadImaged") and str(node.get("reader", "")).casefold() == "itkreader":  # noqa: SIM102
        if importlib.util.find_spec("itk") is None:
            node["reader"] = "NibabelReader"
    for value in node.values():
        bring_up_to_date(value)


def _without_cuda(key: Any, value: str) -> str:
    """A value of a configuration for a machine without CUDA: whatever was to lie on a card lies on the processor."""
    if value.startswith("$"):
        return CUDA_DEVICE.sub(r"\1\2cpu\2", value).replace(".cuda()", ".cpu()")
    return "cpu" if "device" in str(key).casefold() and CUDA.fullmatch(value) else value


@contextlib.contextmanager
def as_it_was_written(folder: Path) -> Iterator[None]:
    """For the time that a trusted bundle's code is evaluated: torch and NumPy as its author knew them.

    - ``torch.load`` of a file in the bundle may hold more than weights, as before torch 2.6 (the caller trusts the
      bundle, and this file is part of what is trusted); files elsewhere are loaded as torch does today.
    - Where there is no CUDA, tensors that the code puts there stay on the processor.
    - NumPy has the names that it lost; the bundle's own modules keep seeing them afterwards, nobody else does.
    """
    missing = {name: value for name, value in NUMPY.items() if value is not None and not _has(np, name)}
    load = torch.load
    torch.load = _loader(load, folder)
    for name, value in missing.items():
        setattr(np, name, value)
    try:
        with contextlib.nullcontext() if torch.cuda.is_available() else OnTheProcessor():
            yield
    finally:
        torch.load = load
        for name in missing:
            delattr(np, name)
        _keep_names_in_modules_of(folder)


class OnTheProcessor(TorchFunctionMode):
    """torch's functions, with ``cuda`` read as ``cpu`` wherever it is asked for."""

    def __torch_function__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.cuda:
            return args[0].cpu()
        return function(*map(_on_processor, args), **{name: _on_processor(v) for name, v in (kwargs or {}).items()})


def _on_processor(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and CUDA.fullmatch(value) else value


def _loader(load: Any, folder: Path) -> Any:
    root = Path(folder).resolve()

    def load_as_before(f: Any, map_location: Any = None, *args: Any, **options: Any) -> Any:
        own = isinstance(f, (str, os.PathLike)) and Path(f).resolve().is_relative_to(root)
        if own and options.get("weights_only") is None:
            options["weights_only"] = False
        if not torch.cuda.is_available():  # a file that was saved on a card says so itself, too
            map_location = "cpu" if map_location is None else _on_processor(map_location)
        return load(f, map_location, *args, **options)

    return load_as_before


def _has(module: Any, name: str) -> bool:
    return name in vars(module) or name in getattr(module, "__all__", ())


class NumPyAsItWas(types.ModuleType):
    """NumPy with the names that it lost, for the modules of a bundle."""

    def __getattr__(self, name: str) -> Any:
        if not _has(np, name) and NUMPY.get(name) is not None:
            return NUMPY[name]
        return getattr(np, name)


_NUMPY = NumPyAsItWas("numpy")


def _keep_names_in_modules_of(folder: Path) -> None:
    for module in list(sys.modules.values()):
        origin = getattr(module, "__file__", None)
        if isinstance(origin, str) and origin.startswith(f"{folder}{os.sep}"):
            for name, value in list(vars(module).items()):
                if value is np:
                    setattr(module, name, _NUMPY)


# Downloads that a definition asks for -----------------------------------------------


class NotFetched(dict):
    """The weights that a library would have downloaded."""


@contextlib.contextmanager
def without_download() -> Iterator[None]:
    """For the time that a network is built whose weights are at hand: what it would download first is left out.

    ``pretrained: true`` is kept: some networks are built otherwise by it (Inception then rescales its input).
    """
    fetch, load = torch.hub.load_state_dict_from_url, torch.nn.Module.load_state_dict

    def fetch_nothing(*_: Any, **__: Any) -> NotFetched:
        return NotFetched()

    def load_what_there_is(self: torch.nn.Module, state_dict: Any, *args: Any, **options: Any) -> Any:
        if isinstance(state_dict, NotFetched):
            return torch.nn.modules.module._IncompatibleKeys([], [])
        return load(self, state_dict, *args, **options)

    _exchange(fetch, fetch_nothing)
    torch.nn.Module.load_state_dict = load_what_there_is  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.nn.Module.load_state_dict = load  # type: ignore[method-assign]
        _exchange(fetch_nothing, fetch)  # also where a library was imported meanwhile


def _exchange(old: Any, new: Any) -> None:
    """Every module that took torch's function by its name gets the other one."""
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get("load_state_dict_from_url") is old:
            module.__dict__["load_state_dict_from_url"] = new
