"""Runs a preprocessing chain one transform at a time and keeps the evidence of what each did.

The order, the precision and the laziness are those of ``monai.transforms.Compose``: the network gets exactly the
input it would have got from the chain itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing, to_affine_nd
from monai.transforms import Compose, MapTransform, Transform
from monai.transforms.lazy.functional import apply_pending_transforms, apply_pending_transforms_in_order
from monai.transforms.lazy.utils import (
    affine_from_pending,
    combine_transforms,
    is_compatible_apply_kwargs,
    kwargs_from_pending,
)
from monai.transforms.transform import apply_transform
from monai.transforms.utils import allow_missing_keys_mode
from monai.utils import CommonKeys, LazyAttr

from ...contract.errors import PlacementError, PreprocessingError, root_cause
from ...contract.geometry import Grid, affine_rows
from ...contract.request import TransformStep
from ..alignment.monitor import AlignmentMonitor, same_voxels
from ..bundle.needs import advice, what_went_wrong
from .from_memory import Voxels, from_memory
from .in_place import MirroredInPlace, is_first_orientation
from .slabs import resampled_in_slabs

ANSWERS = ("label", "labels", "seg", "mask", "pred")
"""Keys that training and evaluation need, and nobody has when asking."""


READ_THE_AFFINE = ("Spacing", "Orientation", "SpatialResample", "ResampleToMatch")
"""Transforms of MONAI whose result depends on the affine that they find."""


@dataclass(frozen=True)
class PreprocessingTrace:
    """A chain that was run: its result and what led there.

    Attributes:
        chain: the chain, and ``transforms`` its transforms as they were run; they still know how to invert.
        key: the dictionary key of the image, or None for an array chain.
        image: what goes into the network, C×I×J×K, with its ``affine`` and ``applied_operations``.
        volume_grid: where the original volume lies, which the loader need not have returned as it is.
        grids: the voxel grid after every step, beginning with what was loaded; while a lazy chain only plans, the
            planned one.
        executed: the grids that the voxels really were on, each with the number of the step that it was reached after:
            what lies outside of one of them never reached the network.
        lazily: first and last number of the steps that one lazy resampling executed together.
        steps: the same for readers.
        monitor: what the voxels say of the affine.
        images: every step's image, where the caller asked to keep them.
        is_2d: the chain handles pictures, C×I×J; grids and heatmaps of it have a third axis of one voxel all the same.
        loader_to_ras: 4×4 from the world that the loader speaks of to RAS mm: a picture file knows no millimetres.
        keys: the key of the image after every step: merging several of them gives it another.
        records: how many operations the image carried after every step, the pending ones included.
    """

    chain: Compose
    transforms: tuple[Any, ...]
    key: str | None
    image: MetaTensor
    volume_grid: Grid
    grids: tuple[Grid, ...]
    executed: tuple[tuple[int, Grid], ...]
    lazily: tuple[tuple[int, int], ...]
    steps: tuple[TransformStep, ...]
    monitor: AlignmentMonitor
    images: tuple[MetaTensor, ...] = ()
    is_2d: bool = False
    loader_to_ras: np.ndarray = field(default_factory=lambda: np.eye(4))
    keys: tuple[str | None, ...] = ()
    records: tuple[int, ...] = ()

    def grid_of(self, image: MetaTensor) -> Grid:
        """Where an image of this chain (C×I×J×K, or C×I×J of a flat one) lies in the patient."""
        affine = self.loader_to_ras @ to_affine_nd(3, np.asarray(image.affine, dtype=np.float64))
        return Grid(_as_3d(tuple(int(n) for n in image.shape[1:]), self.is_2d), affine)

    def affine_of(self, grid: Grid) -> torch.Tensor:
        """The affine of an image of this chain on a grid, in the world that the loader speaks of."""
        rank = len(torch.as_tensor(self.image.affine)) - 1
        return torch.from_numpy(to_affine_nd(rank, np.linalg.inv(self.loader_to_ras) @ grid.affine))

    def as_3d(self, image: MetaTensor) -> torch.Tensor:
        """C×I×J×K of an image of this chain; a picture's K is 1."""
        values = image.as_tensor()
        return values[..., None] if self.is_2d else values

    @property
    def input_grid(self) -> Grid:
        return self.grids[-1]


@dataclass(frozen=True)
class FileForm:
    """What the files of an image are.

    Attributes:
        is_2d: pictures, I×J, so the chain is one for pictures.
        written: the affine (4×4) that they carry, where that is not the grid's: a picture file knows no millimetres.
        voxels: what is in them, where they were not written and the loader finds it in memory.
    """

    is_2d: bool = False
    written: np.ndarray | None = None
    voxels: Voxels | None = None


VOLUMES = FileForm()


def trace_preprocessing(
    chain: Compose,
    files: Sequence[Path],
    report: Callable[[int, int, str], None] | None = None,
    keep_images: bool = False,
    original: torch.Tensor | Sequence[torch.Tensor] | None = None,
    grid: Grid | None = None,
    image_key: str | None = None,
    form: FileForm = VOLUMES,
) -> PreprocessingTrace:
    """Run a chain on image files, one transform at a time.

    Args:
        chain: dictionary or array transforms, beginning with one that loads.
        files: one file per channel, all on the same grid; several are handed to the loader as a list.
        report: called before each step with its index, the number of steps and its name.
        keep_images: keep every step's image, for those who want to look at them.
        original: the voxels (I×J×K), or those of each channel, which all that comes later is compared with; None
            believes the loader.
        grid: where they really are, as their file may not be able to say it; None believes the loader.
        image_key: the key of the network's input, where the bundle names it.
        form: what the files are, where they are not volumes.

    Raises:
        PreprocessingError: a transform failed; its name and its reason are in the message.
        PlacementError: the chain's result is not one MetaTensor, so nobody can say where its voxels came from.
    """
    given = _Given(tuple(files), original, grid, form.is_2d, image_key, form.written, form.voxels)
    tracing = _Tracing(chain, given, keep_images)
    for number, link in enumerate(tracing.links):
        if report is not None:
            report(number, len(tracing.links), link.name)
        tracing.step(number)
    return tracing.finish()


@dataclass(frozen=True)
class _Given:
    """What :func:`trace_preprocessing` was given besides the chain."""

    files: tuple[Path, ...]
    original: torch.Tensor | Sequence[torch.Tensor] | None
    grid: Grid | None
    is_2d: bool
    image_key: str | None
    written: np.ndarray | None
    voxels: Voxels | None = None

    @property
    def originals(self) -> list[torch.Tensor]:
        return [self.original] if isinstance(self.original, torch.Tensor) else list(self.original or ())


@dataclass(frozen=True)
class _Ran:
    """One transform applied.

    Attributes:
        settled: the image as the transform got it, with what was pending executed where it needs it so.
        planning: the image as it left the transform, before anything that is pending was executed.
    """

    data: Any
    settled: MetaTensor | None
    planning: MetaTensor | None
    seconds: float


class _Tracing:
    """A chain that is being run, and what is known of it so far."""

    def __init__(self, chain: Compose, given: _Given, keep_images: bool) -> None:
        self.links = list(_links(chain, chain.lazy))
        if not self.links:
            raise PreprocessingError("The preprocessing chain is empty; it must at least load the image (LoadImaged).")
        self.links[-1].ends.append(chain.overrides)
        self._chain, self._given, self._keep_images = chain, given, keep_images
        self._transforms = tuple(link.transform for link in self.links)
        self._keys = _input_keys(self._transforms)
        files = given.files
        named = self._keys if len(self._keys) <= len(files) else tuple(k for k in self._keys if k not in ANSWERS)
        self._given_keys = named or self._keys
        self._missing = len(self._given_keys) < len(self._keys) or len(files) == 1 < len(self._keys)
        self._data = _chain_input(self._given_keys, files)
        self._image: MetaTensor | None = None
        self._key: str | None = None
        self._loader_to_ras = np.eye(4)
        self._planned = 0  # the first step of those that are pending
        self._grids: list[Grid] = []
        self._executed: list[tuple[int, Grid]] = []
        self._lazily: list[tuple[int, int]] = []
        self._steps: list[TransformStep] = []
        self._images: list[MetaTensor] = []
        self._names: list[str | None] = []
        self._records: list[int] = []
        self._monitor = AlignmentMonitor(given.originals, given.is_2d, given.grid)

    def step(self, number: int) -> None:
        """Run one transform, and note what it did.

        Raises:
            PreprocessingError, PlacementError: as :func:`trace_preprocessing`.
        """
        link, before_it, data_before = self.links[number], self._image, self._data
        recorded_before, pending = _records(before_it), _pending(before_it)  # the step may change them in place
        ran = self._apply(number, link)
        if pending and ran.settled is not None and not ran.settled.pending_operations:
            self._note_executed_before(number, link, before_it, pending, ran.settled)
            before_it, pending = ran.settled, []
        image = self._take_image(number, link, ran.data, data_before)
        self._require_image(number, link, image, recorded_before)
        self._image = image
        if not self._grids and self._given.grid is not None:
            self._place_loader(image)
        self._note(number, link, before_it, pending, ran, recorded_before)

    @resampled_in_slabs()
    def _apply(self, number: int, link: _Link) -> _Ran:
        transform, started = link.transform, time.perf_counter()
        try:
            absent = self._missing and isinstance(transform, MapTransform)
            several = number == 0 and isinstance(self._data, list)  # the files of one image, not several images
            in_place = MirroredInPlace() if self._is_alone(number, link) else nullcontext()
            with allow_missing_keys_mode(transform) if absent else nullcontext(), in_place:
                data = link.settle(self._data)
                settled = _image_in(data, self._key)
                map_items = link.map_items and not several
                run = from_memory(transform, self._given.voxels)
                data = apply_transform(
                    run, data, map_items, link.unpack_items, lazy=link.lazy, overrides=link.overrides
                )
            planning = _image_in(data, self._key)
            for overrides in link.ends:
                data = apply_pending_transforms(data, None, overrides)
        except Exception as error:
            words = _failure(transform, number, error, self._image, self._keys, self._given_keys)
            raise PreprocessingError(words) from error
        return _Ran(data, settled, planning, time.perf_counter() - started)

    def _is_alone(self, number: int, link: _Link) -> bool:
        """Whether this step mirrors an image that is in one place only, and was seen to be the volume itself."""
        voxels = self._given.voxels or {}
        return (
            len(self._given.files) == 1
            and str(self._given.files[0]) in voxels
            and not self._keep_images
            and is_first_orientation(self._transforms, number, link.lazy)
            and self._monitor.look_at_original()
        )

    def _note_executed_before(
        self, number: int, link: _Link, before_it: MetaTensor | None, pending: list[Any], settled: MetaTensor
    ) -> None:
        """Executed before this step began: what was planned so far is an image of its own, and is looked at as one."""
        is_2d, last = self._given.is_2d, number - 1
        through = _resampled_on(before_it, pending, link.overrides, self._key, self._loader_to_ras, is_2d)
        self._executed += [(last, grid) for grid in through]
        self._grids[-1] = _grid_after(settled, None, self._grids[-1], self._loader_to_ras, is_2d)
        self._executed.append((last, self._grids[-1]))
        self._lazily.append((self._planned, last))
        self._monitor.observe(last, self._transforms[last], settled, self._grids[-1])

    def _take_image(self, number: int, link: _Link, data: Any, data_before: Any) -> MetaTensor:
        """The network's image among what the step returned."""
        made = getattr(link.transform, "name", None)
        if isinstance(made, str) and isinstance(data, dict) and made in data:
            self._keys = (made, *self._keys)  # ConcatItems: from here on that is the image
            data = _adopted(data, made, link.transform, data_before, self._transforms[number + 1 :])
        self._data = data
        self._key, image = _find_image(data, self._keys, link.name, self._given.image_key)
        return image

    @staticmethod
    def _require_image(number: int, link: _Link, image: MetaTensor, recorded_before: int) -> None:
        if 0 in (shape := tuple(int(n) for n in image.peek_pending_shape())) or not image.numel():
            raise PreprocessingError(
                f"Transform {number + 1} of the preprocessing, {link.name}, leaves no voxel of the image (shape "
                f"{shape}). Check that the volume holds what it looks for, such as a foreground above its threshold."
            )
        if _records(image) < recorded_before:
            raise PlacementError(
                f"Transform {number + 1} of the preprocessing, {link.name}, dropped the image's history: "
                f"{recorded_before} saved operations before it, {_records(image)} after. Its author must keep "
                "applied_operations (MetaTensor.copy_meta_from) and add to them."
            )

    def _place_loader(self, image: MetaTensor) -> None:
        """The world that the loader speaks of, from what it made of the file."""
        grid, originals, written = self._given.grid, self._given.originals, self._given.written
        assert grid is not None
        carried = grid.affine if written is None else written
        self._loader_to_ras = _frame(grid, image, originals[0] if originals else None, carried)

    def _note(
        self, number: int, link: _Link, before_it: MetaTensor | None, pending: list[Any], ran: _Ran, recorded: int
    ) -> None:
        """Where the image lies after the step, on which grids its voxels were, and what the voxels say of it."""
        image, is_2d = self._image, self._given.is_2d
        assert image is not None
        before = self._grids[-1] if self._grids else None
        after = _grid_after(image, before_it, before or self._given.grid, self._loader_to_ras, is_2d)
        if not pending:
            self._planned = number
        if not image.pending_operations:
            if (waiting := _pending(ran.planning)) or pending:
                overrides = link.ends[0] if link.ends else None
                through = _resampled_on(ran.planning, waiting, overrides, self._key, self._loader_to_ras, is_2d)
                self._executed += [(number, grid) for grid in through]
                self._lazily.append((self._planned, number))
            elif isinstance(link.transform, Compose) and (link.transform.lazy if link.lazy is None else link.lazy):
                self._lazily.append((number, number))  # SomeOf and its kind: whatever they chose was one resampling
            self._executed.append((number, after))
        evidence = self._monitor.observe(number, link.transform, image, after)
        self._steps.append(_describe(link.transform, before, after, image, recorded, ran.seconds, evidence))
        self._grids.append(after)
        self._names.append(self._key)
        self._records.append(_records(image))
        if self._keep_images:
            self._images.append(image)

    def finish(self) -> PreprocessingTrace:
        """The trace of the whole chain.

        Raises:
            PlacementError: something is still pending that nothing executes.
        """
        image = self._image
        assert image is not None
        if image.pending_operations:
            raise PlacementError(
                f"{self._steps[-1].name} left {len(image.pending_operations)} lazy operations that nothing executes, "
                "so the network would not get what the affine says. Let the chain apply them (ApplyPending, or "
                "Compose(lazy=True))."
            )
        return PreprocessingTrace(
            chain=self._chain,
            transforms=self._transforms,
            key=self._key,
            image=image,
            volume_grid=self._given.grid or self._grids[0],
            grids=tuple(self._grids),
            executed=tuple(self._executed),
            lazily=tuple(self._lazily),
            steps=tuple(self._steps),
            monitor=self._monitor,
            images=tuple(self._images),
            is_2d=self._given.is_2d,
            loader_to_ras=self._loader_to_ras,
            keys=tuple(self._names),
            records=tuple(self._records),
        )


@dataclass
class _Link:
    """One transform of a chain, and how ``Compose`` would run it where it stands.

    Attributes:
        begins: overrides with which inner chains that begin here execute what is pending.
        ends: overrides with which chains that end here execute what is pending.
    """

    transform: Any
    lazy: bool | None
    overrides: dict | None
    map_items: bool | int
    unpack_items: bool
    begins: list[dict | None] = field(default_factory=list)
    ends: list[dict | None] = field(default_factory=list)

    @property
    def name(self) -> str:
        return type(self.transform).__name__

    def settle(self, data: Any) -> Any:
        """The data as the transform will get it: what is pending is executed where the transform needs it so."""
        for overrides in self.begins:
            data = apply_pending_transforms(data, None, overrides)
        return apply_pending_transforms_in_order(self.transform, data, self.lazy, self.overrides)


def _links(chain: Compose, lazy: bool | None) -> Iterator[_Link]:
    """The chain's transforms, inner chains taken apart: each step is seen, and the result is what ``Compose`` gives.

    ``Compose.flatten`` would seed random transforms anew, and forgets when an inner chain resamples.

    Args:
        lazy: how the chain is run; an outer chain that says yes or no overrules what an inner one was made with.
    """
    for transform in chain.transforms:
        inner: list[_Link] = []
        if type(transform) is Compose and (transform.map_items, transform.unpack_items) == (
            chain.map_items,
            chain.unpack_items,
        ):
            inside = transform.lazy if lazy is None else lazy
            inner = list(_links(transform, inside))
            if not inner:
                continue
            if not inside:
                inner[0].begins.insert(0, chain.overrides)
            inner[-1].ends.append(transform.overrides)
            yield from inner
        else:
            yield _Link(transform, lazy, chain.overrides, chain.map_items, chain.unpack_items)


def _image_in(data: Any, key: str | None) -> MetaTensor | None:
    """The image as it is known by now, if it still is one."""
    found = data.get(key) if isinstance(data, dict) else data
    return found if isinstance(found, MetaTensor) else None


def _pending(image: MetaTensor | None) -> list[Any]:
    return [] if image is None else list(image.pending_operations)


def _resampled_on(
    image: MetaTensor,
    pending: list[Any],
    overrides: dict | None,
    key: str | None,
    loader_to_ras: np.ndarray,
    is_2d: bool,
) -> Iterator[Grid]:
    """The grids between, where ``apply_pending`` cannot execute all pending operations in one resampling: operations
    of different modes are executed one group after the other.

    Args:
        image: with the pending operations, not yet executed.
    """
    if not pending:
        return
    rank = image.spatial_ndim
    affine = to_affine_nd(rank, np.asarray(image.affine, dtype=np.float64))
    total = to_affine_nd(rank, np.asarray(affine_from_pending(pending[0]), dtype=np.float64))
    settings = kwargs_from_pending(pending[0])
    for operation in pending[1:]:
        wanted = kwargs_from_pending(operation)
        if not is_compatible_apply_kwargs(settings, wanted):
            affine = affine @ total  # MONAI goes on from there with the same matrix, and says so in the affine
            shape = tuple(int(n) for n in settings[LazyAttr.SHAPE])
            yield Grid(_as_3d(shape, is_2d), loader_to_ras @ to_affine_nd(3, affine))
        step = to_affine_nd(rank, np.asarray(affine_from_pending(operation), dtype=np.float64))
        total = np.asarray(combine_transforms(total, step))
        settings.update(wanted)


def _input_keys(transforms: Sequence[Any]) -> tuple[str, ...]:
    """Keys that the first dictionary transform expects its images under; none for an array chain."""
    first = next((t for t in transforms if isinstance(t, MapTransform)), None)
    return tuple(str(k) for k in first.keys) if first is not None else ()


def _chain_input(keys: tuple[str, ...], files: Sequence[Path]) -> Any:
    paths = [str(f) for f in files]
    whole = paths[0] if len(paths) == 1 else paths
    if not keys:
        return whole
    if len(keys) == len(paths):
        return dict(zip(keys, paths))
    return {keys[0]: whole}


def _find_image(
    data: Any, keys: tuple[str, ...], name: str, image_key: str | None = None
) -> tuple[str | None, MetaTensor]:
    if isinstance(data, (list, tuple)):
        raise PlacementError(
            f"{name} made {len(data)} samples of one volume; a heatmap needs one input. "
            "Leave patch sampling to the inferer."
        )
    key = None
    if isinstance(data, dict):
        # What the bundle names, or MONAI's engines take by default, as soon as it is there; else what was loaded first.
        wanted = (image_key or CommonKeys.IMAGE, *keys)
        key = next((k for k in wanted if k in data), None)
        if key is None:
            raise PlacementError(
                f"{name} removed the image '{keys[0]}' from the data; {sorted(map(str, data))} remain."
            )
        data = data[key]
    if not isinstance(data, MetaTensor):
        raise PlacementError(
            f"{name} returned a {type(data).__module__}.{type(data).__name__} instead of a MetaTensor, so affine and "
            "saved operations are lost and the heatmap cannot be put back. Let it return the MetaTensor it was given "
            "(convert_to_dst_type, or MetaTensor(x, meta=img.meta, applied_operations=img.applied_operations))."
        )
    return key, data


def _adopted(data: dict, made: str, transform: Any, before: Any, later: Sequence[Any]) -> dict:
    """The data with a merged image as a MetaTensor, where a transform of one's own made a plain array of several.

    Channels of one shape side by side lie where each of them lies, so affine and history of the first one hold.
    Not where a later step would read the affine: the chain itself goes on without one there.
    """
    values = data[made]
    if (
        isinstance(values, MetaTensor)
        or not isinstance(values, (np.ndarray, torch.Tensor))
        or not isinstance(before, dict)
    ):
        return data
    sources = [before[k] for k in getattr(transform, "keys", ()) if isinstance(before.get(k), MetaTensor)]
    if not sources or any(s.pending_operations or s.shape[1:] != values.shape[1:] for s in sources):
        return data
    if values.ndim != sources[0].ndim or values.shape[0] != sum(s.shape[0] for s in sources):
        return data
    if any(type(t).__name__.rstrip("dD").removesuffix("Dict") in READ_THE_AFFINE for t in later):
        return data
    first = sources[0]
    merged = MetaTensor(
        torch.as_tensor(values), meta=deepcopy(first.meta), applied_operations=deepcopy(first.applied_operations)
    )
    return data | {made: merged}


def _grid_after(
    image: MetaTensor, earlier: MetaTensor | None, before: Grid | None, loader_to_ras: np.ndarray, is_2d: bool
) -> Grid:
    """The voxel grid of an image that a transform returned.

    Args:
        earlier: the image before the transform, None for the one that loads.
        before: its grid; of the one that loads the volume's, where it is known.
    """
    ndim = 2 if is_2d else 3
    lazy = bool(image.pending_operations)
    affine = loader_to_ras @ to_affine_nd(
        3, np.asarray(image.peek_pending_affine() if lazy else image.affine, dtype=np.float64)
    )
    shape = tuple(int(n) for n in (image.peek_pending_shape() if lazy else image.shape))
    if not lazy:
        channels_last = len(shape) > ndim and before is not None and shape[:ndim] == before.shape[:ndim]
        untouched = earlier is None or tuple(earlier.shape) == shape
        # A colour image is loaded with its channels last; only a transform can bring them to the front.
        shape = shape[:ndim] if channels_last and untouched else shape[-ndim:]
    return Grid(_as_3d(tuple(int(n) for n in shape), is_2d), affine)


def _as_3d(shape: tuple[int, ...], is_2d: bool) -> tuple[int, ...]:
    """A picture's shape with a third axis of one voxel."""
    return (*shape[:2], 1) if is_2d else shape


def _frame(grid: Grid, loaded: MetaTensor, original: torch.Tensor | None, written: np.ndarray) -> np.ndarray:
    """From the loader's world to the patient.

    The file's world is known, as it was written here; and whatever other affine comes back says where the loader put
    the voxels. Only where they came back as they are is the loader's affine another name for the same place.

    Args:
        grid: of the volume, and ``original`` its voxels, where they are at hand.
        written: the affine that the file carries.
    """
    affine = to_affine_nd(3, np.asarray(loaded.affine, dtype=np.float64))
    known = np.eye(4) if written is grid.affine else grid.affine @ np.linalg.inv(written)
    if np.allclose(affine, written, rtol=1e-4, atol=1e-3):
        return known
    if original is not None and _as_it_was(loaded.as_tensor(), original) and not _same_box(grid.shape, affine, written):
        return grid.affine @ np.linalg.inv(affine)
    return known


def _as_it_was(loaded: torch.Tensor, original: torch.Tensor) -> bool:
    """Whether a loader returned the original voxels (I×J×K) in their order: alone, or as the first channel."""
    shape = tuple(original.shape)
    plans = [loaded, loaded[..., None]]
    if loaded.ndim > 2:
        plans += [loaded[0], loaded[..., 0], loaded[0, ..., None], loaded[..., None, 0]]
    return any(tuple(plan.shape) == shape and same_voxels(plan, original) for plan in plans)


def _same_box(shape: tuple[int, ...], one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two affines place voxels in the same box, mirrored or turned: of a symmetric image nothing tells them
    apart."""
    ends = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * [*(np.array(shape) - 1), 1]
    corners = [sorted(map(tuple, np.round((m @ ends.T)[:3].T, 2) + 0.0)) for m in (one, other)]
    return bool(np.allclose(corners[0], corners[1], atol=0.05))


def _records(image: MetaTensor | None) -> int:
    return 0 if image is None else len(image.applied_operations) + len(image.pending_operations)


def _describe(
    transform: Any,
    before: Grid | None,
    after: Grid,
    image: MetaTensor,
    recorded_before: int,
    seconds: float,
    evidence: str,
) -> TransformStep:
    values = image.as_tensor()
    low, high = (float(v) for v in values.aminmax())
    return TransformStep(
        name=type(transform).__name__,
        parameters=_parameters(transform),
        shape_before=before.shape if before else None,
        shape_after=after.shape,
        spacing_before=_spacing(before) if before else None,
        spacing_after=_spacing(after),
        orientation="".join(c or "?" for c in nibabel.aff2axcodes(after.affine)),
        affine=affine_rows(after.affine),
        value_range=(low, high),
        nonzero=float(torch.count_nonzero(values)) / max(1, values.numel()),
        recorded=_records(image) > recorded_before,
        seconds=seconds,
        evidence=evidence,
    )


UNTOLD = ("allow_missing_keys", "R", "tracing", "backend")
"""What transforms keep that tells nobody how they were made."""


def _parameters(transform: Any) -> dict[str, str]:
    """What a transform was made with, as far as it kept it: plain values, also of the array transform inside it."""
    found: dict[str, str] = {}
    for holder in (transform, *(v for v in vars(transform).values() if isinstance(v, Transform))):
        for name, value in vars(holder).items():
            if not name.startswith("_") and name not in UNTOLD and _is_plain(value):
                text = str(value.tolist() if isinstance(value, (np.ndarray, torch.Tensor)) else value)
                found.setdefault(name, text if len(text) <= 80 else text[:79] + "…")
    return found


def _is_plain(value: Any) -> bool:
    """Whether its text says what it is, and the same each time; that of most objects is where they are in memory."""
    if isinstance(value, (list, tuple)):
        return all(one is None or _is_plain(one) for one in value)
    return isinstance(value, (str, int, float, bool, np.ndarray, torch.Tensor, torch.dtype))


def _spacing(grid: Grid) -> tuple[float, ...]:
    return tuple(float(s) for s in affine_to_spacing(grid.affine))


def _failure(
    transform: Any, number: int, error: Exception, image: MetaTensor | None, keys: Sequence[str], given: Sequence[str]
) -> str:
    cause = root_cause(error)
    shape = f" on an image of shape {tuple(image.shape)}" if image is not None else ""
    return (
        f"Transform {number + 1} of the preprocessing, {type(transform).__name__}, failed{shape}: "
        f"{what_went_wrong(cause).rstrip('.')}. {advice(transform, cause, image, keys, given)}"
    )
