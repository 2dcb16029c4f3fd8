"""How much memory a chain will need, said before it runs.

What is certain is the loaded image. What a chain needs beyond that depends on its steps, and is estimated: where the
estimate does not fit the user is warned, and only where the loaded image alone does not fit the run is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.transforms import Compose

from ...contract.errors import DeviceError
from ..geometry.volume import Volume
from .slabs import RELEASES

PLAIN = 3.0
"""Images of float32 at once at most: before a step, after it, and what the step makes on its way."""

RESAMPLED = 4.5
"""The same where a step resamples in float64: one such image is two of float32."""

IN_FLOAT64 = ("Affine", "Rotate", "RandAffine", "RandRotate")
"""Transforms of MONAI that do by default, or may be told to."""

LEAN = ("Spacing", "SpatialResample", "ResampleToMatch")
"""Those that do as well, but for which ``slabs`` finds a way with less on some systems."""

WORTH_SAYING = 1e9
"""Bytes below which a need is not spoken of."""


@dataclass(frozen=True)
class Need:
    """Bytes that a chain takes: of the loaded image, at its peak by estimate, and how many are free (None: unknown)."""

    image: float
    peak: float
    free: float | None

    def words(self) -> str:
        """For the progress; empty where it is little."""
        if self.peak < WORTH_SAYING:
            return ""
        free = "" if self.free is None else f", {_gb(self.free)} are free"
        return f"up to {_gb(self.peak)} of memory{free}"

    def note(self) -> str:
        """What the user should know; empty where all is well."""
        if self.free is None or self.peak <= self.free:
            return ""
        return (
            f"The preprocessing may need {_gb(self.peak)} of memory where {_gb(self.free)} were free when it began. "
            "Close other programs, or crop the volume, if it is slow or ends without a word."
        )

    def require(self) -> None:
        """
        Raises:
            DeviceError: the loaded image alone does not fit.
        """
        if self.free is not None and self.image > self.free:
            raise DeviceError(
                f"Not enough memory: the volume as the network's preprocessing loads it takes {_gb(self.image)}, and "
                f"{_gb(self.peak)} are needed in all; {_gb(self.free)} are free. Crop or resample the volume, or close "
                "other programs."
            )


def need_of(chain: Compose, volumes: Sequence[Volume]) -> Need:
    """What a chain will take for volumes that become the channels of one image."""
    image = 4.0 * sum(volume.array.size for volume in volumes)
    wide = IN_FLOAT64 if RELEASES else IN_FLOAT64 + LEAN
    factor = RESAMPLED if any(_name(t) in wide for t in _all(chain.transforms)) else PLAIN
    return Need(image, factor * image, free_memory())


def free_memory(root: Path = Path("/")) -> float | None:
    """Bytes that this process can have without another one losing any; None where the system does not say.

    Args:
        root: where the system's own folders are.
    """
    found = []
    with suppress(OSError, StopIteration, ValueError, IndexError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        found.append(1024.0 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    with suppress(OSError, ValueError):  # what a container may have
        group = root / "sys/fs/cgroup"
        most, used = (float((group / name).read_text()) for name in ("memory.max", "memory.current"))
        found.append(most - used + _inactive_file(group))
    if not found:
        with suppress(ImportError):
            import psutil

            found.append(float(psutil.virtual_memory().available))
    return max(0.0, min(found)) if found else None


def _inactive_file(group: Path) -> float:
    """Bytes of files that the group's memory holds and would give up."""
    with suppress(OSError, ValueError, StopIteration, IndexError):
        lines = (group / "memory.stat").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("inactive_file")).split()[1])
    return 0.0


def _all(transforms: Iterable[Any]) -> Iterable[Any]:
    for transform in transforms:
        yield transform
        if isinstance(transform, Compose):
            yield from _all(transform.transforms)


def _name(transform: Any) -> str:
    return type(transform).__name__.removesuffix("Dict").removesuffix("d").removesuffix("D")


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
