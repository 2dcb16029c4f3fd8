"""What a worker can be asked. This object lives as long as the process: what stays warm between runs belongs here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ..contract.methods import CATALOGUE
from ..contract.request import Progress, Request

ReportProgress = Callable[[Progress], None]
Operation = Callable[[dict[str, Any], ReportProgress], dict[str, Any]]


class Operations:
    """Operations by name: payload and progress in, answer out; both dictionaries that JSON can say.

    Making one loads the libraries, which takes seconds. A further operation is a method and a line in ``names``.

    Args:
        check: called before every layer of every network that runs; raising from it ends the run.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        import torch
        from torch.nn.modules.module import register_module_forward_pre_hook

        from ..engine import pipeline  # noqa: F401  also brings MONAI and nibabel
        from ..engine.cache import Cache

        self.cache = Cache()
        self._bundle: Any = None  # the one whose code has run here
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
        from ..contract.bundle_content import essential, signature
        from ..contract.errors import BundleError
        from ..engine.bundle.isolation import left_behind

        folder = payload.get("bundle")
        if not folder or not (payload.get("trust") or payload.get("trusted_hash")):
            return True
        try:
            bundle = essential(signature(os.path.realpath(os.path.expanduser(folder))))
        except (OSError, ValueError, TypeError, BundleError):
            return True  # there is nothing to run, and the operation says why
        if self._bundle is None:
            self._bundle = bundle
        return bundle == self._bundle and not left_behind

    def explain(self, payload: dict[str, Any], report: ReportProgress) -> dict[str, Any]:
        """A Request in, a Result out."""
        from ..engine.pipeline import explain

        return explain(Request.from_dict(payload), report, self.cache).to_dict()

    def inspect(self, payload: dict[str, Any], report: ReportProgress) -> dict[str, Any]:
        """What a bundle is. In: ``bundle``, ``trust`` or ``trusted_hash``, perhaps ``configs``. Out: ``info``,
        ``code``, ``content_hash``, and of a trusted one
        ``transforms`` (names) and ``layers`` (name, kind, shape, stride, receptive_field, layout) with the ``default``
        and the last of every resolution, ``stages``, among them. ``methods`` says what there is: name, title, paper,
        description."""
        from ..engine.bundle.bundle import Bundle

        report(Progress("bundle", 0.0, "Reading the bundle"))
        bundle = Bundle(
            payload["bundle"], bool(payload.get("trust")), payload.get("configs") or (), payload.get("trusted_hash")
        )
        answer: dict[str, Any] = {
            "info": asdict(bundle.info),
            "code": asdict(bundle.code),
            "content_hash": bundle.content_hash,
        }
        answer["methods"] = self.methods()
        if not bundle.trust:
            return answer
        from ..engine.bundle.isolation import at_home, leaves_no_trace

        with at_home(bundle.folder):
            return answer | leaves_no_trace(self._evaluated)(bundle, report)

    def _evaluated(self, bundle: Any, report: ReportProgress) -> dict[str, Any]:
        from ..engine.layer_choice import layers_of

        transforms = [type(t).__name__ for t in bundle.preprocessing().flatten().transforms]
        report(Progress("forward", 0.3, "Looking at the layers"))
        _network, shape, table = layers_of(bundle)
        if table is None:
            return {"transforms": transforms, "input_shape": shape, "layers": [], "default": "", "stages": []}
        return {
            "transforms": transforms,
            "input_shape": shape,
            "layers": [asdict(layer) for layer in table.layers],
            "default": table.default,
            "stages": [layer.name for layer in table.stages],
        }

    @staticmethod
    def methods() -> list[dict[str, Any]]:
        """Every method in the order in which to offer them."""
        return [asdict(method) for method in CATALOGUE.values()]

    def versions(self, payload: dict[str, Any], report: ReportProgress) -> dict[str, Any]:
        """Versions of everything that takes part in the numbers. Asking for them tells whether a Python will do."""
        from ..engine.result import versions

        return versions()


def spare_a_core(torch: Any) -> None:
    """Leave one core to Slicer where there are enough; fewer threads than the user asked for is never more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores > 2:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))
