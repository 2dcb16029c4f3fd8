"""A model, as both sides know it: where it lies and in what it is trusted, and what it says of itself.

There are three of them, one after the other: a :class:`ModelSource` is what somebody asks for, a :class:`ModelSummary`
is what can be read there without running anything (:mod:`CAMOverlayLib.contract.model_kinds`), and the engine's
``Model`` is what a trusted source evaluates to.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

from .records import JsonRecord, absolute, made_plain

THERE = "ssh:"
"""How a path begins that is one on the machine that computes, where that is another one: ``ssh:/data/bundle``."""


@dataclass(frozen=True)
class ModelSource(JsonRecord):
    """Where a model lies, and in what it is trusted.

    Attributes:
        path: its folder or file; on the machine that computes where it begins with :data:`THERE`.
        trust: the caller trusts it, although it can run code, whatever is in it by now.
        trusted_hash: instead of it the hash of the content that is trusted (``bundle_content.content_hash``); what is
            there is compared with it before and after it is loaded, and anything else is refused.
        configs: of a MONAI bundle, its configuration files, relative to its root, where they are not named as usual.
    """

    path: str
    trust: bool = False
    trusted_hash: str | None = None
    configs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        made_plain(self)

    @property
    def is_trusted(self) -> bool:
        """Whether anything in it may run; which content that is, is asked when it is opened."""
        return self.trust or bool(self.trusted_hash)

    @property
    def lies_there(self) -> bool:
        """Whether its path is one of another machine."""
        return self.path.startswith(THERE)

    def absolute(self) -> ModelSource:
        """The same by its absolute path. Its configurations are relative to that, and stay so."""
        path = self.path if self.lies_there else self.path and absolute(self.path)
        return dataclasses.replace(self, path=path, configs=tuple(map(os.path.expanduser, self.configs)))


@dataclass(frozen=True)
class ModelInfo(JsonRecord):
    """What a model says of itself; nothing is evaluated to know it.

    Attributes:
        channels: input channels, or None where the metadata does not say.
        spatial_shape: expected input size of the network as written (numbers, or strings such as ``16*n``).
        classes: names of the output channels by index (``channel_def``, ``label_def``); empty where not given.
    """

    name: str
    version: str
    task: str
    channels: int | None
    channel_names: tuple[str, ...]
    spatial_shape: tuple[int | str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Code(JsonRecord):
    """What a configuration would run, for the one who has to decide whether to trust it. All of it in one line each,
    without characters that a terminal would obey.

    Attributes:
        targets: classes and functions that are imported and called, also where an argument names them.
        expressions: Python expressions.
        scripts: files of code in the bundle, and links that lead out of it.
        programs: compiled networks in it.
        raw: lines of configurations that nothing here can read (YAML without PyYAML): what they run is in there.
    """

    targets: tuple[str, ...]
    expressions: tuple[str, ...]
    scripts: tuple[str, ...]
    programs: tuple[str, ...] = ()
    raw: tuple[str, ...] = ()

    def summary(self, most: int = 3) -> str:
        parts = [
            f"{len(values)} {kind} ({', '.join(v[:120] for v in values[:most])}{', …' if len(values) > most else ''})"
            for kind, values in (
                ("components", self.targets),
                ("expressions", self.expressions),
                ("Python files of its own", self.scripts),
                ("compiled networks", self.programs),
                ("lines of YAML that only PyYAML can read", self.raw),
            )
            if values
        ]
        return "; ".join(parts) or "nothing"


@dataclass(frozen=True)
class ModelSummary(JsonRecord):
    """What is known of a model before anybody trusts it.

    Attributes:
        kind: what kind of model it is, as :data:`CAMOverlayLib.contract.model_kinds.KINDS` names it.
        info: what it says of itself.
        code: what it would run.
        needs_trust: it can run code of its own, so somebody has to say that it may.
    """

    kind: str
    info: ModelInfo
    code: Code
    needs_trust: bool = True


def shown(text: str, most: int = 500) -> str:
    """A text in one line, with what a terminal or a window would obey written out, and cut where it is too long."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in cut)
