"""The one story: a request comes in, a heatmap on the volume's own grid goes out.

Preprocess, run the network, attribute, restore, check, tell: each stage returns a record that the next one reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from ..contract.errors import DeviceError
from ..contract.request import Request, Result
from ..contract.whole_files import gone_where_it_fails
from .asking import ask_of_map
from .attribution import attribute, channel_shares
from .bundle.isolation import at_home, leaves_no_trace
from .bundle.model import Model
from .cache import Cache
from .findings import check_asked, read_off
from .further import save_further
from .geometry.channels import on_one_grid
from .geometry.volume import Volume, read_volume, save_array
from .inference import Explained, Inference, apply_all
from .layer_choice import choose_layers
from .methods import find_method
from .network.device import choose_device, device_of
from .network.running import running
from .preprocessing.inputs import NetworkInputs
from .progress import Clock, Report, sub_progress
from .restore.assemble import assemble, normalise
from .restore.intermediates import save_intermediates
from .restore.plan import examine, plan_inversion
from .result import Told, tell
from .said import what_was_said
from .sketch import sketch_of
from .target.network import of_one_network
from .target.objective import build_objectives
from .target.parse import check_early
from .target.prediction import combine, predict
from .target.regions import TargetRegions


@leaves_no_trace
def explain(request: Request, report: Report = lambda progress: None, cache: Cache | None = None) -> Result:
    """Explain what a bundle's network makes of a volume.

    Args:
        request: what to explain; its array files are read and never changed.
        report: called with every progress event; raising from it (``Cancelled``) ends the run.
        cache: what to keep for the next explanation; None keeps nothing.

    Returns:
        the result, whose heatmap lies in ``request.output_folder``.

    Raises:
        CAMOverlayError: one of its kinds, in words that a user can act on.
    """
    clock = Clock(report, request.long_check)
    cache = Cache() if cache is None else cache
    device = choose_device(request.device)
    request = of_one_network(request)
    evaluated = partial(cache.model, request.model)

    with clock.stage("volume"):
        volumes, notes = on_one_grid([read_volume(file) for file in request.volumes])
    with clock.stage("bundle"):
        model = evaluated(device=device)
    try:
        with at_home(model.modules):  # what its transforms and its network import when they are called
            return explain_model(model, volumes, request, clock, cache, notes)
    except DeviceError as error:
        if device.type == "cpu":
            raise
        note = f"{error} The CPU computed it instead."
    model = evaluated(device=torch.device("cpu"))
    with at_home(model.modules):
        return explain_model(model, volumes, request, clock, cache, (*notes, note))


def explain_model(
    model: Model, volumes: Sequence[Volume], request: Request, clock: Clock, cache: Cache, notes: tuple[str, ...] = ()
) -> Result:
    """The story from where model and volumes are in memory.

    Args:
        request: of it all but ``volumes``, ``model`` and ``device``.
        notes: what the user should know of the volumes.

    Raises:
        CAMOverlayError: one of its kinds.
    """
    method, nearest, also = find_method(request.method), request.nearest, request.wanted
    masks: dict = {}
    check_early(request.target, model.info.classes, volumes[0].array.shape[:3], masks)
    with clock.stage("preprocess") as step:
        asked = check_asked(request, volumes[0].grid)
        inputs = cache.inputs(model, volumes, request, step, examine)
        plans = [plan_inversion(trace, request.inverse) for trace in inputs.traces]
    with clock.stage("forward") as step, running(model.network, request.amp, model.runner):
        inferences = _infer(model, volumes, request, cache, inputs)
        grids = [(trace.input_grid, plan.affine_holds) for trace, plan in zip(inputs.traces, plans, strict=True)]
        regions = [TargetRegions(inputs.grid, grid, holds, masks) for grid, holds in grids]
        layers, finer = choose_layers(method, request.layer, model, inferences[0], cache)
        outputs = [one.predict(layers, sub_progress(step, n, len(inferences))) for n, one in enumerate(inferences)]
        prediction = combine([predict(o, model.info.classes, model.multilabel, model.regression) for o in outputs])
        objectives = build_objectives(outputs, request.target, prediction, regions)
        explained = Explained(inferences, layers, finer, prediction, objectives, outputs)
    draw = sketch_of(request, inputs, plans)
    with clock.stage("backward", draw) as step, running(model.network, request.amp, method.title):
        names = [model.info.channel_names, [volume.name for volume in volumes]]
        channels = channel_shares(explained, names, step) if request.channel_shares else {}
        maps = attribute(method, explained, nearest, step)  # last: an ensemble tells how its latest maps agree
        values, magnitude = normalise([one.values if one else None for one in maps])
    with clock.stage("inverse") as step:
        strides = next((one.steps for one in maps if one), None)
        heatmap = assemble(inputs, plans, values, request.verify, nearest, step, strides, request.output_folder)
    with clock.stage("also") as step:
        said = what_was_said(also, model, inputs, plans, explained, method, request.amp, step)
    with clock.stage("findings") as step:
        found = read_off(heatmap, inputs.volume, asked, step)
    with clock.stage("write"):
        volume, folder = inputs.volume, Path(request.output_folder)
        array = save_array(heatmap.array, volume.affine, volume.name, folder / "heatmap.npy")
        further = save_further(said.volumes, volume, folder)
        hottest = inputs.piece_at(heatmap.peak) if heatmap.peak is not None else 0
    what = (inputs, plans, explained, maps, magnitude, heatmap, hottest, found, channels, further)
    told, words = Told(model, volumes, method, *what), (*notes, *said.warnings)
    with gone_where_it_fails([array.path, *(one.file.path for one in further)]), clock.stage("check") as step:
        if request.unchecked and (request.checks != "none" or asked.occluded):
            step.unchecked(tell(told, array, words, clock.seconds, request))
        told = ask_of_map(told, request, asked.occluded, outputs, step)
    if request.intermediates_folder is not None:
        with clock.stage("write"):
            piece = (values[hottest], inputs.traces[hottest], plans[hottest])
            save_intermediates(*piece, request.intermediates_folder, strides)
    return tell(told, array, words, clock.seconds, request)


def _infer(
    model: Model, volumes: Sequence[Volume], request: Request, cache: Cache, inputs: NetworkInputs
) -> list[Inference]:
    device = device_of(model.network)

    def apply_network() -> list[Inference]:
        return [apply_all(model, image.to(device), keep=len(inputs.traces) == 1) for image in inputs.images]

    return cache.applied(model, volumes, request.slices, request.amp, apply_network)
