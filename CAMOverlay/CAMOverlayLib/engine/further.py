"""What else a run says of every voxel, beside the heatmap: on the volume's grid, and as files beside the heatmap's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..contract.request import FurtherVolume
from .geometry.volume import Volume, save_array


@dataclass(frozen=True)
class FurtherArray:
    """A map that is about to become a :class:`FurtherVolume`; the fields are called as there.

    Attributes:
        array: I×J×K on the grid of the (first) volume, Fortran order; float32, or whole numbers of a label map. 0 where
            the network never saw.
    """

    name: str
    array: np.ndarray
    words: str
    highest: float = 1.0
    classes: tuple[str, ...] = ()
    overlapping: bool = False


def save_further(made: Iterable[FurtherArray], volume: Volume, folder: Path | str) -> tuple[FurtherVolume, ...]:
    """Each as an array file of its own name in the folder.

    Args:
        volume: on whose grid they are.

    Raises:
        OutputError: a file cannot be written.
    """
    return tuple(
        FurtherVolume(
            one.name,
            save_array(one.array, volume.affine, f"{volume.name} {one.name}".strip(), Path(folder) / f"{one.name}.npy"),
            one.words,
            one.highest,
            one.classes,
            one.overlapping,
        )
        for one in made
    )
