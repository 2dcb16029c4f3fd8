"""The command line: ``cam-overlay explain | cohort | compare | inspect | bundle | demo``, on the real Slicer core.

What is imported where matters here: ``--help`` and wrong arguments answer at once, the scene is started only by the
commands that need it, and torch is loaded only when something is computed.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import __version__
from ..contract.inspection import Inspection
from ..contract.methods import CATALOGUE
from ..contract.model import ModelSource
from ..contract.options import Options
from ..contract.quick_loading import quick_loading
from ..contract.records import absolute
from ..contract.request import Progress, Result
from ..contract.target import StructureFile
from ..demo import DEMO_BUNDLE, DEMO_VOLUME, demo_lesion
from . import taken_away
from .computation import PYTHON_HELP, computation, named, process_of
from .dicom import DicomOutput, add_dicom_options, place_of
from .findings import print_findings
from .model import GivenModel, add_model_options, given_model, write_given_model
from .options import add_options
from .output import Output, finished_folders, scratch_folder
from .progress import ProgressLine
from .terminal import guarded, open_streams, say_error

VOLUME_HELP = (
    "image file, or a DICOM series: its folder (FOLDER#3 is series 3 of several), a DICOMDIR or a multi-frame file; "
    "several volumes are the channels in order"
)

TARGET_HELP = (
    "what to explain: a class (INDEX or NAME, default the predicted one) or the difference of two (A-B); in a "
    "segmentation network also at a place: [CLASS]@voxel=I,J,K, [CLASS]@ras=R,A,S or [CLASS]@mask=FILE"
)

FILES = ("heatmap.nii.gz", "report.json", "findings.csv", "overlay.png", "scene.mrb")
"""What a run writes into its output folder; the last two may be left out."""

INTERMEDIATES = ("forward-*.nii.gz", "backward-*.nii.gz")
"""The same of the folder for every step's volume."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, or 2 after one line that says what was wrong."""
    open_streams()
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser(next((word for word in words if not word.startswith("-")), None)).parse_args(words)
    # A library that announces a change in its next version says nothing that a user could act on.
    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    # Where pydicom is, MONAI tells with every chain that a decoder on the GPU, which nothing here uses, is not.
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)

    def command() -> None:
        with scratch_folder():
            options.run(options)

    return guarded(command)


class _Parser(argparse.ArgumentParser):
    """Wrong arguments answer as wrong input does: one line, exit code 2."""

    def error(self, message: str) -> Any:
        say_error(f"{message}. See '{self.prog} --help'.")
        raise SystemExit(2)


def _parser(asked: str | None = None) -> argparse.ArgumentParser:
    """
    Args:
        asked: the command whose options are wanted: those of others that need modules of their own are left out.
    """
    parser = _Parser(
        prog="cam-overlay",
        description="Where did the network look? A heatmap of a MONAI network, on the volume itself.",
    )
    parser.add_argument("--version", action="version", version=f"cam-overlay {__version__}")
    commands = parser.add_subparsers(
        required=True, metavar="explain | cohort | compare | inspect | bundle | demo", parser_class=_Parser
    )

    explain = commands.add_parser("explain", help="compute a heatmap and write it, a report, a picture and a scene")
    explain.set_defaults(run=run_explain)
    explain.add_argument("volumes", nargs="+", metavar="VOLUME", help=VOLUME_HELP)
    explain.add_argument(
        "--output", required=True, metavar="DIR", help="folder for the results; made if it is not there"
    )
    add_dicom_options(explain)
    add_model_options(explain)
    explain.add_argument("--target", metavar="TARGET", help=TARGET_HELP)
    add_options(explain)
    explain.add_argument("--python", metavar="PYTHON", help=PYTHON_HELP)
    taken_away.add_options(explain)

    cohort = commands.add_parser("cohort", help="explain many volumes, on this machine or a cluster, and tabulate them")
    if asked in ("cohort", None):
        from .cohort import add_options_of_cohort

        add_options_of_cohort(cohort)

    compare = commands.add_parser(
        "compare", help="explain a volume for several classes, methods, layers or models, and compare"
    )
    if asked in ("compare", None):
        from .compare import add_options_of_compare

        add_options_of_compare(compare)

    inspect = commands.add_parser("inspect", help="what a model is: classes, inputs, transforms, layers")
    inspect.set_defaults(run=run_inspect)
    add_model_options(inspect)
    inspect.add_argument("--python", metavar="PYTHON", help=PYTHON_HELP)

    bundle = commands.add_parser("bundle", help="write a network with its weights and transforms as a MONAI bundle")
    bundle.set_defaults(run=run_bundle)
    add_model_options(bundle, bundle=False)
    bundle.add_argument("--output", required=True, metavar="DIR", help="the bundle's folder; not there yet, or empty")

    demo = commands.add_parser("demo", help="explain a brain with a lesion at a known place")
    demo.set_defaults(run=run_demo)
    demo.add_argument(
        "--output", default="output/demo", metavar="DIR", help="folder for the results (default: %(default)s)"
    )
    return parser


# explain ------------------------------------------------------------------------------------------------------------


def run_explain(options: argparse.Namespace) -> None:
    dicom = DicomOutput(vars(options))
    with given_model(options) as model:
        settings = vars(options) | {"model": model.source, "dicom_output": dicom}
        output = Path(absolute(options.output))
        result = explain_files(options.volumes, output, settings, model.told)
    left_out = {"overlay.png": not options.picture, "scene.mrb": not options.scene}
    files = [name for name in FILES if not left_out.get(name)]
    _print_summary(result, Path(options.output), (*files, *taken_away.names(options.report, options.save)))
    dicom.print_written()


def explain_files(
    paths: list[str], output: Path, options: dict[str, Any], told: Callable[[Result], Result] = lambda result: result
) -> Result:
    """Explain image files and fill the output folder, which appears complete or not at all.

    Args:
        options: ``model``, perhaps ``target``, ``python``, ``picture``, ``scene`` and ``dicom_output``, and those of
            :class:`Options` that are not at their defaults.
        told: the engine's result in the words in which overlay, scene and report tell it.

    Raises:
        CAMOverlayError: one of its kinds; the output folder is then as it was.
    """
    timings: dict[str, float] = {}
    model: ModelSource = options["model"]
    paths = [os.path.expanduser(path) for path in paths]
    dicom: DicomOutput = options.get("dicom_output") or DicomOutput({})
    outputs = [*_outputs(output, options), *dicom.outputs]
    with (
        finished_folders(outputs, _inputs(paths, options)) as folders,
        ProgressLine() as show,
        computation(options.get("python"), model, options.get("device", "auto"), _load_what_writes) as compute,
        ThreadPoolExecutor(1) as beside,
    ):
        folder = folders[0]
        intermediates_folder = folders[1] if options.get("intermediates_folder") else None
        show(Progress("slicer", 0.0, "Starting Slicer's core"))
        with _timed(timings, "slicer"), quick_loading():
            import nibabel  # noqa: F401  tells the geometry of most files

            from ..logic import OverlayLogic
            from ..scene import core
            from .file_grids import OnFileGrids

            core.ensureScene()
        with _timed(timings, "load"):
            nodes = [core.loadVolume(path) for path in paths]
            dicom.require_series(nodes[0])
            compute = taken_away.of_files(compute, paths, told, named(options.get("python")))
            there = OnFileGrids(paths, nodes, compute, folder / "heatmap.nii.gz", beside)
        picture: list[Callable[[], Any]] = []
        with _timed(timings, "process"):
            node = OverlayLogic(there).process(
                nodes[0],
                model.path,
                trust=model.trust,
                configs=model.configs,
                channels=nodes[1:],
                intermediates_folder=intermediates_folder,
                **_settings(options),
                report=show,
                onMap=lambda made: picture.append(_picture(folder, (nodes[0], made), options, beside, timings)),
            )
        assert there.result is not None  # process() has just asked for it
        _write_scene(folder, (nodes[0], node), options, there.finish, show, timings)
        dicom.write(node, folders[-1], lambda share, words: show(Progress("write", 0.985, words)))
        show(Progress("write", 0.99, "Writing the report"))
        with _timed(timings, "report"):
            shown = taken_away.shown_in_file(there.grid, nodes[0], node)
            taken_away.write_away(folder, there.result, shown, options.get("report", "viewer"), options.get("save", ()))
        with _timed(timings, "files"):
            there.finish()
            picture[0]()
        return _write_tables(folder, _with_all_timings(there.result, timings))


def _load_what_writes() -> None:
    """The modules that write the files, while a process computes what they will hold."""
    from ..report import files, page  # noqa: F401
    from ..scene.figure import picture, report  # noqa: F401


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Of everything that was said what :meth:`OverlayLogic.process` takes as options."""
    names = {"target", *(one.name for one in dataclasses.fields(Options))} - {"intermediates_folder"}
    return {name: value for name, value in options.items() if name in names}


def _write_tables(folder: Path, result: Result) -> Result:
    from ..reading.hot_spots import findings_csv
    from ..report.repeat import report_json

    (folder / "report.json").write_text(report_json(result), encoding="utf-8")
    (folder / "findings.csv").write_text(findings_csv(result.findings), encoding="utf-8")
    return result


def _outputs(output: Path, options: dict[str, Any]) -> list[Output]:
    """The folders to fill: the results', and that of every step's volume where one was named."""
    also = [f"{name.removesuffix('?')}.nii.gz" for name in Options(also=options.get("also") or ()).wanted]
    outputs = [Output(output, (*FILES, *also, *taken_away.FILES))]
    if options.get("intermediates_folder"):
        outputs.append(Output(Path(absolute(options["intermediates_folder"])), INTERMEDIATES))
    return outputs


def _picture(
    folder: Path,
    nodes: tuple[Any, Any],
    options: dict[str, Any],
    beside: Executor,
    timings: dict[str, float],
) -> Callable[[], Any]:
    """Draw the picture, if it is wanted, mostly while the map is checked; its file is written beside what comes next.
    Returns what waits for that."""
    from ..scene.overlay import node as overlay

    overlay.jumpToPeak(nodes[1])
    if not options.get("picture", True):
        return lambda: None
    from ..scene.figure import picture

    with _timed(timings, "picture"):
        return beside.submit(picture.pictureOf(*nodes).save, folder / "overlay.png").result


def _write_scene(
    folder: Path,
    nodes: tuple[Any, Any],
    options: dict[str, Any],
    packed: Callable[[], list[Any]],
    show: Callable[[Progress], None],
    timings: dict[str, float],
) -> None:
    """The scene with volume and heatmap, if it is wanted; ``packed`` waits for what is being packed."""
    from ..scene import core

    if options.get("scene", True):
        show(Progress("write", 0.98, "Saving the scene"))
        with _timed(timings, "scene"):
            core.saveScene(folder / "scene.mrb", packed())


def _with_all_timings(result: Result, around: dict[str, float]) -> Result:
    """The engine's timings among the command's own; what lies between them is the exchange with the scene, and the wait
    for the libraries."""
    exchange = around.pop("process") - sum(result.timings.values())
    timings = {"slicer": around.pop("slicer"), "load": around.pop("load"), **result.timings}
    timings |= {"libraries, export and import": exchange, **around}
    heatmap = dataclasses.replace(result.heatmap, path="heatmap.nii.gz")
    further = tuple(
        dataclasses.replace(one, file=dataclasses.replace(one.file, path=f"{one.name}.nii.gz"))
        for one in result.further
    )
    return dataclasses.replace(result, timings=timings, heatmap=heatmap, further=further)


def _print_summary(result: Result, output: Path, files: Sequence[str]) -> None:
    prediction = result.prediction
    if prediction.activation == "none":
        print("prediction   " + ", ".join(f"{n} {v:.4g}" for n, v in zip(prediction.classes, prediction.outputs)))
    else:
        print(f"prediction   {prediction.name} ({prediction.probabilities[prediction.index]:.1%})")
    print(f"explained    {result.target.name}, {result.method} at {result.layer}")
    print(f"target       {result.target.description}")
    if result.applied:
        print(f"network      applied to {result.applied}")
    if result.peak is not None and result.peak_ras is not None:
        print(f"peak         voxel {result.peak}, RAS {_mm(result.peak_ras)} mm")
    else:
        print("peak         none: the heatmap is 0 everywhere")
    print_findings(result)
    print(f"resolution   one activation is {' × '.join(f'{s:.1f}' for s in result.activation_spacing)} mm")
    print(f"alignment    {result.placement.words.removeprefix('Alignment ')}")
    if result.placement.difference is not None:
        print(
            f"verified     the two inverses differ by {result.placement.difference:.3f} at most, "
            f"their hottest spots lie {result.placement.peak_distance:.1f} mm apart"
        )
    print(f"seen         {result.field_of_view.share:.1%} of the volume's voxels")
    for check in result.checks:
        print(f"{check.name:12s} {check.verdict}: {check.words}")
    for warning in result.warnings:
        print(f"warning      {warning}")
    for one in result.further:
        print(f"also         {one.name}: {one.words}")
    print(f"written      {output}: {', '.join([*files, *(one.file.path for one in result.further)])}")


def _mm(point: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{x:.1f}" for x in point) + ")"


# inspect ------------------------------------------------------------------------------------------------------------


def run_inspect(options: argparse.Namespace) -> None:
    with given_model(options, only_look=True) as model:
        if options.python is not None:
            with process_of(options.python) as worker:
                found = worker.inspect(model.source).wait()
            _print_summary_of(found, model)
        else:
            found = _inspected_here(model)
        _print_inside(found, model)


def _inspected_here(model: GivenModel) -> Inspection:
    from ..engine.bundle.opened import open_model
    from ..engine.layer_choice import inspect_model

    opened = open_model(model.source)
    _print_summary_of(Inspection(opened.summary, opened.content_hash), model)
    return inspect_model(opened)  # what is above is said even where the model does not evaluate


def _print_summary_of(found: Inspection, model: GivenModel) -> None:
    summary, info = found.summary, found.summary.info
    print(f"{info.name} {info.version}".strip() + (f" — {info.task}" if info.task else ""))
    print(f"kind      {summary.kind}" + ("" if summary.needs_trust else ", which can run no code of its own"))
    size = " × ".join(map(str, info.spatial_shape)) or "any size"
    print(f"input     {info.channels or '?'} channel(s) {', '.join(info.channel_names)}, {size}")
    print(f"classes   {', '.join(f'{i} {name}' for i, name in enumerate(info.classes)) or 'not named'}")
    print(f"content   sha256 {found.content_hash}")
    for warning in model.warnings:
        print(f"warning   {warning}")


def _print_inside(found: Inspection, model: GivenModel) -> None:
    if found.summary.needs_trust and not model.source.is_trusted:
        print("would run, once trusted (--trust also lists transforms and layers):")
        for kind, values in dataclasses.asdict(found.summary.code).items():
            print(f"  {kind}:" + ("" if values else " none"))
            for value in values:
                print(f"    {value}")
        return
    print("transforms")
    for number, transform in enumerate(found.transforms, 1):
        print(f"  {number:2d} {transform}")
    _print_layers(found)
    _print_methods()


def _print_layers(found: Inspection) -> None:
    if not found.layers:
        print("layers    none: the network is compiled, and nothing inside it can be reached")
        return
    size = " × ".join(map(str, found.input_shape))
    print(f"layers, for an input of {size}: channels × size, stride, receptive field in voxels")
    layers = sorted(found.layers, key=lambda layer: layer.number)  # as the network is built, not as it runs
    width = max(2 * layer.depth + len(layer.name) for layer in layers)
    for layer in layers:
        name = "  " * layer.depth + layer.name
        size = " × ".join(map(str, layer.shape))
        stride = "×".join(f"{s:.3g}" for s in layer.stride)
        sees = "×".join(map(str, layer.receptive_field)) if layer.receptive_field else "everything"
        mark = "  ← default" if layer.name == found.default else "  ← stage" if layer.name in found.stages else ""
        print(f"  {name:{width}s}  {layer.kind:22s} {size:20s}  {stride:8s}  {sees}{mark}")


def _print_methods() -> None:
    print("methods")
    for method in CATALOGUE.values():
        print(f"  {method.name:20s} {method.description}")


# bundle ---------------------------------------------------------------------------------------------------------------


def run_bundle(options: argparse.Namespace) -> None:
    warnings = write_given_model(options)
    for warning in warnings:
        print(f"warning      {warning}")
    print(f"written      {options.output}: configs, models, docs; explain it with --model {options.output} --trust")


# demo ---------------------------------------------------------------------------------------------------------------


def run_demo(options: argparse.Namespace) -> None:
    output, lesion = Path(os.path.expanduser(options.output)), demo_lesion()
    result = explain_files([str(DEMO_VOLUME)], output, {"model": ModelSource(str(DEMO_BUNDLE), trust=True)})
    _print_summary(result, output, (*FILES, "report.html"))
    print(f"lesion       {lesion.kind}, RAS {_mm(lesion.centre)} mm, radius {lesion.radius:.1f} mm")
    if result.peak_ras is not None:
        print(f"distance     {lesion.distance(result.peak_ras):.1f} mm from the heatmap's peak to the lesion's centre")


# Files and progress -------------------------------------------------------------------------------------------------


def _inputs(paths: list[str], options: dict[str, Any]) -> list[str | Path]:
    """Everything that a run reads, which none of its results may replace."""
    target = options.get("target")
    mask = target.rpartition("@mask=")[2] if isinstance(target, str) and "@mask=" in target else None
    structures = [StructureFile.of(one).file for one in options.get("structures") or ()]
    arguments = options.get("network_args") or ""
    network = str(options.get("network") or "")
    given = [
        *(place_of(path) for path in paths),
        mask,
        options.get("weights"),
        options.get("preprocessing"),
        network,
        network.rpartition(":")[0],
    ]
    given += [one for one in structures if isinstance(one, str)]
    given += [arguments[1:] if arguments.startswith("@") else None]
    model: ModelSource = options["model"]
    inside = () if model.lies_there else ("configs", "models", "scripts", "docs", *model.configs)
    parts = [Path(model.path) / name for name in inside]
    return [*(path for path in given if path), *parts]


@contextmanager
def _timed(timings: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - started
