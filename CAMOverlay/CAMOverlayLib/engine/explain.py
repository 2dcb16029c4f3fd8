"""The one story: a request comes in, a heatmap on the volume's own grid goes out."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import monai
import nibabel
import numpy as np
import torch
from monai.inferers import SliceInferer

from .. import __version__
from ..errors import CAMOverlayError, Cancelled, DeviceError, MethodError, root_cause
from ..request import STAGES, Progress, Request, Result, TransformStep
from .activation import is_out_of_memory
from .allocation import freed_memory_kept
from .applied import Applied, Heat, Whole, Windows, apply
from .channels import on_one_grid
from .compiled import is_compiled, refuse_layers
from .device import choose_device
from .grid import solid
from .isolation import at_home, leaves_no_trace
from .layers import LayerTable, likely_layers, list_layers, watching
from .memory import Memory
from .methods import Method, find_method
from .methods.method import no_layer
from .model import Model
from .places import Places
from .placing import choose_way
from .prepared import Prepared, parts, prepare, put_back
from .targets import check_early, combine, make_goals, predict
from .trail import Trail
from .trail_files import write_trail
from .volume import Volume, read_volume, save_array

Report = Callable[[Progress], None]

# Share of a run that is done when a stage begins, for a progress bar that moves evenly on a CPU.
BEGINS = {"volume": 0.02, "bundle": 0.10, "preprocess": 0.15, "forward": 0.45, "backward": 0.65, "inverse": 0.70, "write": 0.95}


@leaves_no_trace
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
    device = choose_device(request.device)

    with clock.stage("volume"):
        volumes, notes = on_one_grid([read_volume(file) for file in request.volumes])

    with clock.stage("bundle"):
        model = memory.model(request.bundle, request.trust, request.configs, device, request.trusted_hash)

    try:
        with at_home(model.folder):  # what its transforms and its network import when they are called
            return explain_model(model, volumes, request, clock, memory, notes)
    except DeviceError as error:
        if device.type == "cpu":
            raise
        note = f"{error} The CPU computed it instead."
    model = memory.model(request.bundle, request.trust, request.configs, torch.device("cpu"), request.trusted_hash)
    with at_home(model.folder):
        return explain_model(model, volumes, request, clock, memory, (*notes, note))


def explain_model(
    model: Model,
    volumes: Sequence[Volume],
    request: Request,
    clock: Clock,
    memory: Memory,
    notes: tuple[str, ...] = (),
) -> Result:
    """The rest of the story, from where model and volumes are in memory.

    Args:
        request: of it all but ``volumes``, ``bundle``, ``trust`` and ``device``.
        notes: what the user should know of the volumes.

    Raises:
        CAMOverlayError: one of its kinds.
    """
    method = find_method(request.method)
    masks: dict = {}
    check_early(request.target, model.info.classes, volumes[0].array.shape[:3], masks)
    device = next(model.network.parameters(), torch.empty(0)).device

    with clock.stage("preprocess") as step:
        keep_images = request.trail_folder is not None

        def through_chain() -> Prepared:
            return prepare(model, volumes, request.output_folder, request.slices, keep_images, step)

        prepared = through_chain() if keep_images else memory.prepared(model, volumes, request.slices, through_chain)
        ways = [choose_way(trail, request.inverse) for trail in prepared.trails]
        count = len(prepared.trails)

    with clock.stage("forward") as step, _running(model, request.mixed, _inferer_words(model)):

        def apply_network() -> list[Applied]:
            return [apply(model.network, image.to(device), model.inferer, keep=count == 1) for image in prepared.images]

        applied = memory.applied(model, volumes, request.slices, request.mixed, apply_network)
        layers, finer = _choose_layers(method, request.layer, model, applied[0], memory)
        outputs = [one.answer(layers, parts(step, n, count)) for n, one in enumerate(applied)]
        info = model.info
        prediction = combine([predict(o, info.classes, model.independent, model.regression) for o in outputs])
        places = [
            Places(prepared.grid, trail.input_grid, way.affine_holds, masks) for trail, way in zip(prepared.trails, ways)
        ]
        goals = make_goals(outputs, request.target, prediction, places)

    with clock.stage("backward") as step, _running(model, request.mixed, method.title):
        heats = [
            one.heat(method, layers, prediction, goal, parts(step, n, count), request.blocks) if goal else None
            for n, (one, goal) in enumerate(zip(applied, goals, strict=True))
        ]
        values, magnitude = normalise([heat.values if heat else None for heat in heats])

    with clock.stage("inverse") as step:
        steps = next((heat.steps for heat in heats if heat), None)
        overlay = put_back(prepared, ways, values, request.verify, request.blocks, step, steps)

    volume, peak = prepared.volume, overlay.peak
    hottest = prepared.piece_at(peak) if peak is not None else 0
    heat, goal = heats[hottest] or next(h for h in heats if h), goals[hottest] or next(g for g in goals if g)
    trail = prepared.trails[hottest]
    where = " × ".join(layers) or "the network's input"
    with clock.stage("write"):
        if request.trail_folder is not None and values[hottest] is not None:
            write_trail(values[hottest], trail, ways[hottest], Path(request.trail_folder), steps)
        heatmap = save_array(overlay.array, volume.affine, volume.name, Path(request.output_folder) / "heatmap.npy")

    return Result(
        heatmap=heatmap,
        magnitude=magnitude * overlay.scale if overlay.scale else magnitude,
        peak=peak,
        peak_ras=None if peak is None else volume.to_ras(peak),
        prediction=prediction,
        target=goal.target,
        layer=where,
        method=method.title,
        device=str(device),
        bundle=model.folder,
        bundle_name=info.name,
        bundle_version=info.version,
        inputs=tuple(v.name for v in volumes),
        activation_shape=solid(heat.activation),
        activation_spacing=tuple(float(s * n) for s, n in zip(trail.input_grid.spacing, solid(heat.stride, 1.0))),
        network_input_shape=trail.input_grid.shape,
        applied=_applied_words(prepared, applied[0]),
        field_of_view=overlay.field_of_view,
        placement=overlay.placement,
        steps=_with_inverse(trail, ways[hottest].inverse),
        warnings=(
            *notes,
            *prepared.notes,
            # Pictures of one volume may each have something to say.
            *dict.fromkeys(warning for goal in goals if goal for warning in goal.warnings),
            *_warnings(magnitude, goal.target.name, where, overlay.scale),
            *_resolution(trail.input_grid.shape, heat, finer if method.name != "refined" else None),
        ),
        timings=clock.seconds,
        versions=versions(),
    )


def _choose_layers(method: Method, wanted: str | None, model: Model, applied: Applied, memory: Memory
) -> tuple[tuple[str, ...], str | None]:
    """The layers that the method needs, at the layer asked for or at the default one; and a finer layer, if any.

    To know the default takes a forward pass. To need no second one, a pass over a smaller input says which layer it
    will most likely be; the real pass is cut there and tells whether that was right.

    Raises:
        LayerError: there is no such layer.
        MethodError: the network is compiled, and the method needs layers.
    """
    if method.layers is no_layer:
        return (), None
    network, sample = model.network, applied.sample
    if is_compiled(network):
        raise refuse_layers(method.title)

    def look() -> LayerTable:
        likely = likely_layers(network, sample) if isinstance(applied, Whole) and applied.fresh else None
        if likely is None or not likely.has(wanted):
            return list_layers(network, sample, receptive=False)
        with watching(network, sample) as watched:
            output = applied.answer(method.layers(likely, likely.find(wanted)), lambda number, count, words: None)
        return watched.table(output, likely.unused)

    table = memory.table(model, sample, look)
    chosen = table.find(wanted)
    stages = table.stages_to(chosen)
    return method.layers(table, chosen), stages[-2].name if len(stages) > 1 else None


def _inferer_words(model: Model) -> str:
    return f"The inferer {type(model.inferer).__name__}" if model.inferer is not None else "The forward pass"


def _applied_words(prepared: Prepared, applied: Applied) -> str:
    """How the network was applied, where it was not to the volume as a whole."""
    words = [prepared.words()]
    if isinstance(applied, Windows):
        words.append(_slices_words(prepared, getattr(applied, "_inferer", None)))
        windows = f"{applied.count} window{'s' * (applied.count > 1)}"
        words.append(f"{windows} of {' × '.join(map(str, applied.sample.shape[2:]))} voxels{applied.blend}")
    return ", ".join(filter(None, words))


def _slices_words(prepared: Prepared, inferer: object) -> str:
    """Which slices a SliceInferer cuts the network's input into, by where its axis points in the patient."""
    axis = getattr(inferer, "spatial_dim", None)
    if not isinstance(inferer, SliceInferer) or axis is None:
        return ""
    grid = prepared.trails[0].input_grid
    direction = grid.affine[:3, axis] / np.linalg.norm(grid.affine[:3, axis])
    name = ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(direction)))]
    oblique = "oblique " if np.abs(direction).max() < np.cos(np.radians(10)) else ""
    count = grid.shape[axis]
    return f"{count} {oblique}{name} slice{'s' * (count > 1)} along {'IJK'[axis]} of the network's input"


def normalise(maps: Sequence[torch.Tensor | None]) -> tuple[list[torch.Tensor | None], float]:
    """Non-negative maps (spatial) divided by their common largest value, and that value; maps without evidence stay 0.

    Higher stays more important, unlike MONAI's default normaliser, which maps the largest value to 0. Pictures get a
    third axis of one voxel.
    """
    solid = [None if m is None else m.float()[..., None] if m.ndim == 2 else m.float() for m in maps]
    magnitude = max(float(m.max()) for m in solid if m is not None)
    return [m if m is None or not magnitude > 0 else m / magnitude for m in solid], magnitude


class Clock:
    """Tells the caller what is going on and remembers how long each stage took."""

    def __init__(self, report: Report) -> None:
        self.seconds: dict[str, float] = {}
        self._report = report
        self._done = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int, str], None]]:
        """Yields a function that reports steps within the stage: index, how many, in words."""
        begin = BEGINS[name]
        end = min((b for b in BEGINS.values() if b > begin), default=1.0)

        def step(number: int, count: int, words: str) -> None:
            # Never back: not by rounding, and not where a stage is done again on another device.
            self._done = max(self._done, begin + (end - begin) * number / max(1, count))
            self._report(Progress(name, self._done, words))

        step(0, 1, STAGES[name])
        started = time.perf_counter()
        yield step
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@contextmanager
def _running(model: Model, mixed: bool, doing: str) -> Iterator[None]:
    """For the time that the network runs: fast, in mixed precision if asked for, and what is raised around it in words.

    What the network itself raises comes with its own words (:func:`run_network`).

    Args:
        doing: who works with the network meanwhile, as the subject of a sentence.

    Raises:
        DeviceError: too little memory.
        MethodError: whatever works with the network failed.
    """
    device = next(model.network.parameters(), torch.empty(0)).device
    try:
        with freed_memory_kept(), torch.autocast(device.type, torch.float16 if device.type == "cuda" else torch.bfloat16, enabled=mixed):
            yield
    except (CAMOverlayError, Cancelled):
        raise
    except Exception as error:
        cause = root_cause(error)
        if is_out_of_memory(cause):
            raise DeviceError(f"{str(device).upper()} has too little memory for this network on this input.") from error
        reason = (str(cause).strip().splitlines() or ["no reason given"])[0][:300].rstrip(". ")
        raise MethodError(
            f"{doing} failed on the network {type(model.network).__name__}: {type(cause).__name__}: {reason}. Choose another "
            "method or layer; the network alone runs."
        ) from error


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


def _warnings(magnitude: float, target: str, layer: str, scale: float) -> tuple[str, ...]:
    if magnitude > 0 and not scale > 0:
        return (f"All evidence for '{target}' lies outside of the volume, in what the preprocessing padded.",)
    if magnitude > 0:
        return ()
    return (f"No evidence for '{target}' at layer {layer}: the heatmap is 0 everywhere.",)


FEW_ACTIVATIONS = 3
"""Along the longest axis: with fewer a map is a blot."""


def _resolution(shape: tuple[int, ...], heat: Heat, finer: str | None) -> tuple[str, ...]:
    """A warning where the map is so coarse that it hardly says where."""
    counts = [n / s for n, s in zip(shape, solid(heat.stride, 1.0)) if n > 1]
    if not counts or max(counts) >= FEW_ACTIVATIONS:
        return ()
    remedy = f" Take an earlier layer, such as {finer}, or the method refined." if finer else ""
    return (
        "This map has hardly any resolution: what the network saw is "
        f"{' × '.join(f'{n:.1f}' for n in counts)} activations.{remedy}",
    )


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
