"""Volumes as the network gets them: through the chain as one piece, or cut into pictures and through it one by one.

What follows is the same for both: every piece has its trail, its way back and its input for the network, and the maps
of all pieces together make the heatmap of the volume.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...contract.errors import (
    BundleError,
    CAMOverlayError,
    OutputError,
    PlacementError,
    PreprocessingError,
    VolumeError,
)
from ...contract.geometry import Grid
from ..bundle.model import Model
from ..geometry.slice_stack import Stack, cut, picture_writers
from ..geometry.volume import Volume, native, write_nifti
from ..progress import Step
from .from_memory import asked_for, loads_from_memory
from .memory import need_of
from .random_state import generators_restored, note, same_draws
from .trace import VOLUMES, FileForm, PreprocessingTrace, trace_preprocessing

Examine = Callable[[PreprocessingTrace], None]


@dataclass(frozen=True)
class NetworkInputs:
    """What the chain made of the volumes.

    Attributes:
        volume: the first of them, on whose grid the heatmap will lie.
        trails: one, or one a picture.
        images: what the network gets of each, 1×C×spatial.
        stack: how the volume was cut; None where it was not.
        notes: what the user should know of the chain.
    """

    volume: Volume
    traces: tuple[PreprocessingTrace, ...]
    images: tuple[Tensor, ...]
    stack: Stack | None = None
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        return self.volume.grid

    def piece_at(self, voxel: tuple[int, int, int]) -> int:
        """Which piece a voxel (I, J, K) of the volume belongs to."""
        return 0 if self.stack is None else round((self.stack.to_stack @ [*voxel, 1])[2])

    def words(self) -> str:
        """What the network was given, where it is not the volume as a whole."""
        if self.stack is None:
            return ""
        kind = f"{self.stack.orientation} " if self.stack.orientation else ""
        return f"{len(self.traces)} {kind}picture{'s' * (len(self.traces) > 1)}"


def prepare(
    model: Model,
    volumes: Sequence[Volume],
    folder: str,
    slices: str | None,
    keep_images: bool,
    step: Step,
    examine: Examine,
) -> NetworkInputs:
    """Run the chain on the volumes, under the names of the files that its loader reads.

    Args:
        folder: existing; what is written of these files is in it for the time that the chain runs.
        slices: orientation of the pictures for a network that takes such.
        keep_images: keep every step's image, to write it.
        examine: called with every trace; raising from it ends the run.

    Raises:
        PlacementError: the voxels contradict the affine, so that nothing need be computed.
        PreprocessingError, BundleError, VolumeError: the chain fails, or does not end with what the network takes.
        DeviceError: the loaded image does not fit into memory.
    """
    if model.takes_pictures:
        return _prepare_pictures(model, volumes, folder, slices, keep_images, step, examine)
    if slices is not None:
        raise VolumeError(
            f"'{slices}' slices were asked for, but '{model.info.name}' takes volumes. Leave the slices out."
        )
    need = need_of(model.chain, volumes)
    need.require()
    said = f" ({words})" if (words := need.words()) else ""
    with _scratch(folder) as scratch:
        files = {scratch / f"channel_{i}.nii": v for i, v in enumerate(volumes)}
        volume = volumes[0]
        try:
            trace = _through_chain(
                model,
                files,
                lambda number, count, words: step(number, count, words + said),
                keep_images,
                _monitored(volumes),
                volume.grid,
                image_key=model.image_key,
            )
            image = network_input(trace, model)
        except (PreprocessingError, PlacementError, BundleError) as error:
            _require_channels(model, volumes, error)
            raise
    examine(trace)
    notes = (*note(trace.transforms), *filter(None, [need.note()]))
    return NetworkInputs(volume, (trace,), (image,), notes=notes)


def _prepare_pictures(
    model: Model,
    volumes: Sequence[Volume],
    folder: str,
    slices: str | None,
    keep_images: bool,
    step: Step,
    examine: Examine,
) -> NetworkInputs:
    stacks = [cut(volume, slices) for volume in volumes]
    count = len(stacks[0])
    traces, images = [], []
    works: int | None = None  # which way to write a picture suits this chain
    for number in range(count):
        step(number, count, f"picture {number + 1} of {count}")
        pictures = [stack.picture(number) for stack in stacks]
        works, trace, image = _picture_through_chain(model, pictures, folder, keep_images, works)
        examine(trace)
        traces.append(trace)
        images.append(image)
    return NetworkInputs(volumes[0], tuple(traces), tuple(images), stacks[0], note(traces[0].transforms))


def _through_chain(
    model: Model,
    files: Mapping[Path, Volume] | Sequence[Path],
    *arguments: Any,
    form: FileForm = VOLUMES,
    **options: Any,
) -> PreprocessingTrace:
    """:func:`trace_preprocessing`, with the same draws each time where the chain draws at random.

    Args:
        files: files, or volumes that are written as such where something in the chain asks for a file.
    """
    seed = 0 if model.folder else None  # a bundle has no state that its user could have set

    def trace(form: FileForm) -> PreprocessingTrace:
        named: dict[str, Any] = {**options, "form": form}
        with generators_restored(seed=0):
            return trace_preprocessing(same_draws(model.chain, seed), list(files), *arguments, **named)

    if isinstance(files, Mapping):
        if loads_from_memory(model.chain, files):
            try:
                return trace(replace(form, voxels={str(file): volume for file, volume in files.items()}))
            except PreprocessingError as error:
                if not asked_for(files, error):
                    raise
        for file, volume in files.items():
            write_nifti(volume, file)
    return trace(form)


def _require_channels(model: Model, volumes: Sequence[Volume], error: Exception) -> None:
    """Where a chain failed on another number of volumes than the network has channels, that is what is said.

    Asked only then: a chain may well make several channels of one volume.

    Raises:
        VolumeError: as many volumes were not given.
    """
    expected, given = model.info.channels, sum(v.components for v in volumes)
    if expected is None or expected == given or isinstance(error, PlacementError):
        return
    names = ", ".join(model.info.channel_names)
    raise VolumeError(
        f"Bundle '{model.info.name}' expects {expected} channel(s){f' ({names})' if names else ''}, {given} given, and "
        f"its preprocessing makes no more of them: {error} Give one volume per channel, in that order."
    ) from error


def _picture_through_chain(
    model: Model, pictures: list[Volume], folder: str, keep_images: bool, works: int | None
) -> tuple[int, PreprocessingTrace, Tensor]:
    """Which way of writing it worked, the trail, and the network's input.

    Raises:
        CAMOverlayError: none of them; what the likeliest one met.
    """
    first: CAMOverlayError | None = None
    for number, (write, is_2d, written) in enumerate(picture_writers(pictures, model.info.channels)):
        if works not in (None, number):
            continue
        try:
            with _scratch(folder) as scratch:
                trace = _through_chain(
                    model,
                    write(scratch),
                    None,
                    keep_images,
                    _monitored(pictures),
                    pictures[0].grid,
                    model.image_key,
                    form=FileForm(is_2d, written),
                )
            return number, trace, network_input(trace, model)
        except OutputError:
            raise
        except CAMOverlayError as error:
            first = first or error
    assert first is not None
    raise first


def _monitored(volumes: Sequence[Volume]) -> list[torch.Tensor]:
    """I×J×K of every channel of every volume: what the chain's channels are compared with."""
    found = []
    for volume in volumes:
        arrays = [volume.array] if volume.components == 1 else [volume.array[..., c] for c in range(volume.components)]
        for array in map(native, arrays):
            if any(s < 0 for s in array.strides):
                array = np.array(array)  # a turned picture; torch knows no negative strides
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that a mapped file cannot be written to, which is not intended
                found.append(torch.from_numpy(array))
    return found


def network_input(trace: PreprocessingTrace, model: Model) -> Tensor:
    """1×C×spatial as a plain tensor: affine and operations stay with the trail.

    Raises:
        VolumeError: another number of channels than the bundle expects.
        BundleError: the chain does not end channel-first.
    """
    image = trace.image.as_tensor()
    ndim = 2 if trace.is_2d else 3
    if image.ndim != ndim + 1:
        raise BundleError(
            f"The preprocessing ends with an image of shape {tuple(image.shape)}, without a channel axis. "
            "Let the chain contain EnsureChannelFirst."
        )
    if model.takes_pictures and not trace.is_2d:
        if image.shape[-1] != 1:
            raise BundleError(
                f"The preprocessing ends with an image of shape {tuple(image.shape)}, which is not a picture."
            )
        image = image[..., 0]
    expected = model.info.channels
    if expected is not None and image.shape[0] != expected:
        names = ", ".join(model.info.channel_names)
        raise VolumeError(
            f"Bundle '{model.info.name}' expects {expected} channel(s){f' ({names})' if names else ''}, "
            f"the given volumes make {image.shape[0]}. Give one volume per channel, in that order."
        )
    # The network's weights are float32; integers and doubles come from chains that leave the cast to the trainer.
    return image[None].float()


@contextmanager
def _scratch(folder: str) -> Iterator[Path]:
    """A folder for files that only this run needs, gone afterwards."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="scratch-") as path:
            yield Path(path)
    except OSError as error:
        # Of this folder only: what the chain reads elsewhere is its own affair.
        if error.filename is None or str(folder) not in str(error.filename):
            raise
        raise OutputError(f"Cannot write to '{folder}': {error.strerror}. Choose another output folder.") from error
