"""What all cases of a cohort have in common, and whether what lies on disk was computed so.

The fingerprint is the hash of everything that a heatmap hangs on but the case itself: the model's content (wherever it
lies), every option, what is kept, and the version of this package. A folder holds cases of one fingerprint only.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..contract.errors import CohortError, UntrustedBundleError
from ..contract.model import ModelSource
from ..contract.options import Options
from ..contract.records import JsonRecord, SpoiltRecord, absolute
from ..contract.target import StructureFile, TargetSpec, class_of
from ..contract.whole_files import save_text

SCHEMA = 1

FILE = "cohort.json"

KINDS = ("heatmap", "picture", "report", "scene")
"""What can be kept of a case beside its figures."""

USUAL = KINDS[:3]
"""What is kept where nothing is said: a scene holds the volume once more, and needs Slicer's core."""


@dataclass(frozen=True)
class InTheUsersWords(JsonRecord):
    """How a network without a bundle is told of in a result: not by the temporary folder that it became."""

    network: str = ""
    arguments: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan(JsonRecord):
    """Everything that a worker needs to know beside the case.

    Attributes:
        output: the cohort's folder, absolute.
        model: where the model lies.
        content_hash: SHA-256 of everything in it.
        options: how to explain.
        target: what to explain where the case does not say it.
        keep: of :data:`KINDS`.
        told: of a network without a bundle, what the user calls it.
        version: of this package.
        fingerprint: SHA-256 of :attr:`common`, made where the plan is: files that it hangs on are looked at once.
    """

    output: str
    model: ModelSource
    content_hash: str
    options: Options = Options()  # noqa: RUF009 (frozen)
    target: int | str | TargetSpec | None = None
    keep: tuple[str, ...] = USUAL
    told: InTheUsersWords = InTheUsersWords()
    version: str = __version__
    fingerprint: str = ""

    def __post_init__(self) -> None:
        """Raises CohortError where there is no such thing to keep, TargetError where the target is none."""
        if not isinstance(self.target, TargetSpec):
            object.__setattr__(self, "target", class_of(self.target, "The target"))
        if wrong := [kind for kind in self.keep if kind not in KINDS]:
            raise CohortError(f"There is no '{wrong[0][:40]}' to keep; choose of {', '.join(KINDS)}.")
        object.__setattr__(self, "keep", tuple(kind for kind in KINDS if kind in self.keep))
        if self.options.intermediates_folder:
            raise CohortError(
                "The volumes of every step are of one explanation, and here are many. Leave out the folder for them, "
                "and explain the one that you want to look at."
            )
        if not self.fingerprint:
            text = json.dumps(self.common, sort_keys=True)
            object.__setattr__(self, "fingerprint", hashlib.sha256(text.encode()).hexdigest())

    @property
    def common(self) -> dict[str, Any]:
        """What the fingerprint is of, by the names that a user knows; plain values."""
        options = self.options.to_dict()
        options.pop("intermediates_folder")
        options["target"] = self.target.to_dict() if isinstance(self.target, TargetSpec) else self.target
        options["structures"] = [_stamped(StructureFile.of(one)) for one in self.options.structures]
        model = {"content_hash": self.content_hash, "configs": list(self.model.configs)}
        common = {"version": self.version, "model": model, "options": options, "keep": list(self.keep)}
        return json.loads(json.dumps(common))

    @property
    def folder(self) -> Path:
        return Path(self.output)


def _stamped(one: StructureFile) -> dict[str, Any]:
    """A structure's file with its size and time, so that another one of its name is another thing."""
    values = one.to_dict()
    if isinstance(one.file, str) and os.path.exists(one.file):
        found = os.stat(one.file)
        values["stamp"] = [found.st_size, found.st_mtime_ns]
    return values


def planned(output: str | os.PathLike[str], model: ModelSource, **chosen: Any) -> Plan:
    """The plan, with every path absolute, of a model that is there and may run.

    Args:
        chosen: fields of :class:`Plan`.

    Raises:
        BundleError, UntrustedBundleError: there is no model, or it would run code and is not trusted.
        CohortError: something is asked for that a cohort has not.
    """
    from ..contract.bundle_content import content_hash
    from ..contract.model_kinds import model_path, summarise

    options = chosen.pop("options", Options())
    _require_known(options)
    model = model.absolute()
    summary = summarise(model)
    if summary.needs_trust and not model.is_trusted:
        raise UntrustedBundleError(
            f"Bundle '{model.path}' runs code when it is used: {summary.code.summary()}. "
            "Trust it only if you know where it comes from."
        )
    found = content_hash(model_path(model.path))
    if model.trusted_hash and model.trusted_hash != found:
        raise UntrustedBundleError(
            f"The bundle '{model.path}' is not the one that was trusted: its content has changed since. "
            "Look at what it runs, and trust it anew."
        )
    options = replace(options, structures=tuple(StructureFile.of(one).absolute() for one in options.structures))
    return Plan(absolute(output), model, found, options, **chosen)


def _require_known(options: Options) -> None:
    """Raise MethodError, in one sentence for all cases, where an option says what there is not."""
    from ..contract.methods import find_method_info

    find_method_info(options.method)
    _ = (options.threshold, options.wanted, options.nearest)


# On disk ------------------------------------------------------------------------------------------------------------


def require_same(plan: Plan) -> bool:
    """Whether the folder holds this cohort already; False where it holds none.

    Raises:
        CohortError: it holds another one; says in what it differs.
    """
    path = plan.folder / FILE
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        if there.get("schema") != SCHEMA:
            raise SpoiltRecord("of another version")
        if there.get("fingerprint") == plan.fingerprint:
            return True
        differences = list(_differences(there, plan.common))
    except FileNotFoundError:
        if any((plan.folder / "cases").glob("[!.]*")):
            raise CohortError(
                f"'{plan.folder / 'cases'}' holds cases, and nothing says how they were computed ({FILE} is missing). "
                "Choose another output folder."
            ) from None
        return False
    except (OSError, ValueError, AttributeError) as error:
        raise CohortError(
            f"'{path}' cannot be read ({error}), so it is not known how the cases there were computed. Choose another "
            "output folder, or begin anew."
        ) from None
    raise CohortError(
        f"'{plan.output}' holds a cohort that was computed otherwise: {'; '.join(differences) or 'by other settings'}. "
        "Its cases are not mixed with others: choose another output folder, take the former settings, or begin anew."
    )


def _differences(there: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """In what two cohorts differ, in words."""
    found = []
    if there.get("version") != now["version"]:
        found.append(f"by CAMOverlay {there.get('version')}, and this is {now['version']}")
    before, model = there.get("model", {}), now["model"]
    if before.get("content_hash") != model["content_hash"]:
        found.append(
            f"of another model (content {str(before.get('content_hash'))[:12]} then, {model['content_hash'][:12]} now)"
        )
    if before.get("configs") != model["configs"]:
        found.append(f"configurations {before.get('configs')} then, {model['configs']} now")
    options = there.get("options", {})
    for name in dict.fromkeys([*options, *now["options"]]):
        if options.get(name) != now["options"].get(name):
            found.append(f"{name} {_short(options.get(name))} then, {_short(now['options'].get(name))} now")
    if there.get("keep") != now["keep"]:
        found.append(f"kept {', '.join(there.get('keep', []))} then, {', '.join(now['keep'])} now")
    return found


def _short(value: Any) -> str:
    text = "none" if value in (None, [], "") else str(value)
    return text if len(text) <= 80 else text[:79] + "…"


def write_plan(plan: Plan, listed: Sequence[str]) -> None:
    """Write ``cohort.json``. Raises OutputError where that cannot be."""
    from ..contract.model_kinds import summarise

    info = summarise(plan.model).info
    told = {"schema": SCHEMA, "fingerprint": plan.fingerprint, **plan.common}
    told |= {"model_path": plan.told.network or plan.model.path, "model_name": info.name}
    told |= {"classes": list(info.classes), "list": list(listed)}
    save_text(plan.folder / FILE, json.dumps(told, indent=1, ensure_ascii=False) + "\n")


def options_of(settings: dict[str, Any]) -> Options:
    """The fields of :class:`Options` among some settings."""
    names = {one.name for one in fields(Options)}
    return Options(**{name: value for name, value in settings.items() if name in names})
