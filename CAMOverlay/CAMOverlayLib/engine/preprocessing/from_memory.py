"""MONAI's loader gets the voxels from memory: a chain of MONAI's own transforms never opens the file that it names.

:class:`MemoryReader` is MONAI's reader of NIfTI files but for one thing, the reading; all that follows from an image,
array, affine and metadata, is MONAI's own code on the image that it would have read. ``LoadImage`` takes such a reader
when it is called, so the chain stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.data import NibabelReader
from monai.data.utils import correct_nifti_header_if_necessary
from monai.transforms import Compose, Lambda, Lambdad, LoadImage, LoadImaged

from ...contract.errors import causes
from ...contract.on_cores import on_cores
from ..geometry.volume import Volume, as_nifti, as_read

Voxels = Mapping[str, Volume]
"""Volumes by the names of the files that were not written."""

KNOWN = ("monai.transforms.", "CAMOverlayLib.engine.")
"""Modules whose transforms open no image file, but for those that load."""


class MemoryReader(NibabelReader):
    """What a NIfTI reader of MONAI's makes of a file, without the file.

    Args:
        like: the reader whose place it takes, with its settings.
        voxels: what is in the files.
        kind: the type that the loader makes of the voxels; None keeps theirs.
    """

    def __init__(self, like: NibabelReader, voxels: Voxels, kind: Any) -> None:
        super().__init__()
        self.__dict__.update(vars(like))
        self._voxels, self._kind = voxels, None if kind is None else np.dtype(kind)

    def read(self, data: Any, **kwargs: Any) -> Any:
        self.filenames = (data,) if isinstance(data, (str, os.PathLike)) else tuple(data)
        images = [correct_nifti_header_if_necessary(self._image(str(name))) for name in self.filenames]
        return images if len(images) > 1 else images[0]

    def _image(self, name: str) -> nibabel.Nifti1Image:
        if (volume := self._voxels.get(name)) is None:
            return nibabel.load(name)
        image = as_nifti(volume)
        # MONAI makes this type and this order of what it reads, in two copies one after the other.
        return as_read(image, in_rows(np.asanyarray(image.dataobj), self._kind))


def in_rows(array: np.ndarray, kind: np.dtype | None = None) -> np.ndarray:
    """A copy of an array in C order, of another type where one is named.

    A volume in Fortran order is turned plane by plane, several at a time: a plane stays in a core's own memory, where
    one voxel after the other comes from another page of the volume otherwise.
    """
    made = np.empty(array.shape, array.dtype if kind is None else kind)
    if array.ndim != 3 or not array.flags.f_contiguous:
        made[...] = array
        return made

    def turn(j: int) -> None:
        made[:, j] = np.ascontiguousarray(array[:, j].T).T

    on_cores(turn, range(array.shape[1]))
    return made


def loads_from_memory(chain: Compose, files: Iterable[Path]) -> bool:
    """Whether nothing in a chain opens these files but MONAI's own reader of NIfTI files."""
    names = tuple(map(str, files))
    transforms = list(_all(chain.transforms))
    loaders = [loader for t in transforms if (loader := _loader(t)) is not None]
    return bool(loaders) and all(map(_is_known, transforms)) and all(_reader(one, names) is not None for one in loaders)


def from_memory(transform: Any, voxels: Voxels | None) -> Callable[[Any], Any]:
    """A transform that finds these volumes where it would read their files; itself where it reads none."""
    loader = _loader(transform) if voxels else None
    if loader is None or not voxels or (like := _reader(loader, tuple(voxels))) is None:
        return transform
    reader = MemoryReader(like, voxels, loader.dtype)
    return lambda data: transform(data, reader)


def asked_for(files: Iterable[Path], error: BaseException) -> bool:
    """Whether a chain may have failed because it opened one of these files after all."""
    names = tuple(map(str, files))
    return any(
        isinstance(cause, OSError) or any(name in str(cause) for name in names) for cause in causes(error, context=True)
    )


def _all(transforms: Iterable[Any]) -> Iterator[Any]:
    for transform in transforms:
        yield transform
        if isinstance(transform, Compose):
            yield from _all(transform.transforms)


def _loader(transform: Any) -> LoadImage | None:
    if type(transform) is LoadImaged:
        return transform._loader
    return transform if type(transform) is LoadImage else None


def _is_known(transform: Any) -> bool:
    # A function of one's own may do anything with what it is given, and an image says which file it comes from.
    return type(transform).__module__.startswith(KNOWN) and not isinstance(transform, (Lambda, Lambdad))


def _reader(loader: LoadImage, names: tuple[str, ...]) -> NibabelReader | None:
    """The reader that a loader would take for these files, if it is MONAI's own for NIfTI and reads to the CPU."""
    found: Any = None
    for reader in reversed(loader.readers):
        with suppress(Exception):
            if not loader.auto_select or reader.verify_suffix(names):
                found = reader
                break
    plain = type(found) is NibabelReader and not found.kwargs and not getattr(found, "to_gpu", False)
    return found if plain else None
