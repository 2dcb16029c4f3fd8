"""What to explain: a class, two to tell apart, and a place."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from .errors import TargetError
from .records import Affine, JsonRecord, SpoiltRecord, absolute, made_plain, restore


@dataclass(frozen=True)
class VolumeFile(JsonRecord):
    """A volume outside the scene: its voxels in a ``.npy`` file, axes I, J, K, and where they are in the patient.

    Slicer keeps voxels in memory with I fastest, so the file is in Fortran order and neither side has to turn it.
    """

    path: str
    affine: Affine
    name: str = "volume"

    def __post_init__(self) -> None:
        made_plain(self)

    def absolute(self) -> VolumeFile:
        """The same by its absolute path."""
        return dataclasses.replace(self, path=absolute(self.path))

    def _problem(self) -> str:
        return "" if len(self.affine) == 4 else f"the affine has {len(self.affine)} rows where 4 belong"


@dataclass(frozen=True)
class StructureFile(JsonRecord):
    """A mask or a label map, of whose structures the heat is asked.

    Attributes:
        file: an exported array file or the path of an image file, on any grid in the same patient space.
        names: of its values but 0, ascending; none at all takes the file's name (and the value, of several).
    """

    file: VolumeFile | str
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        made_plain(self)

    @classmethod
    def of(cls, given: Any) -> StructureFile:
        """From a path, which may have names before it (``liver,spleen=FILE``), or an exported array file.

        Raises:
            TargetError: it is neither.
        """
        if isinstance(given, cls):
            return given
        given = os.fspath(given) if isinstance(given, os.PathLike) else given
        if isinstance(given, VolumeFile):
            return cls(given)
        if not isinstance(given, str) or not given.strip():
            raise TargetError(f"'{str(given)[:60]}' is no structure. Give the file of a mask or of a label map.")
        names, named, path = given.partition("=")
        if not named or os.path.exists(os.path.expanduser(given)):  # a file may have such a name
            return cls(given)
        return cls(path.strip(), tuple(name.strip() for name in names.split(",")))

    def absolute(self) -> StructureFile:
        """The same by its absolute path."""
        file = absolute(self.file) if isinstance(self.file, str) else self.file.absolute()
        return dataclasses.replace(self, file=file)


@dataclass(frozen=True)
class TargetSpec(JsonRecord):
    """What to explain, where a class alone does not say it.

    Attributes:
        output: class index or name; None for the predicted one (of that place, where a place is given).
        minus: class to compare with: the difference of the two outputs is explained.
        mask: of a segmentation network, the region to explain: an exported array file or the path of an image file,
            on any grid in the same patient space; every voxel but 0 counts.
        voxel: instead of it one voxel (I, J, K) of the original volume.
        ras: instead of it one point in RAS mm.
    """

    output: int | str | None = None
    minus: int | str | None = None
    mask: VolumeFile | str | None = None
    voxel: tuple[int, int, int] | None = None
    ras: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        """Raises TargetError where a class is no index or name, or a place is not three numbers."""
        made_plain(self)
        object.__setattr__(self, "output", class_of(self.output, "The target"))
        object.__setattr__(self, "minus", class_of(self.minus, "The class to compare with"))
        object.__setattr__(self, "voxel", _three(self.voxel, int, "The voxel", "Give three whole numbers, I, J and K."))
        object.__setattr__(self, "ras", _three(self.ras, float, "The point", "Give three numbers, RAS in mm."))

    def absolute(self) -> TargetSpec:
        """The same with a mask's file by its absolute path."""
        mask = absolute(self.mask) if isinstance(self.mask, str) else self.mask and self.mask.absolute()
        return dataclasses.replace(self, mask=mask)


def _three(value: Any, kind: type, where: str, remedy: str) -> Any:
    """Three numbers of a kind, or None.

    Raises:
        TargetError: anything else.
    """
    if value is None:
        return None
    try:
        return restore(tuple[kind, kind, kind], value, where)  # type: ignore[valid-type]
    except SpoiltRecord:
        raise TargetError(f"{where} is {str(value)[:60]}. {remedy}") from None


def class_of(value: Any, where: str) -> Any:
    """A class as index, name or None.

    Raises:
        TargetError: anything else: ``True`` is not class 1, and no class lies between two.
    """
    if value is None or (isinstance(value, (int, str)) and not isinstance(value, bool)):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise TargetError(
        f"{where} is {str(value)[:60]!r}, a {type(value).__name__}, and not a class. Give its index or its name."
    )
