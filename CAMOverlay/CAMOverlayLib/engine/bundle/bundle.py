"""A MONAI bundle folder: what it says of itself, and, once trusted, its network, weights and preprocessing.

A bundle's configuration is a program: ``$`` expressions are evaluated and ``_target_`` names are imported and called.
Reading it (:mod:`CAMOverlayLib.contract.bundle_files`) runs nothing. Everything that runs something is a method of
:class:`Bundle` and goes through ``require_trust``.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import Compose

from ...contract import bundle_files
from ...contract.bundle_content import SAFETENSORS
from ...contract.errors import BundleError, UntrustedBundleError, root_cause
from ...contract.model import ModelSource, ModelSummary
from .compat import as_it_was_written, bring_up_to_date, without_download
from .compiled import SUFFIXES as PROGRAMS
from .compiled import load_compiled
from .isolation import at_home, forget_bundles
from .model import Model, is_regression
from .needs import answers_with_image, needs_more, refusal, what_went_wrong
from .opened import OpenedModel
from .weights import load_weights

NETWORK_KEYS = ("network_def", "network", "net", "model", "evaluator#network", "training_network#network")
CHAIN_KEYS = (
    "preprocessing",
    "transforms_infer",
    "validate#preprocessing",
    "dataset#transform",
    "inference#transforms",
)
INFERER_KEYS = ("inferer", "evaluator#inferer", "validate#inferer")
"""Where configurations keep things, the usual place first."""
CHECKPOINTS = (".pt", ".pth", ".ckpt", SAFETENSORS)


class Bundle(OpenedModel):
    """A MONAI bundle's folder that was read but not evaluated.

    Args:
        source: the bundle's root, and in what it is trusted.

    Raises:
        BundleError: not a bundle, or its files are not valid JSON or YAML.
    """

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self.config_files = bundle_files.config_files(self.path, source.configs)
        # Within bounds, and nothing from elsewhere.
        self._as_written = bundle_files.read_configs(self.path, self.config_files)
        self.metadata = bundle_files.read_metadata(self.path)
        self._parser = ConfigParser()
        try:
            self._parser.read_config([str(path) for path in self.config_files])
        except Exception as error:  # json and yaml raise many kinds
            names = "', '".join(map(str, self.config_files))
            raise BundleError(f"'{names}' cannot be read as a configuration: {error}") from error
        self._parser["bundle_root"] = str(self.path)
        bring_up_to_date(self._parser.config)
        self._evaluated = False

    @cached_property
    def summary(self) -> ModelSummary:
        return bundle_files.summary_of(self.path, self.metadata, self._as_written)

    def require_explainable(self) -> None:
        """Raise where the bundle's own files say that it cannot be explained, before anything of it is evaluated.

        Raises:
            UntrustedBundleError, BundleError
        """
        self.require_trust()
        if sentence := refusal(self.info.name, self._parser.config, self.metadata):
            raise BundleError(sentence, setting="configs" if "configuration" in sentence else "")

    def model(self, device: torch.device) -> Model:
        """Everything that an explanation needs.

        Raises:
            UntrustedBundleError, BundleError, WeightsError
        """
        self.require_explainable()
        network = self.network(device)
        return Model(
            identity=self.identity,
            device=str(device),
            folder=str(self.path),
            info=self.info,
            network=network,
            chain=self.preprocessing(),
            inferer=self.inferer(),
            image_key=self.image_key,
            multilabel=self.is_multilabel,
            regression=is_regression(network, self.metadata) or answers_with_image(self.metadata),
        )

    def preprocessing(self) -> Compose:
        """The bundle's own chain, as a ``Compose``.

        Raises:
            UntrustedBundleError, BundleError: not trusted, or it does not evaluate.
        """
        chain = self._evaluate(self._first_of(CHAIN_KEYS))
        return chain if isinstance(chain, Compose) else Compose(chain)

    def network(self, device: torch.device) -> torch.nn.Module:
        """The network with its weights on a device, in eval mode.

        Raises:
            UntrustedBundleError, BundleError, WeightsError
        """
        program = self._program()
        if program is not None:
            self.require_trust()
            loaded = load_compiled(program, device)
            self.require_unchanged()
            return loaded
        weights = self.weights_file()
        with (
            without_download() if os.path.isfile(weights) else contextlib.nullcontext()
        ):  # they replace what it would fetch
            network = self.bare_network()
        if os.path.isfile(weights) or not self._loads_itself():
            load_weights(network, weights)
            self.require_unchanged()
        return network.to(device).eval()

    def bare_network(self) -> torch.nn.Module:
        """The network as it is defined, without the weights of the bundle.

        Raises:
            UntrustedBundleError, BundleError
        """
        key = self._first_of(NETWORK_KEYS)
        network = self._evaluate(key)
        if not isinstance(network, torch.nn.Module):
            raise BundleError(f"'{key}' in {self.config_files[-1].name} is a {type(network).__name__}, not a network.")
        return network

    def _program(self) -> Path | None:
        """The compiled network, where the bundle has nothing better: no definition, or no weights for it."""
        programs = sorted(p for p in (self.path / "models").glob("*") if p.suffix in PROGRAMS)
        if not programs:
            return None
        has_weights = any(p.suffix in CHECKPOINTS for p in (self.path / "models").glob("*"))
        return None if has_weights and any(self._has(key) for key in NETWORK_KEYS) else programs[-1]

    def inferer(self) -> Inferer | None:
        """How the network is applied; None where it takes the whole input at once.

        Raises:
            UntrustedBundleError, BundleError: not trusted, it does not evaluate, or it is no inferer.
        """
        key = next((k for k in INFERER_KEYS if self._has(k)), None)
        if key is None:
            return None
        inferer = self._evaluate(key)
        if not isinstance(inferer, Inferer):
            raise BundleError(
                f"'{key}' of bundle '{self.info.name}' is a {type(inferer).__name__}, not an Inferer of MONAI."
            )
        if more := needs_more(inferer):
            raise BundleError(
                f"The inferer {type(inferer).__name__} asks for more than an image and a network "
                f"({', '.join(more)}): clicks or "
                "prompts of a user, which an explanation has not. Name a configuration with an inferer that takes "
                "the image "
                "alone, such as SlidingWindowInferer.",
                setting="configs",
            )
        return None if type(inferer) is SimpleInferer else inferer

    def weights_file(self) -> Path:
        """Where the bundle says that its weights are: in a handler that loads a checkpoint, else ``models/model.pt``.

        Raises:
            UntrustedBundleError, BundleError: not trusted, or the path does not evaluate.
        """
        usual = self.path / "models" / "model.pt"
        named = []
        for key in _loaders(self._parser.config):
            path = Path(str(self._evaluate(f"{key}#load_path")))
            named.append(path if path.is_absolute() else self.path / path)
        if found := next((p for p in (*named, usual, usual.with_suffix(SAFETENSORS)) if os.path.isfile(p)), None):
            return found
        # Some bundles name a checkpoint by training run; where there is one file only, it is meant.
        # (A file that the configuration mentions elsewhere is something else, such as the architecture of a search.)
        text = json.dumps(self._parser.config, default=str)
        there = sorted(p for p in (self.path / "models").glob("*") if p.suffix in CHECKPOINTS and p.name not in text)
        return there[0] if len(there) == 1 else named[0] if named else usual

    @property
    def image_key(self) -> str | None:
        """The key of the network's input, where the configuration says so."""
        key = self._parser.config.get("image_key")
        return key if isinstance(key, str) and not key.startswith(("$", "@", "%")) else None

    def _has(self, key: str) -> bool:
        try:
            return self._parser.get(key) is not None
        except (KeyError, TypeError):
            return False

    def _first_of(self, keys: Sequence[str]) -> str:
        found = next((key for key in keys if self._has(key)), None)
        if found is None:
            if sentence := refusal(self.info.name, self._parser.config, self.metadata):
                raise BundleError(sentence, setting="configs" if "configuration" in sentence else "")
            names = [k for k in self._parser.config if not k.startswith("_")]
            there = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
            raise BundleError(
                f"{self.config_files[-1]} has no '{keys[0]}'; it defines {there}. Is this an inference config? "
                "Name the right ones.",
                setting="configs",
            )
        return found

    def _loads_itself(self) -> bool:
        """The network's definition brings its own weights: an expression that loads, or ``pretrained``."""
        definition = self._parser.get(self._first_of(NETWORK_KEYS))
        loads = re.search(r"""["']\$[^"']*\bload""", json.dumps(definition, default=str)) is not None
        return loads or _mentions(definition, "pretrained", True)

    def input_shape(self, otherwise: int = 96) -> tuple[int, ...]:
        """C×spatial of an input that the network accepts, as far as the bundle says.

        From the last transform that fixes a size, or the metadata's ``spatial_shape`` where that is numbers;
        ``otherwise`` along every axis where neither says.
        """
        channels = self.info.channels if isinstance(self.info.channels, int) and self.info.channels > 0 else 1
        sizes = [getattr(t, "spatial_size", None) for t in _inner(self.preprocessing())]
        fixed = [s for s in sizes if isinstance(s, (tuple, list)) and all(isinstance(n, int) and n > 0 for n in s)]
        shape = tuple(fixed[-1]) if fixed else self.info.spatial_shape
        ndim = len(self.info.spatial_shape) or len(shape) or 3
        if len(shape) != ndim or not all(isinstance(n, int) for n in shape):
            shape = (otherwise,) * ndim
        return (int(channels), *(int(n) for n in shape))

    @property
    def is_multilabel(self) -> bool:
        """The postprocessing applies a sigmoid: each output channel is a yes or no of its own."""
        return _mentions(self._parser.config.get("postprocessing"), "sigmoid", True)

    def _evaluate(self, key: str) -> Any:
        self.require_trust()
        if not self._evaluated:
            forget_bundles()  # another one's modules, or this one's before its author changed them
            self._evaluated = True
        with at_home(self.path), _working_in(self.path):
            try:
                with as_it_was_written(self.path):
                    content = self._parser.get_parsed_content(key)
                self.require_unchanged()
                return content
            except UntrustedBundleError:
                raise
            except (SystemExit, GeneratorExit) as error:  # of the bundle's code: it must not end what called it
                raise BundleError(
                    f"'{key}' of bundle '{self.info.name}' does not evaluate: it ends the program ({error!r}). "
                    "Take that out of its code."
                ) from error
            except Exception as error:
                reason = what_went_wrong(root_cause(error))
                raise BundleError(f"'{key}' of bundle '{self.info.name}' does not evaluate: {reason}") from error


def _loaders(config: Any, path: str = "") -> Iterator[str]:
    """Paths, in MONAI's notation, of everything that loads a checkpoint into the network."""
    if isinstance(config, dict):
        if str(config.get("_target_", "")).endswith("CheckpointLoader") and isinstance(config.get("load_path"), str):
            yield path
        for key, value in config.items():
            yield from _loaders(value, f"{path}#{key}" if path else str(key))
    elif isinstance(config, list):
        for number, value in enumerate(config):
            yield from _loaders(value, f"{path}#{number}")


def _inner(chain: Compose) -> Iterator[Any]:
    """A chain's transforms, and the array transform inside each dictionary transform."""
    for transform in chain.flatten().transforms:
        yield transform
        yield from (
            v
            for k, v in getattr(transform, "__dict__", {}).items()
            if k in ("resizer", "cropper", "padder", "transform")
        )


def _mentions(node: Any, key: str, value: Any) -> bool:
    if isinstance(node, dict):
        return node.get(key) == value or any(_mentions(v, key, value) for v in node.values())
    return isinstance(node, list) and any(_mentions(v, key, value) for v in node)


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    """Bundles are run from their root, so paths in a configuration may be relative to it."""
    try:
        before = os.getcwd()
    except OSError:  # it is gone
        before = os.path.sep
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
