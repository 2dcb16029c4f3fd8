"""What the panel knows of the chosen bundle without running anything of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from ..contract.bundle_files import BundleInfo, Code, code_of, config_files, info_of, read_configs, read_metadata
from ..contract.errors import BundleError
from .remedies import inThePanel

MOST_CHANNELS = 64
"""A row of the panel each."""


@dataclass(frozen=True)
class BundleState:
    """A bundle folder as it was read, or why it could not be."""

    folder: Path
    info: BundleInfo | None = None
    code: Code | None = None
    problem: str = ""

    @classmethod
    def read(cls, path: str) -> BundleState:
        """Read a folder. Never raises: what is wrong with it is in ``problem``."""
        folder = Path(path)
        try:
            folder = Path(os.path.expanduser(path)).resolve()
            configs = read_configs(folder, config_files(folder))
            info = info_of(folder, read_metadata(folder))
            if isinstance(info.channels, int) and info.channels > MOST_CHANNELS:
                sentence = _("The network takes {count} channels; more than {most} volumes cannot be chosen here.")
                return cls(folder, problem=sentence.format(count=info.channels, most=MOST_CHANNELS))
            return cls(folder, info, code_of(folder, configs))
        except BundleError as error:
            return cls(folder, problem=inThePanel(error))
        except Exception as error:  # metadata may have any shape  # noqa: BLE001
            return cls(folder, problem=_("The bundle's metadata cannot be understood: {error}").format(error=error))

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
        lines = [f"{info.name} {info.version}".strip()]
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
