"""A MONAI bundle folder: what it says of itself, and, once trusted, its network, weights and preprocessing.

A bundle's configuration is a program: ``$`` expressions are evaluated and ``_target_`` names are imported and called.
Reading it (:func:`read_bundle`) runs nothing. Everything that runs something is a method of :class:`Bundle` and goes
through :meth:`Bundle.require_trust`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose

from ..errors import BundleError, UntrustedBundleError
from .weights import load_weights

CONFIG_NAMES = ("inference.json", "inference.yaml", "inference.yml")


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle says of itself in ``metadata.json``; nothing is evaluated to know it.

    Attributes:
        channels: input channels, or None where the metadata does not say.
        spatial_shape: expected input size of the network as written (numbers, or strings such as ``16*n``).
        classes: names of the output channels by index, from ``channel_def``; empty where not given.
    """

    name: str
    version: str
    task: str
    channels: int | None
    channel_names: tuple[str, ...]
    spatial_shape: tuple[int | str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """What a configuration would run, for the one who has to decide whether to trust it."""

    targets: tuple[str, ...]
    expressions: tuple[str, ...]
    scripts: tuple[str, ...]

    def summary(self, most: int = 3) -> str:
        parts = [
            f"{len(values)} {kind} ({', '.join(values[:most])}{', …' if len(values) > most else ''})"
            for kind, values in (
                ("components", self.targets),
                ("expressions", self.expressions),
                ("Python files of its own", self.scripts),
            )
            if values
        ]
        return "; ".join(parts) or "nothing"


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
        self.config_file = _find_config(self.folder)
        self.metadata: dict[str, Any] = _read_metadata(self.folder)
        self._parser = ConfigParser()
        try:
            self._parser.read_config(str(self.config_file))
        except Exception as error:  # json and yaml raise many kinds
            raise BundleError(f"'{self.config_file}' cannot be read as a configuration: {error}") from error
        self._parser["bundle_root"] = str(self.folder)

    # What can be known without running anything.

    @cached_property
    def info(self) -> BundleInfo:
        data_format = self.metadata.get("network_data_format", {})
        inputs = next(iter(data_format.get("inputs", {}).values()), {})
        outputs = next(iter(data_format.get("outputs", {}).values()), {})
        return BundleInfo(
            name=str(self.metadata.get("name", self.folder.name)),
            version=str(self.metadata.get("version", "")),
            task=str(self.metadata.get("task", "")),
            channels=inputs.get("num_channels"),
            channel_names=_channel_names(inputs.get("channel_def")),
            spatial_shape=tuple(inputs.get("spatial_shape", ())),
            classes=_channel_names(outputs.get("channel_def")),
        )

    @cached_property
    def code(self) -> Code:
        """Everything in the configuration that would be imported, called or evaluated."""
        targets: list[str] = []
        expressions: list[str] = []

        def walk(node: Any) -> None:
            if isinstance(node, dict):
                if "_target_" in node:
                    targets.append(str(node["_target_"]))
                for value in node.values():
                    walk(value)
            elif isinstance(node, list):
                for value in node:
                    walk(value)
            elif isinstance(node, str) and node.startswith("$"):
                expressions.append(node[1:])

        walk(self._parser.config)
        scripts = sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*.py"))
        return Code(tuple(dict.fromkeys(targets)), tuple(dict.fromkeys(expressions)), tuple(scripts))

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over everything that can run: configurations, scripts and weights, with their names."""
        digest = hashlib.sha256()
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            digest.update(str(path.relative_to(self.folder)).encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

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
                raise BundleError(
                    f"'{key}' of bundle '{self.info.name}' does not evaluate: {_root_cause(error)}"
                ) from error


def _find_config(folder: Path) -> Path:
    if not folder.is_dir():
        raise BundleError(f"'{folder}' is not a folder. Give the root of a MONAI bundle.")
    for name in CONFIG_NAMES:
        if (path := folder / "configs" / name).is_file():
            return path
    raise BundleError(
        f"'{folder}' is not a MONAI bundle: it has no configs/{' or configs/'.join(CONFIG_NAMES)}. "
        "Give the folder that contains 'configs' and 'models'."
    )


def _read_metadata(folder: Path) -> dict[str, Any]:
    path = folder / "configs" / "metadata.json"
    if not path.is_file():
        return {}  # a bundle without metadata can still be explained; its classes are numbers
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"'{path}' is not valid JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise BundleError(f"'{path}' holds a {type(metadata).__name__}, an object is needed.")
    return metadata


def _channel_names(channel_def: Any) -> tuple[str, ...]:
    if not isinstance(channel_def, dict):
        return ()
    by_index = {int(index): str(name) for index, name in channel_def.items()}
    return tuple(by_index.get(i, f"class {i}") for i in range(max(by_index, default=-1) + 1))


def _inner(chain: Compose) -> Iterator[Any]:
    """A chain's transforms, and the array transform inside each dictionary transform."""
    for transform in chain.flatten().transforms:
        yield transform
        yield from (v for k, v in vars(transform).items() if k in ("resizer", "cropper", "padder", "transform"))


def _mentions(node: Any, key: str, value: Any) -> bool:
    if isinstance(node, dict):
        return node.get(key) == value or any(_mentions(v, key, value) for v in node.values())
    return isinstance(node, list) and any(_mentions(v, key, value) for v in node)


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0]


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
