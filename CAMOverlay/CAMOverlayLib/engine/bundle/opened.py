"""A model on disk that was read but not evaluated: the one door for every kind, and the one that asks for trust.

What a model says of itself comes from :mod:`CAMOverlayLib.contract.model_kinds`, which runs nothing. Everything that
runs something is a method here, goes through :meth:`OpenedModel.require_trust`, and yields a
:class:`~CAMOverlayLib.engine.bundle.model.Model`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Hashable
from functools import cached_property
from importlib import import_module

import torch
from monai.inferers import Inferer
from monai.transforms import Compose

from ...contract.bundle_content import Signature, content_hash, stamp
from ...contract.errors import BundleError, UntrustedBundleError
from ...contract.model import Code, ModelInfo, ModelSource, ModelSummary
from ...contract.model_kinds import kind_of, model_path
from .model import Model


def open_model(source: ModelSource) -> OpenedModel:
    """What lies there, read by the class for its kind.

    Raises:
        BundleError: there is no model that can be read.
    """
    module, name = kind_of(model_path(source.path)).evaluated_by.split(":")
    return getattr(import_module(f".{module}", __package__), name)(source)


class OpenedModel(ABC):
    """A model that was read but not evaluated.

    Args:
        source: where it lies, and in what it is trusted.

    Raises:
        BundleError: it cannot be read.
    """

    def __init__(self, source: ModelSource) -> None:
        self.source = source
        self.path = model_path(source.path)
        # Before anything is read: what is hashed later is then what was read here.
        self._signature_read = self._signature() if os.path.exists(self.path) else ()
        self._known_as_trusted = False

    # What can be known without running anything.

    @cached_property
    @abstractmethod
    def summary(self) -> ModelSummary:
        """What it says of itself."""

    @property
    def info(self) -> ModelInfo:
        return self.summary.info

    @property
    def code(self) -> Code:
        """Everything that would be imported, called or evaluated."""
        return self.summary.code

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over everything that can run: configurations, scripts and weights, with their names."""
        return content_hash(self.path)

    def hash_if_readable(self) -> str:
        """The hash for the provenance, of which no run shall fail: empty where something cannot be read."""
        try:
            return self.content_hash
        except (BundleError, OSError):
            return ""

    @property
    def home(self) -> str:
        """The folder whose own modules it may import; empty for a model that has none, so that nothing that lies beside
        it is taken for one."""
        return str(self.path)

    @property
    def identity(self) -> Hashable:
        """What two models share only if they are the same in every file and read in the same way."""
        return (str(self.path), self.source.configs, self._signature_read)

    def _signature(self) -> Signature:
        try:
            return stamp(self.path)
        except OSError as error:
            raise BundleError(f"'{self.path}' cannot be read: {error.strerror or error}.") from error

    # What runs it.

    @property
    def may_run(self) -> bool:
        """Whether somebody trusts it, or nobody has to."""
        return self.source.is_trusted or not self.summary.needs_trust

    def require_trust(self) -> None:
        """Raise unless the caller trusts the model, as it is now, or there is nothing to trust.

        Raises:
            UntrustedBundleError: naming what would run; or the content is not the one that is trusted.
        """
        trusted = self.source.trusted_hash
        if trusted and not self._known_as_trusted:
            if self.content_hash != trusted:
                raise self._changed()
            self._known_as_trusted = True
        if trusted:
            self.require_unchanged()
        if not self.may_run:
            raise UntrustedBundleError(
                f"Bundle '{self.path}' runs code when it is used: {self.code.summary()}. "
                "Trust it only if you know where it comes from."
            )

    def require_unchanged(self) -> None:
        """Raise UntrustedBundleError where something changed since it was read, and only that was trusted."""
        if self.source.trusted_hash and self._signature() != self._signature_read:
            raise self._changed()

    def _changed(self) -> UntrustedBundleError:
        return UntrustedBundleError(
            f"The bundle '{self.path}' is not the one that was trusted: its content has changed since. "
            "Look at what it runs, and trust it anew."
        )

    @abstractmethod
    def require_explainable(self) -> None:
        """Raise where its own files say that it cannot be explained, before anything of it is evaluated.

        Raises:
            UntrustedBundleError, BundleError
        """

    @abstractmethod
    def model(self, device: torch.device) -> Model:
        """Everything that an explanation needs.

        Raises:
            UntrustedBundleError, BundleError, WeightsError
        """

    @abstractmethod
    def preprocessing(self) -> Compose:
        """From image files to the network's input. Raises UntrustedBundleError, BundleError."""

    @abstractmethod
    def network(self, device: torch.device) -> torch.nn.Module:
        """The network with its weights, in eval mode. Raises UntrustedBundleError, BundleError, WeightsError."""

    @abstractmethod
    def inferer(self) -> Inferer | None:
        """How the network is applied; None for all at once. Raises UntrustedBundleError, BundleError."""

    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """C×spatial of an input that the network accepts, as far as the model says."""
