"""What a worker can be asked. This object lives as long as the process: what stays warm between runs belongs here."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..contract.late_imports import late_imports
from ..contract.quick_loading import quick_loading
from ..contract.request import Progress, Request

ReportProgress = Callable[[Progress], None]
Operation = Callable[[dict[str, Any], ReportProgress], dict[str, Any]]


class Operations:
    """Operations by name: payload and progress in, answer out; both dictionaries that JSON can say.

    Making one loads the libraries, which takes seconds. A further operation is a method and a line in ``names``.

    Args:
        check: called before every layer of every network that runs; raising from it ends the run.
        alone: take all cores.
    """

    def __init__(self, check: Callable[[], None], alone: bool = False) -> None:
        with quick_loading():
            import torch
            from torch.nn.modules.module import register_module_forward_pre_hook

            from ..engine import pipeline  # noqa: F401  also brings MONAI and nibabel
            from ..engine.cache import Cache

        self.cache = Cache()
        self._bundle: Any = None  # the one whose code has run here
        if not alone:
            spare_a_core(torch)
        # So that a cancel is heard within a layer's time, and the warm process need not be killed for it.
        register_module_forward_pre_hook(lambda _module, _inputs: check())
        self.names: dict[str, Operation] = {
            "explain": self.explain,
            "inspect": self.inspect,
            "versions": self.versions,
        }

    def fits(self, payload: dict[str, Any]) -> bool:
        """Whether this process may do it. It runs the code of one bundle, as that was when it was first run: whatever
        code leaves behind in a process (modules, patched functions, threads) then meets no other bundle."""
        from ..contract.bundle_content import stamp
        from ..contract.errors import BundleError
        from ..contract.model_kinds import model_path
        from ..engine.bundle.isolation import left_behind

        model = payload.get("model")
        if not isinstance(model, dict) or not (model.get("trust") or model.get("trusted_hash")):
            return True
        try:
            bundle = stamp(model_path(str(model.get("path"))))
        except (OSError, ValueError, TypeError, BundleError):
            return True  # there is nothing to run, and the operation says why
        if self._bundle is None:
            self._bundle = bundle
        return bundle == self._bundle and not left_behind

    def has_run(self, payload: dict[str, Any]) -> bool:
        """Whether code of a model has run here, and this model would run some too."""
        model = payload.get("model") or {}
        return self._bundle is not None and bool(model.get("trust") or model.get("trusted_hash"))

    def open_ahead(self, payload: dict[str, Any]) -> None:
        """Open the model of an explanation that will be asked for, while those who will ask are busy. It says nothing:
        what is wrong is wrong then too.

        Args:
            payload: ``model`` and ``device`` of a :class:`CAMOverlayLib.contract.request.Request`.
        """
        with suppress(BaseException):  # a model's code may raise anything
            if self.fits(payload):
                self._open(payload)

    def _open(self, payload: dict[str, Any]) -> None:
        from ..contract.model import ModelSource
        from ..engine.bundle.isolation import leaves_no_trace
        from ..engine.network.device import choose_device

        source, device = ModelSource.from_dict(payload["model"]), choose_device(payload["device"])
        with late_imports():  # every LoadImage asks for all that it could read with
            leaves_no_trace(self.cache.model)(source, device)

    def explain(self, payload: dict[str, Any], report: ReportProgress) -> dict[str, Any]:
        """A Request in, a Result out."""
        from ..engine.pipeline import explain

        return explain(Request.from_dict(payload), report, self.cache).to_dict()

    def inspect(self, payload: dict[str, Any], report: ReportProgress) -> dict[str, Any]:
        """What a model is. In: ``model``, a :class:`CAMOverlayLib.contract.model.ModelSource`. Out: an
        :class:`CAMOverlayLib.contract.inspection.Inspection`."""
        from ..contract.model import ModelSource
        from ..engine.bundle.opened import open_model
        from ..engine.layer_choice import inspect_model

        report(Progress("bundle", 0.0, "Reading the model"))
        return inspect_model(open_model(ModelSource.from_dict(payload["model"])), report).to_dict()

    def versions(self, payload: dict[str, Any], report: ReportProgress) -> dict[str, Any]:
        """Versions of everything that takes part in the numbers. Asking for them tells whether a Python will do."""
        from ..engine.result import versions

        return versions()


def spare_a_core(torch: Any) -> None:
    """Leave one core to Slicer where there are enough; fewer threads than the user asked for is never more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores > 2:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))
