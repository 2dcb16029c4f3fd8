"""What the panel knows of the chosen bundle without running anything of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from ..contract.errors import BundleError
from ..contract.model import Code, ModelInfo, ModelSource, ModelSummary
from ..contract.model_kinds import model_path, summarise
from .remedies import inThePanel

MOST_CHANNELS = 64
"""A row of the panel each."""


@dataclass(frozen=True)
class BundleState:
    """A model as it was read, or why it could not be."""

    folder: Path
    summary: ModelSummary | None = None
    problem: str = ""

    @classmethod
    def read(cls, path: str) -> BundleState:
        """Read a model. Never raises: what is wrong with it is in ``problem``."""
        folder = Path(path)
        try:
            folder = model_path(path)
            summary = summarise(ModelSource(str(folder)))
            channels = summary.info.channels
            if isinstance(channels, int) and channels > MOST_CHANNELS:
                sentence = _("The network takes {count} channels; more than {most} volumes cannot be chosen here.")
                return cls(folder, problem=sentence.format(count=channels, most=MOST_CHANNELS))
            return cls(folder, summary)
        except BundleError as error:
            return cls(folder, problem=inThePanel(error))
        except Exception as error:  # metadata may have any shape  # noqa: BLE001
            return cls(folder, problem=_("The bundle's metadata cannot be understood: {error}").format(error=error))

    @property
    def needsTrust(self) -> bool:
        """Whether it can run code of its own, as far as that is known."""
        return self.summary is None or self.summary.needs_trust

    @property
    def info(self) -> ModelInfo | None:
        return self.summary.info if self.summary else None

    @property
    def code(self) -> Code | None:
        return self.summary.code if self.summary else None

    @property
    def channels(self) -> int:
        """Number of volumes that the network wants."""
        count = self.info.channels if self.info else None
        return max(1, count) if isinstance(count, int) else 1

    def describe(self) -> str:
        """What the bundle is: its name in one line, what it takes and gives in the next."""
        info = self.info
        if info is None:
            return self.problem
        assert self.summary is not None  # info comes from it
        lines = [f"{info.name} {info.version}".strip()]
        if not self.summary.needs_trust:
            lines.append(_("{kind}; nothing in it can run code").format(kind=self.summary.kind))
        if info.task:
            lines.append(info.task)
        parts = []
        if info.channels:
            names = ", ".join(info.channel_names)
            words = _("1 channel") if info.channels == 1 else _("{count} channels").format(count=info.channels)
            parts.append(f"{words} ({names})" if names else words)
        if info.spatial_shape:
            parts.append(" × ".join(map(str, info.spatial_shape)))
        if info.classes:
            shown = ", ".join(info.classes[:6]) + (", …" if len(info.classes) > 6 else "")
            parts.append(_("{count} classes: {names}").format(count=len(info.classes), names=shown))
        return "\n".join([*lines, " · ".join(parts)]).strip()
