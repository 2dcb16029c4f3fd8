"""Volumes as the network gets them: through the chain as one piece, or cut into pictures and through it one by one.

What follows is the same for both: every piece has its trail, its way back and its input for the network, and the maps
of all pieces together make the heatmap of the volume.
"""

from __future__ import annotations

import warnings
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BundleError, CAMOverlayError, OutputError, PlacementError, PreprocessingError, VolumeError
from ..field_of_view import Slab
from ..peaks import peak_of
from ..request import FieldOfView, Placement
from .chance import generators_restored, note, same_draws
from .grid import Grid
from .methods.method import Step
from .model import Model
from .placing import Placed, Way, choose_way, place
from .slices import Stack, cut, grid_of, picture_writers
from .trail import Trail, run_chain
from .volume import Volume, native, write_nifti


@dataclass(frozen=True)
class Prepared:
    """What the chain made of the volumes.

    Attributes:
        volume: the first of them, on whose grid the heatmap will lie.
        trails: one, or one a picture.
        images: what the network gets of each, 1×C×spatial.
        stack: how the volume was cut; None where it was not.
        notes: what the user should know of the chain.
    """

    volume: Volume
    trails: tuple[Trail, ...]
    images: tuple[Tensor, ...]
    stack: Stack | None = None
    notes: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        return grid_of(self.volume)

    def piece_at(self, voxel: tuple[int, int, int]) -> int:
        """Which piece a voxel (I, J, K) of the volume belongs to."""
        return 0 if self.stack is None else int(round((self.stack.to_stack @ [*voxel, 1])[2]))

    def words(self) -> str:
        """What the network was given, where it is not the volume as a whole."""
        if self.stack is None:
            return ""
        kind = f"{self.stack.orientation} " if self.stack.orientation else ""
        return f"{len(self.trails)} {kind}picture{'s' * (len(self.trails) > 1)}"


def prepare(
    model: Model, volumes: Sequence[Volume], folder: str, slices: str | None, keep_images: bool, step: Step
) -> Prepared:
    """Run the chain on the volumes, written as the files that its loader reads.

    Args:
        folder: existing; the files are in it for the time that the chain runs.
        slices: orientation of the pictures for a network that takes such.
        keep_images: keep every step's image, for the trail.

    Raises:
        PlacementError: the voxels contradict the affine, so that nothing need be computed.
        PreprocessingError, BundleError, VolumeError: the chain fails, or does not end with what the network takes.
    """
    if model.takes_pictures:
        return _prepare_pictures(model, volumes, folder, slices, keep_images, step)
    if slices is not None:
        raise VolumeError(f"'{slices}' slices were asked for, but '{model.info.name}' takes volumes. Leave the slices out.")
    with _scratch(folder) as scratch:
        files = [write_nifti(v, scratch / f"channel_{i}.nii") for i, v in enumerate(volumes)]
        volume = volumes[0]
        try:
            trail = _through_chain(
                model, files, step, keep_images, _witnessed(volumes), grid_of(volume), image_key=model.image_key
            )
            image = network_input(trail, model)
        except (PreprocessingError, PlacementError, BundleError) as error:
            _require_channels(model, volumes, error)
            raise
    choose_way(trail)
    trail.witness.forget()
    return Prepared(volume, (trail,), (image,), notes=note(trail.transforms))


def _prepare_pictures(
    model: Model, volumes: Sequence[Volume], folder: str, slices: str | None, keep_images: bool, step: Step
) -> Prepared:
    stacks = [cut(volume, slices) for volume in volumes]
    count = len(stacks[0])
    trails, images = [], []
    works: int | None = None  # which way to write a picture suits this chain
    for number in range(count):
        step(number, count, f"picture {number + 1} of {count}")
        pictures = [stack.picture(number) for stack in stacks]
        works, trail, image = _picture_through_chain(model, pictures, folder, keep_images, works)
        choose_way(trail)
        trail.witness.forget()
        trails.append(trail)
        images.append(image)
    return Prepared(volumes[0], tuple(trails), tuple(images), stacks[0], note(trails[0].transforms))


def _through_chain(model: Model, *arguments: Any, **options: Any) -> Trail:
    """:func:`run_chain`, with the same draws each time where the chain draws at random."""
    seed = 0 if model.folder else None  # a bundle has no state that its user could have set
    with generators_restored(seed=0):
        return run_chain(same_draws(model.chain, seed), *arguments, **options)


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
        f"its preprocessing makes no more of them: {error} Give one volume a channel, in that order."
    ) from error


def _picture_through_chain(
    model: Model, pictures: list[Volume], folder: str, keep_images: bool, works: int | None
) -> tuple[int, Trail, Tensor]:
    """Which way of writing it worked, the trail, and the network's input.

    Raises:
        CAMOverlayError: none of them; what the likeliest one met.
    """
    first: CAMOverlayError | None = None
    for number, (write, flat, written) in enumerate(picture_writers(pictures, model.info.channels)):
        if works not in (None, number):
            continue
        try:
            with _scratch(folder) as scratch:
                trail = _through_chain(
                    model, write(scratch), None, keep_images, _witnessed(pictures), grid_of(pictures[0]), flat,
                    model.image_key, written,
                )  # fmt: skip
            return number, trail, network_input(trail, model)
        except OutputError:
            raise
        except CAMOverlayError as error:
            first = first or error
    assert first is not None
    raise first


def _witnessed(volumes: Sequence[Volume]) -> list[torch.Tensor]:
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


def network_input(trail: Trail, model: Model) -> Tensor:
    """1×C×spatial as a plain tensor: affine and operations stay with the trail.

    Raises:
        VolumeError: another number of channels than the bundle expects.
        BundleError: the chain does not end channel-first.
    """
    image = trail.image.as_tensor()
    ndim = 2 if trail.flat else 3
    if image.ndim != ndim + 1:
        raise BundleError(
            f"The preprocessing ends with an image of shape {tuple(image.shape)}, without a channel axis. "
            "Let the chain contain EnsureChannelFirst."
        )
    if model.takes_pictures and not trail.flat:
        if image.shape[-1] != 1:
            raise BundleError(f"The preprocessing ends with an image of shape {tuple(image.shape)}, which is no picture.")
        image = image[..., 0]
    expected = model.info.channels
    if expected is not None and image.shape[0] != expected:
        names = ", ".join(model.info.channel_names)
        raise VolumeError(
            f"Bundle '{model.info.name}' expects {expected} channel(s){f' ({names})' if names else ''}, "
            f"the given volumes make {image.shape[0]}. Give one volume a channel, in that order."
        )
    # The network's weights are float32; integers and doubles come from chains that leave the cast to the trainer.
    return image[None].float()


@dataclass(frozen=True)
class Overlay:
    """A heatmap on the volume's grid (float32, I×J×K, Fortran order), and how sure and how complete it is.

    Its largest value is 1, or it is 0 everywhere. ``scale`` is what that value was of the maps' largest one: less than
    1 where that one lies between voxels, or is averaged with the rest of its voxel, or outside of the volume.
    """

    array: np.ndarray
    placement: Placement
    field_of_view: FieldOfView
    scale: float = 1.0

    @property
    def peak(self) -> tuple[int, int, int] | None:
        """Voxel (I, J, K) of the largest value; None of a map that is 0 everywhere."""
        return peak_of(self.array)


def put_back(
    prepared: Prepared,
    ways: Sequence[Way],
    heats: Sequence[Tensor | None],
    verify: bool,
    blocks: bool,
    step: Step,
    steps: tuple[float, ...] | None = None,
) -> Overlay:
    """The maps of all pieces (spatial, with a third axis; None where there is nothing to show) on the volume.

    Args:
        steps: of the maps, see :func:`.inverse.activation_grid`.

    Raises:
        PlacementError: the operations cannot be inverted.
    """
    stack = prepared.stack
    if stack is None:
        placed, placement = place(heats[0], prepared.trails[0], ways[0], verify, blocks, steps)
        field_of_view = FieldOfView(placed.region.share, placed.region.planes)
        return _normalised(placed.array, placement, field_of_view, prepared.volume)
    array = np.zeros(prepared.volume.shape, dtype=np.float32, order="F")
    target = stack.view(array)
    hottest = max(range(len(heats)), key=lambda n: float(heats[n].max()) if heats[n] is not None else -1.0)
    shares, placements, fields = [], {}, []
    for number, (trail, way, heat) in enumerate(zip(prepared.trails, ways, heats, strict=True)):
        step(number, len(heats), f"picture {number + 1} of {len(heats)}")
        values = torch.zeros(1, 1, 1) if heat is None else heat
        placed, placements[number] = place(values, trail, way, verify and number == hottest, blocks, None if heat is None else steps)
        target[:, :, number] = placed.array[:, :, 0]
        shares.append(placed.region.share)
        fields.append(placed)
    placement = placements[hottest]
    if len(heats) > 1:
        verified = sum(p.verdict == "verified" for p in placements.values())
        words = f"{placement.words} That is picture {hottest + 1}; {verified} of {len(heats)} pictures are verified."
        seconds = sum(p.seconds for p in placements.values())
        placement = dataclasses.replace(placement, words=words, seconds=seconds)
    field_of_view = FieldOfView(float(np.mean(shares)), _common_planes(fields, stack))
    return _normalised(array, placement, field_of_view, prepared.volume)


def _normalised(array: np.ndarray, placement: Placement, field_of_view: FieldOfView, volume: Volume) -> Overlay:
    """The overlay with 1 as its largest value.

    Raises:
        PlacementError: the map has not the volume's shape.
    """
    if array.shape != volume.shape:
        raise PlacementError(
            f"The heatmap came back with {array.shape} voxels, and the volume has {volume.shape}: a transform of the "
            "preprocessing changed the image's size and says otherwise. Check its affine and its inverse."
        )
    scale = float(array.max())
    if scale > 0 and scale != 1:
        array /= np.float32(scale)
        # Rounding must not leave the largest value beside 1.
        np.minimum(array, 1, out=array)
        if placement.difference is not None:
            placement = dataclasses.replace(placement, difference=placement.difference / scale)
    return Overlay(array, placement, field_of_view, scale)


def _common_planes(placed: Sequence[Placed], stack: Stack) -> tuple[tuple[float, ...], ...] | None:
    """The planes of all pictures in voxel indices of the volume; None where they are not the same for all."""
    found_of = [p.region.planes for p in placed]
    first = found_of[0]
    if any(planes is None for planes in found_of):
        return None
    if any(len(planes) != len(first) or not np.allclose(planes, first) for planes in found_of[1:]):
        return None
    found = []
    for slab in placed[0].region.slabs:
        normal, offset = slab.normal @ stack.to_stack[:3, :3], float(slab.normal @ stack.to_stack[:3, 3])
        moved = Slab(normal, slab.low - offset, slab.high - offset)
        if abs(slab.normal[2]) < 1e-6 * np.abs(slab.normal).max():  # across the stack every slice was seen
            found.append((*(float(n) for n in moved.normal), moved.low, moved.high))
    return tuple(found)


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


def parts(step: Callable[[int, int, str], None], number: int, count: int) -> Step:
    """Progress of one piece among several, as progress of the whole."""
    if count == 1:
        return step
    return lambda done, of, words: step(
        number * max(1, of) + done, count * max(1, of), f"picture {number + 1} of {count}"
    )
