"""The one story: a request comes in, a heatmap on the volume's own grid goes out."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import monai
import nibabel
import numpy as np
import torch

from .. import __version__
from ..errors import BundleError, DeviceError, OutputError, VolumeError
from ..request import STAGES, FieldOfView, Progress, Request, Result, TransformStep
from .activation import forward_to_layers
from .bundle import Bundle
from .device import choose_device
from .inverse import activation_grid
from .layers import list_layers
from .memory import Memory, Model
from .methods import Case, find_method
from .placing import choose_way, place
from .places import Places
from .targets import is_regression, make_goal, predict
from .trail import Trail, run_chain
from .trail_files import write_trail
from .volume import Volume, read_volume, save_array, write_nifti

Report = Callable[[Progress], None]

# Share of a run that is done when a stage begins, for a progress bar that moves evenly on a CPU.
BEGINS = {"volume": 0.02, "bundle": 0.10, "preprocess": 0.15, "forward": 0.45, "backward": 0.65, "inverse": 0.70, "write": 0.95}


def explain(request: Request, report: Report = lambda progress: None, memory: Memory | None = None) -> Result:
    """Explain what a bundle's network makes of a volume.

    Args:
        request: what to explain; its array files are read and never changed.
        report: called with every progress event; raising from it (``Cancelled``) ends the run.
        memory: what to keep for the next explanation; None keeps nothing.

    Returns:
        the result, whose heatmap lies in ``request.output_folder``.

    Raises:
        CAMOverlayError: one of its kinds, in words that a user can act on.
    """
    clock = Clock(report)
    memory = Memory() if memory is None else memory
    method = find_method(request.method)
    device = choose_device(request.device)

    with clock.stage("volume"):
        volumes = [read_volume(file) for file in request.volumes]
        _check_same_grid(volumes)

    with clock.stage("bundle"):
        model = memory.model(request.bundle, request.trust, device)

    with clock.stage("preprocess") as step:
        if request.trail_folder is None:
            trail = memory.trail(model, volumes, lambda: _preprocess(model, volumes, request, step))
        else:
            trail = _preprocess(model, volumes, request, step)
        way = choose_way(trail, request.inverse)
        image = _network_input(trail, model.bundle).to(device)

    with clock.stage("forward"), _enough_memory(device):
        table = memory.table(model, image, lambda: list_layers(model.network, image, receptive=False))
        layers = method.layers(table, table.find(request.layer))
        forward = memory.forward(model, volumes, layers, lambda: forward_to_layers(model.network, image, layers))
        prediction = predict(
            forward.output,
            model.bundle.info.classes,
            model.bundle.outputs_are_independent,
            is_regression(model.network, model.bundle.metadata),
        )
        places = Places(trail.volume_grid, trail.input_grid, way.affine_holds)
        goal = make_goal(forward.output, request.target, prediction, places)

    with clock.stage("backward") as step, _enough_memory(device):
        raw = method.compute(Case(model.network, image, forward, layers, prediction, goal, step))
        heat, magnitude = normalise(raw)

    with clock.stage("inverse"):
        placed, placement = place(heat, trail, way, request.verify, request.blocks)

    volume = volumes[0]
    where = " × ".join(layers) or "the network's input"
    with clock.stage("write"):
        if request.trail_folder is not None:
            write_trail(heat, trail, way, Path(request.trail_folder))
        heatmap = save_array(placed.array, volume.affine, volume.name, Path(request.output_folder) / "heatmap.npy")

    return Result(
        heatmap=heatmap,
        magnitude=magnitude,
        peak=placed.peak,
        peak_ras=volume.to_ras(placed.peak),
        prediction=prediction,
        target=goal.target,
        layer=where,
        method=method.title,
        device=str(device),
        bundle=str(model.bundle.folder),
        bundle_name=model.bundle.info.name,
        bundle_version=model.bundle.info.version,
        inputs=tuple(v.name for v in volumes),
        activation_shape=tuple(heat.shape),
        activation_spacing=tuple(map(float, activation_grid(tuple(heat.shape), trail.input_grid).spacing)),
        network_input_shape=trail.input_grid.shape,
        field_of_view=FieldOfView(placed.region.share, placed.region.planes),
        placement=placement,
        steps=_with_inverse(trail, way.inverse),
        warnings=(*goal.warnings, *_warnings(magnitude, goal.target.name, where)),
        timings=clock.seconds,
        versions=versions(),
    )


def _preprocess(model: Model, volumes: list[Volume], request: Request, step: Callable[[int, int, str], None]) -> Trail:
    """Run the bundle's own chain on the volumes, written as the files that its loader reads.

    Raises:
        PlacementError: the voxels contradict the affine, so that nothing need be computed.
    """
    with _scratch(request.output_folder) as scratch:
        files = [write_nifti(v, scratch / f"channel_{i}.nii") for i, v in enumerate(volumes)]
        original = torch.from_numpy(volumes[0].array)
        trail = run_chain(model.chain, files, step, request.trail_folder is not None, original)
    choose_way(trail)
    trail.witness.forget()
    return trail


def normalise(raw: torch.Tensor) -> tuple[torch.Tensor, float]:
    """A non-negative map divided by its largest value, and that value; a map without evidence stays 0.

    Higher stays more important, unlike MONAI's default normaliser, which maps the largest value to 0.
    """
    raw = raw.float()
    magnitude = float(raw.max())
    return (raw / magnitude if magnitude > 0 else raw), magnitude


class Clock:
    """Tells the caller what is going on and remembers how long each stage took."""

    def __init__(self, report: Report) -> None:
        self.seconds: dict[str, float] = {}
        self._report = report

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int, str], None]]:
        """Yields a function that reports steps within the stage: index, how many, in words."""
        begin = BEGINS[name]
        end = min((b for b in BEGINS.values() if b > begin), default=1.0)

        def step(number: int, count: int, words: str) -> None:
            self._report(Progress(name, begin + (end - begin) * number / max(1, count), words))

        self._report(Progress(name, begin, STAGES[name]))
        started = time.perf_counter()
        yield step
        self.seconds[name] = time.perf_counter() - started


@contextmanager
def _scratch(folder: str) -> Iterator[Path]:
    """A folder for files that only this run needs, gone afterwards."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="scratch-") as path:
            yield Path(path)
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        if str(folder) not in str(error.filename):
            raise
        raise OutputError(f"Cannot write to '{folder}': {error.strerror}. Choose another output folder.") from error


@contextmanager
def _enough_memory(device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(f"{device} ran out of memory. Use --device cpu, or a layer nearer to the output.") from error


def _check_same_grid(volumes: list[Volume]) -> None:
    first = volumes[0]
    for other in volumes[1:]:
        if other.shape != first.shape or not np.allclose(other.affine, first.affine, atol=1e-3):
            raise VolumeError(
                f"Volume '{other.name}' ({other.shape}) is not on the grid of '{first.name}' ({first.shape}). "
                "Resample the channels to one grid."
            )


def _network_input(trail: Trail, bundle: Bundle) -> torch.Tensor:
    """1×C×spatial as a plain tensor: affine and operations stay with the trail.

    Raises:
        VolumeError: another number of channels than the bundle expects.
        BundleError: the chain does not end channel-first.
    """
    image = trail.image.as_tensor()
    if image.ndim != len(trail.input_grid.shape) + 1:
        raise BundleError(
            f"The preprocessing ends with an image of shape {tuple(image.shape)}, without a channel axis. "
            "Let the chain contain EnsureChannelFirst."
        )
    expected = bundle.info.channels
    if expected is not None and image.shape[0] != expected:
        names = ", ".join(bundle.info.channel_names)
        raise VolumeError(
            f"Bundle '{bundle.info.name}' expects {expected} channel(s){f' ({names})' if names else ''}, "
            f"the given volumes make {image.shape[0]}. Give one volume a channel, in that order."
        )
    # The network's weights are float32; integers and doubles come from chains that leave the cast to the trainer.
    return image[None].float()


def _with_inverse(trail: Trail, inverse: str) -> tuple[TransformStep, ...]:
    """The steps, each with what undid it for the heatmap."""
    before, steps = None, []
    for step, grid in zip(trail.steps, trail.grids, strict=True):
        moved = before is not None and (before.shape != grid.shape or not np.allclose(before.affine, grid.affine))
        if inverse == "affine":
            undone = "part of the one resampling" if moved else "nothing to undo"
        else:
            undone = "its saved operation was inverted" if step.recorded else "nothing recorded to undo"
        steps.append(dataclasses.replace(step, inverse=undone))
        before = grid
    return tuple(steps)


def _warnings(magnitude: float, target: str, layer: str) -> tuple[str, ...]:
    if magnitude > 0:
        return ()
    return (f"No evidence for '{target}' at layer {layer}: the heatmap is 0 everywhere.",)


def versions() -> dict[str, str]:
    """Of everything that took part in the numbers."""
    return {
        "CAMOverlay": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "nibabel": nibabel.__version__,
        "numpy": np.__version__,
    } | {name: v for name in ("captum", "torchcam") if (v := _installed(name))}


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
