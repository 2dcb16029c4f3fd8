"""A volume node in, an overlay node out: the scene's side of the one story.

The Python console, the panel, the self-tests and the command line all go through :meth:`OverlayLogic.process`, or
through :meth:`OverlayLogic.start` where nobody waits.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import slicer

from . import comparing
from .comparing import ComparisonRun, Planned
from .contract.errors import BundleError, VolumeError
from .contract.model import ModelSource
from .contract.options import current_names
from .contract.pieces import TURN, Pieces
from .contract.records import absolute
from .contract.request import Progress, Request, Result
from .scene import core
from .scene.asked import withNodes
from .scene.comparison.sequence import Comparison
from .scene.io.exported import ExportedVolumes
from .scene.io.volumes import readHeatmap
from .scene.overlay import further
from .scene.overlay import node as overlay
from .scene.overlay.sketch import Sketch
from .scene.overlay.unchecked import Unchecked
from .scene.structure_files import nodesIn, setOccluded, structureFiles
from .scene.target_regions import targetAt
from .worker.client import Run, Worker
from .worker.interpreter import named_from_here

Report = Callable[[Progress], None]
Compute = Callable[[Request, Report], Result]


def computeHere(request: Request, report: Report) -> Result:
    """Compute in this very process. The engine, and with it torch, is imported only now."""
    report(Progress("import", 0.0, "Loading the libraries"))
    from .engine.pipeline import explain

    return explain(request, report)


class OverlayLogic:
    """Explains volumes of the scene.

    Args:
        compute: where requests are answered if there is no worker.
        worker: process that answers them; :meth:`start` makes one if there is none.
    """

    def __init__(self, compute: Compute = computeHere, worker: Worker | None = None) -> None:
        self.compute = compute
        self.worker = worker

    def process(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        modelPath: str | Path | None = None,
        *,
        report: Report = lambda progress: None,
        withResult: bool = False,
        onMap: Callable[[slicer.vtkMRMLScalarVolumeNode], None] | None = None,
        **options: Any,
    ) -> slicer.vtkMRMLScalarVolumeNode | tuple[slicer.vtkMRMLScalarVolumeNode, Result]:
        """Explain what a model's network makes of a volume, wait for it, and show it.

        Args:
            inputVolume: the volume; the overlay lies on its voxel grid, under its parent transform.
            modelPath: root folder of a MONAI bundle, or another kind of model (docs/models.md).
            report: called with progress; raising from it ends the run.
            withResult: return the result beside the node: prediction, alignment, field of view and the rest.
            onMap: called with the overlay node, once, as soon as the map is there. Where this logic computes without a
                worker, and into a new node, that is before the map is checked; what is not known then is not on it.
            options: those of :meth:`start`.

        Returns:
            the overlay node, or node and result. What a node shows is on it: ``scene.overlay.resultOf(node)``.

        Raises:
            CAMOverlayError: one of its kinds. The scene is then as it was.
        """
        if self.worker is not None:
            node = self.start(inputVolume, modelPath, onProgress=report, **options).wait()
            if onMap is not None:
                onMap(node)
        else:
            node = self._processHere(inputVolume, modelPath, report, onMap, **options)
        return (node, overlay.resultOf(node)) if withResult else node

    def _processHere(
        self, inputVolume, modelPath, report, onMap, *, channels=(), overlayVolume=None, opacity=overlay.OPACITY, **more
    ):
        with tempfile.TemporaryDirectory(prefix="CAMOverlay-") as folder, Unchecked(inputVolume) as shown:
            exported = ExportedVolumes.write((inputVolume, *channels), folder)
            early = onMap is not None and overlayVolume is None

            def put(result: Result) -> slicer.vtkMRMLScalarVolumeNode:
                told, node = withNodes(result, exported.nodes, more), shown.node
                if node is not None:
                    overlay.tellMore(node, told, inputVolume)
                else:
                    add = partial(overlay.addOverlay, told, inputVolume, overlayVolume, opacity=opacity)
                    node = shown.added(add) if early else add()
                    if onMap is not None:
                        onMap(node)
                return _noted(node, told, more.get("structures"))

            def progressed(progress: Progress) -> None:
                report(progress)
                if progress.result is not None:
                    put(progress.result)

            request = _request(exported, modelPath, folder, **more)
            return put(self.compute(replace(request, unchecked=early), progressed))

    def start(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        modelPath: str | Path | None = None,
        *,
        channels: Sequence[slicer.vtkMRMLScalarVolumeNode] = (),
        overlayVolume: slicer.vtkMRMLScalarVolumeNode | None = None,
        opacity: float | None = overlay.OPACITY,
        sketch: bool = False,
        onProgress: Report = lambda progress: None,
        onResult: Callable[[slicer.vtkMRMLScalarVolumeNode], None] = lambda overlayNode: None,
        onError: Callable[[BaseException], None] = lambda error: None,
        **options: Any,
    ) -> Run:
        """Explain in a process of its own and return at once.

        The scene may change meanwhile. The overlay goes onto the volume that was given, whatever it is called by
        then; if that volume was edited, moved on its grid or removed, the run fails with a PlacementError and the
        scene stays as it is. A run that is still under way is cancelled for this one.

        Args:
            inputVolume: the volume; the overlay lies on its voxel grid, under its parent transform.
            modelPath: root folder of a MONAI bundle, or another kind of model (docs/models.md).
            channels: further volumes on the same grid, where the network takes more than one channel.
            overlayVolume: volume node to overwrite; None makes a new one.
            opacity: of the overlay in the slice views; None leaves the views as they are.
            sketch: show the map in the slice views as soon as it is there, on coarser voxels, until the run ends; of
                occlusion also what is known after its first round.
            onProgress: called with progress.
            onResult: called with the overlay node.
            onError: called with the error, ``Cancelled`` if the run was cancelled.
            options: those of :class:`CAMOverlayLib.contract.options.Options`, such as ``layer``, ``method``,
                ``device``, ``slices``, ``interpolation``, ``occludeStructures`` and ``intermediatesFolder``, and of
                the model and the target:

                - ``structures``: segmentation nodes, label map nodes, or paths of masks and label maps; on any grid,
                  parent transforms are taken into account.

                - ``trust``: you know where the model comes from; it can run code.
                - ``trustedHash``: instead of it the hash of the content that you trust; any other content is refused.
                - ``configs``: a bundle's configuration files, relative to its root, where they are not named as usual.
                - ``target``: class to explain, by name or index; None explains the predicted class. In words also
                  ``"a-b"`` (the difference of two) and ``"a@voxel=I,J,K"`` (``ras=``, ``mask=``), or a ``TargetSpec``.
                  With one of the next five it is a class alone.
                - ``minus``: class to compare with: the difference of the two is explained.
                - ``mask``: of a segmentation network, the region to explain: a segmentation node, a label map node, or
                  the path of an image file; on any grid, parent transforms are taken into account.
                - ``segment``: ID or name of the segment, where the segmentation has several.
                - ``label``: value in the label map; None takes every voxel but 0.
                - ``point``: instead of it one place: a markups node, whose first point counts, or world RAS in mm.

        Returns:
            the run: ``run.cancel()``, ``run.wait()`` (returns the overlay node), ``run.state``.

        Raises:
            CAMOverlayError: the volume or the mask cannot be exported, or there is no such Python.
        """
        if self.worker is None:
            self.worker = Worker()
        folder, python = tempfile.mkdtemp(prefix="CAMOverlay-"), self.worker.python
        try:
            exported = ExportedVolumes.planned((inputVolume, *channels), folder, overlayVolume)
            drawn = Sketch(exported, overlayVolume, opacity)

            def progressed(progress: Progress) -> None:
                if progress.sketch is not None:
                    drawn.show(progress.sketch)
                onProgress(progress)

            def failed(error: BaseException) -> None:
                drawn.clear()
                onError(error)

            def show(result: Result) -> Pieces[slicer.vtkMRMLScalarVolumeNode]:
                # In pieces, with Slicer's loop turning between them; the scene changes only in the last one.
                exported.requireInPlace()
                image = yield from readHeatmap(result.heatmap, inputVolume, result.peak)
                also = yield from further.read(result, inputVolume)
                yield TURN
                yield from exported.comparing()
                result = withNodes(result, exported.nodes, options, named_from_here(python) or "")
                drawn.clear(back=False)
                node = overlay.addOverlay(result, inputVolume, overlayVolume, opacity=opacity, image=image, also=also)
                return _noted(node, result, options.get("structures"))

            return self.worker.explain(
                replace(_request(exported, modelPath, folder, **options), sketch=sketch and opacity is not None),
                prepare=exported.writing(),
                finish=show,
                folders=(folder,),  # from here on the run's, which removes it however it ends
                on_progress=progressed,
                on_result=onResult,
                on_error=failed,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def compare(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        modelPath: str | Path | None = None,
        *,
        report: Report = lambda progress: None,
        **choices: Any,
    ) -> Comparison:
        """Explain one volume several times, wait for it, and show what came out as a sequence with a browser.

        What the explanations have in common is computed once.

        Args:
            inputVolume: the volume; the overlay that shows one of the explanations lies on its voxel grid.
            modelPath: root folder of a MONAI bundle, or another kind of model; none where ``models`` names them.
            report: called with progress over all; raising from it ends the comparison.
            choices: what is compared, one list of at least two: ``targets=[…]`` (each as ``target`` of :meth:`start`),
                ``methods=[…]``, ``layers=[…]`` or ``models=[…]`` (paths). And of :meth:`start` its options, which hold
                for every explanation, and ``channels`` and ``opacity``. And

                - ``oneScale``: show all on one colour scale, in shares of the largest raw magnitude; refused where the
                  magnitudes cannot be compared.

        Returns:
            the comparison: its nodes, the names of its items, and what could not be explained, with the reasons.

        Raises:
            CAMOverlayError: one of its kinds; of the first explanation where none could be computed. The scene is then
                as it was.
        """
        if self.worker is not None:
            return self.startComparison(inputVolume, modelPath, onProgress=report, **choices).wait()
        compute = comparing.withCache() if self.compute is computeHere else self.compute
        return comparing.compareHere(self._comparison(inputVolume, modelPath, choices), compute, report)

    def startComparison(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        modelPath: str | Path | None = None,
        *,
        onProgress: Report = lambda progress: None,
        onResult: Callable[[Comparison], None] = lambda comparison: None,
        onError: Callable[[BaseException], None] = lambda error: None,
        **choices: Any,
    ) -> ComparisonRun:
        """The same in a process of its own, at once; arguments as of :meth:`compare` and :meth:`start`.

        A run that is under way is cancelled for this one, and another run that starts meanwhile cancels this one.

        Returns:
            the run: ``run.cancel()``, ``run.wait()`` (returns the comparison), ``run.state``.
        """
        planned = self._comparison(inputVolume, modelPath, choices)
        if self.worker is None:
            self.worker = Worker()
        return ComparisonRun(planned, self.worker, onProgress, onResult, onError)

    def _comparison(self, inputVolume: Any, modelPath: str | Path | None, choices: dict[str, Any]) -> Planned:
        def requestOf(exported: ExportedVolumes, path: Any, folder: str, **settings: Any) -> Request:
            trusted = self.trustIn(path, settings.pop("trust", None), settings.pop("trustedHash", None))
            return _request(exported, path, folder, **trusted, **settings)

        return comparing.planned(inputVolume, modelPath, requestOf, **choices)

    def trustIn(self, modelPath: str | Path | None, trust: bool | None, trustedHash: str | None) -> dict[str, Any]:
        """The options that say in what a model is trusted, out of what the caller said."""
        return {"trust": trust, "trustedHash": trustedHash}

    @staticmethod
    def explainModel(
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        model: Any,
        preprocessing: Any,
        *,
        channels: Sequence[slicer.vtkMRMLScalarVolumeNode] = (),
        overlayVolume: slicer.vtkMRMLScalarVolumeNode | None = None,
        opacity: float | None = overlay.OPACITY,
        **options: Any,
    ) -> slicer.vtkMRMLScalarVolumeNode:
        """Explain a network that is in this Python's memory, wait for it, and show it.

        Args:
            inputVolume: the volume; the overlay lies on its voxel grid, under its parent transform.
            model: a ``torch.nn.Module``; it is left as it is.
            preprocessing: a MONAI chain.
            channels, overlayVolume, opacity: as of :meth:`start`.
            options: those of ``CAMOverlayLib.explain``: ``target``, ``method``, ``layer``, ``inferer``, ``classes`` …

        Returns:
            the overlay node.

        Raises:
            CAMOverlayError: one of its kinds. The scene is then as it was.
        """
        from .engine.api import explain_in
        from .engine.geometry.volume import read_volume

        with tempfile.TemporaryDirectory(prefix="CAMOverlay-") as folder:
            exported = ExportedVolumes.write((inputVolume, *channels), folder)
            volumes = [read_volume(file) for file in exported.files]
            result = explain_in(folder, model, preprocessing, volumes, **options)
            return overlay.addOverlay(result, inputVolume, overlayVolume, opacity=opacity)

    @staticmethod
    def writeDicom(
        overlayNode: slicer.vtkMRMLScalarVolumeNode, folder: str | Path, *, withPicture: bool = False, **options: Any
    ) -> dict[str, Any]:
        """Write an overlay as DICOM objects that belong to the series that was explained, and read them back.

        ``heatmap.dcm`` is a Parametric Map, ``hot-spots.dcm`` a Segmentation (where there are hot spots), and
        ``picture.dcm`` a Secondary Capture. The volume was loaded with ``core.loadVolume(folder)``, or with Slicer's
        module DICOM.

        Args:
            folder: where they appear, all or none; made if it is not there.
            withPicture: with the picture.
            options: ``threshold``, a :class:`CAMOverlayLib.contract.findings.Threshold` of what is a hot spot; None
                takes that of the explanation.

        Returns:
            of each file how many frames it has, and how far the worst of them lies from its slice.

        Raises:
            VolumeError: the volume comes from no DICOM series that is known.
            PlacementError: the volume is not the series any more, or what was written is not where it should be.
            OutputError: it cannot be written, or highdicom is missing.
        """
        from .scene import dicom_objects  # which nothing else here needs

        return dicom_objects.takeOut(overlayNode, withPicture=withPicture, **options).write(folder)

    @staticmethod
    def loadIntermediates(folder: str | Path) -> list[slicer.vtkMRMLScalarVolumeNode]:
        """Load the intermediate volumes that a run with ``intermediatesFolder`` left there, in the order of the steps.

        Each has an affine of its own, so that all of them overlay the volume that was explained. ``forward-…`` is the
        image after a step, ``backward-…`` the heatmap on that step's grid, which is shown in the heatmap's colours.

        Raises:
            VolumeError: there are none, or one cannot be loaded (a step that shears its grid, say).
        """
        files = sorted(
            Path(absolute(folder)).glob("*ward-*.nii.gz"), key=lambda path: (path.name.split("-")[1], path.name)
        )
        if not files:
            raise VolumeError(
                f"'{folder}' holds no intermediate volumes. Give the folder that was passed as intermediatesFolder."
            )
        nodes = [core.loadVolume(path) for path in files]
        for node in nodes:
            if node.GetName().startswith("backward"):
                overlay.ensureDisplay(node)
        return nodes

    loadTrail = loadIntermediates  # what it was called once


def pathOf(modelPath: str | Path | None, settings: dict[str, Any]) -> str | Path | None:
    """The model's path, also by its former name, ``bundlePath``, which is taken out of the settings."""
    former = settings.pop("bundlePath", None)
    return former if modelPath is None else modelPath


def _noted(node: slicer.vtkMRMLScalarVolumeNode, result: Result, structures: Any) -> slicer.vtkMRMLScalarVolumeNode:
    """The overlay, with whose structures were taken out of the image written on it."""
    if result.occluded:
        setOccluded(node, nodesIn(structures))
    return node


def _request(exported: ExportedVolumes, modelPath: str | Path | None, folder: str, **settings: Any) -> Request:
    """A request in the words of :meth:`OverlayLogic.start`."""
    taken = ("trust", "trustedHash", "configs", "target", "minus", "mask", "segment", "label", "point")
    path = pathOf(modelPath, settings)
    trust, trustedHash, configs, target, *place = (settings.pop(name, None) for name in taken)
    if path is None:
        raise BundleError("No model was given. Name its folder or file.")
    source = ModelSource(str(path), bool(trust), trustedHash, tuple(configs or ()))
    where = targetAt(target, exported.nodes[0], folder, **dict(zip(taken[4:], place, strict=True)))
    options = current_names(settings)
    options["structures"] = structureFiles(options.get("structures"), exported.nodes[0], folder)
    options["layer"] = options.get("layer") or None
    request = Request(exported.files, source, folder, target=where, **options)
    return request.absolute()  # the model's code, or the process, may work in another folder
