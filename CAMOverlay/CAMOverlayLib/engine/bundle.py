"""A MONAI bundle folder: what it says of itself, and, once trusted, its network, weights and preprocessing.

A bundle's configuration is a program: ``$`` expressions are evaluated and ``_target_`` names are imported and called.
Reading it (:mod:`CAMOverlayLib.bundle_files`) runs nothing. Everything that runs something is a method of
:class:`Bundle` and goes through :meth:`Bundle.require_trust`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose

from .. import bundle_files
from ..bundle_files import BundleInfo, Code
from ..errors import BundleError, UntrustedBundleError, root_cause
from .weights import load_weights


class Bundle:
    """A bundle folder that was read but not evaluated.

    Args:
        folder: the bundle's root.
        trust: the caller trusts the bundle's code.

    Raises:
        BundleError: not a bundle, or its files are not valid JSON or YAML.
    """

    def __init__(self, folder: Path | str, trust: bool = False) -> None:
        self.folder = Path(folder).expanduser().resolve()
        self.trust = trust
        self.config_file = bundle_files.find_config(self.folder)
        self.metadata = bundle_files.read_metadata(self.folder)
        self._parser = ConfigParser()
        try:
            self._parser.read_config(str(self.config_file))
        except Exception as error:  # json and yaml raise many kinds
            raise BundleError(f"'{self.config_file}' cannot be read as a configuration: {error}") from error
        self._parser["bundle_root"] = str(self.folder)

    # What can be known without running anything.

    @cached_property
    def info(self) -> BundleInfo:
        return bundle_files.info_of(self.folder, self.metadata)

    @cached_property
    def code(self) -> Code:
        """Everything in the configuration that would be imported, called or evaluated."""
        return bundle_files.code_of(self.folder, self._parser.config)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over everything that can run: configurations, scripts and weights, with their names."""
        return bundle_files.content_hash(self.folder)

    @property
    def signature(self) -> tuple[tuple[str, int, int], ...]:
        """Name, size and time of change of every file: whether anything changed, told without reading it."""
        files = sorted(p for p in self.folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return tuple((str(p.relative_to(self.folder)), (s := p.stat()).st_size, s.st_mtime_ns) for p in files)

    # What runs the bundle's code.

    def require_trust(self) -> None:
        """Raise unless the caller trusts the bundle.

        Raises:
            UntrustedBundleError: naming what would run.
        """
        if not self.trust:
            raise UntrustedBundleError(
                f"Bundle '{self.folder}' runs code when it is used: {self.code.summary()}. "
                "If you know where it comes from, say so with --trust (trust=True in Python)."
            )

    def preprocessing(self) -> Compose:
        """The bundle's own chain, as a ``Compose``.

        Raises:
            UntrustedBundleError, BundleError: not trusted, or it does not evaluate.
        """
        chain = self._evaluate("preprocessing")
        return chain if isinstance(chain, Compose) else Compose(chain)

    def network(self, device: torch.device) -> torch.nn.Module:
        """The network with its weights on a device, in eval mode.

        Raises:
            UntrustedBundleError, BundleError, WeightsError
        """
        key = "network_def" if "network_def" in self._parser else "network"
        network = self._evaluate(key)
        if not isinstance(network, torch.nn.Module):
            raise BundleError(f"'{key}' in {self.config_file.name} is a {type(network).__name__}, not a network.")
        load_weights(network, self.folder / "models" / "model.pt")
        return network.to(device).eval()

    def input_shape(self, otherwise: int = 96) -> tuple[int, ...]:
        """C×spatial of an input that the network accepts, as far as the bundle says.

        From the last transform that fixes a size, or the metadata's ``spatial_shape`` where that is numbers;
        ``otherwise`` along every axis where neither says.
        """
        channels = self.info.channels or 1
        sizes = [getattr(t, "spatial_size", None) for t in _inner(self.preprocessing())]
        fixed = [s for s in sizes if isinstance(s, (tuple, list)) and all(isinstance(n, int) and n > 0 for n in s)]
        shape = tuple(fixed[-1]) if fixed else self.info.spatial_shape
        ndim = len(self.info.spatial_shape) or len(shape) or 3
        if len(shape) != ndim or not all(isinstance(n, int) for n in shape):
            shape = (otherwise,) * ndim
        return (int(channels), *(int(n) for n in shape))

    @property
    def outputs_are_independent(self) -> bool:
        """The postprocessing applies a sigmoid: each output channel is a yes or no of its own."""
        return _mentions(self._parser.config.get("postprocessing"), "sigmoid", True)

    def _evaluate(self, key: str) -> Any:
        self.require_trust()
        if key not in self._parser:
            keys = ", ".join(k for k in self._parser.config if not k.startswith("_"))
            raise BundleError(f"{self.config_file} has no '{key}'; it defines {keys}. Is this an inference config?")
        with _importing_from(self.folder):
            try:
                return self._parser.get_parsed_content(key)
            except Exception as error:
                cause = root_cause(error)
                reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
                raise BundleError(f"'{key}' of bundle '{self.info.name}' does not evaluate: {reason}") from error


def _inner(chain: Compose) -> Iterator[Any]:
    """A chain's transforms, and the array transform inside each dictionary transform."""
    for transform in chain.flatten().transforms:
        yield transform
        yield from (v for k, v in vars(transform).items() if k in ("resizer", "cropper", "padder", "transform"))


def _mentions(node: Any, key: str, value: Any) -> bool:
    if isinstance(node, dict):
        return node.get(key) == value or any(_mentions(v, key, value) for v in node.values())
    return isinstance(node, list) and any(_mentions(v, key, value) for v in node)


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let ``scripts.…`` in a configuration mean this bundle's own package, and never another bundle's of that name."""
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
        if name.split(".")[0] == "scripts" and (origin is None or not Path(origin).is_relative_to(folder)):
            del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
