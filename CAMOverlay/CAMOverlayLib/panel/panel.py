"""The panel: ties the sections to the parameter node, and is the face of the run controller. Start reading at
:meth:`Panel.apply`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..contract.errors import UntrustedBundleError
from ..contract.inspection import Inspection
from ..contract.methods import CATALOGUE
from ..contract.model import ModelSource
from ..contract.request import Progress
from ..logic import OverlayLogic
from ..scene.comparison.sequence import isBrowsed
from ..scene.findings import plots
from ..scene.overlay import further, heat_view
from ..scene.overlay import node as overlay
from ..scene.structure_files import StructuresOf
from .bundle_state import BundleState
from .dialogs import trust
from .dialogs.install import Installer, usesOwnPython
from .dialogs.zoo import ZooRow
from .parameters import PanelParameters
from .remedies import inThePanel
from .run_controller import Cancellable, RunController
from .sections.cohort import CohortSection
from .sections.compare import CompareSection
from .sections.dicom import DicomRow
from .sections.display import DisplaySection
from .sections.explain import ExplainSection
from .sections.findings import FindingsSection
from .sections.inputs import InputsSection
from .sections.maps import MapsSection
from .sections.progress import ProgressSection
from .sections.results import ResultSection
from .sections.take_away import TakeAwaySection
from .shipped import isShippedBundle


class Panel(VTKObservationMixin):
    """Everything between the widgets and the logic.

    Args:
        ui: the widgets of ``CAMOverlay.ui`` by name.
        logic: explains; its ``worker`` is the process that computes.
        installer: gets what is missing into Slicer's Python.
    """

    def __init__(self, ui: Any, logic: OverlayLogic, installer: Installer | None = None) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.logic = ui, logic
        self.installer = installer or Installer(self._note)
        self.parameters: PanelParameters | None = None
        self._guiTag: Any = None
        self._content = ""
        self._notes: list[str] = []
        self.runs = RunController(self, _Gate(self), _Computation(self), _Words())
        self.inputs = InputsSection(ui, self._onBundle, self._update)
        self.explain = ExplainSection(ui, self._onChosen, self._updateApply, self._onPython)
        self.progress = ProgressSection(ui, self._log)
        self._checkFully = False
        self._occluded: StructuresOf | None = None
        self._opensFalls = False
        self._compared: dict[str, Any] = {}
        self.results = ResultSection(ui, self._explainClass)
        self.takeAway = TakeAwaySection(
            ui, lambda: self.parameters and self.parameters.overlayVolume, self.progress.say
        )
        self.display = DisplaySection(ui, self.progress.say)
        self.maps = MapsSection(ui, self.progress.say, self._onMissingMap, self.display.refresh)
        self.findings = FindingsSection(ui, self.progress.say, self.display.refresh)
        self.dicom = DicomRow(ui, self.progress.say, lambda: self.findings.threshold)
        self.compare = CompareSection(ui, self.explain, self.progress.say, self._onCompare, self._update)
        self.cohort = CohortSection(ui, self.progress.say, self._onCase)
        self.zoo = ZooRow(ui, self._useBundle)
        ui.applyButton.clicked.connect(self._onApplyButton)
        ui.layersButton.clicked.connect(self._onLayersButton)
        ui.checkButton.clicked.connect(self._onCheckButton)
        ui.mattersButton.clicked.connect(self._onMattersButton)
        ui.removeButton.clicked.connect(self._onRemove)
        alignLabels(ui)

    # The parameter node.

    def setParameters(self, parameters: PanelParameters | None) -> None:
        """Show another parameter node, or none while the scene closes."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self._guiTag)
            if self.hasObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update):
                self.removeObserver(self.parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self.parameters = parameters
        sections = (self.inputs, self.explain, self.display, self.maps, self.findings, self.compare, self.cohort)
        for section in sections:
            section.setParameters(parameters)
        if parameters is not None:
            self._guiTag = parameters.connectGui(self.ui)
            self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._update()

    def preselect(self) -> None:
        """Choose the volume that the user is looking at, or the first one, if none is chosen."""
        if self.parameters is None or self.parameters.inputVolume is not None:
            return
        selection = slicer.app.applicationLogic().GetSelectionNode()
        active = slicer.mrmlScene.GetNodeByID(selection.GetActiveVolumeID() or "") if selection else None
        volumes = [active, *slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")]
        kinds = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")
        known = (overlay.isOverlay, further.isFurther)
        plain = [v for v in volumes if v is not None and v.GetClassName() in kinds and not any(is_(v) for is_ in known)]
        if plain:
            self.parameters.inputVolume = plain[0]

    def refresh(self) -> None:
        """Show once more what the parameter node says: a node selector learns late of nodes that came with a scene."""
        if self.parameters is not None:
            self._update()

    def close(self) -> None:
        """The panel goes: with the module, at a reload, or with Slicer."""
        self._stopAll()
        self.dicom.stop()
        self.zoo.stop()
        self.setParameters(None)
        self.display.setOverlay(None)
        self.maps.setOverlay(None)
        self.findings.setOverlay(None)
        self.compare.setOverlay(None)
        self.removeObservers()
        if self.logic.worker is not None:
            self.logic.worker.stop()

    def sceneCloses(self) -> None:
        self._stopAll()
        self.setParameters(None)
        self.dicom.setOverlay(None)
        self.display.setOverlay(None)
        self.maps.setOverlay(None)
        self.findings.setOverlay(None)
        self.compare.setOverlay(None)
        self.runs.forget()

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Bring the widgets to what the parameter node says."""
        if self.parameters is None:
            self.results.show(None)
        else:
            self.inputs.update()
            self.explain.update()
            node = self.parameters.overlayVolume
            self.results.show(overlay.resultOf(node) if overlay.isOverlay(node) else None)
            self.display.applyOpacity()  # first: a new overlay tells the parameter what the views show, not the reverse
            self.display.setOverlay(node)
            self.maps.setOverlay(node)
            self.findings.setOverlay(node)
            self.dicom.setOverlay(node)
            self.compare.setOverlay(node)
            if self.results.shown is not None and not self.explain.classCount:
                self.explain.setClasses(self.results.shown.prediction.classes)
        self._updateApply()

    def _updateApply(self) -> None:
        problem = self.problem()
        button = self.ui.applyButton
        button.text = _("C&ancel") if self.busy else _("&Apply")
        button.enabled = self.busy or not problem
        if self.busy:
            button.toolTip = _("Stop the computation. Nothing is changed.")
        else:
            button.toolTip = problem or _("Explain the chosen class and show the heatmap over the volume.")
        self.ui.checkButton.enabled = not self.busy and not problem and self.runs.explained is not None
        self.ui.mattersButton.enabled = not self.busy and not problem and self.findings.structures.chosen
        self.compare.setState(problem, self.busy)
        self.ui.layersButton.enabled = (
            not self.busy and self.inputs.bundle is not None and not self.inputs.bundle.problem
        )

    def problem(self) -> str:
        """Why Apply cannot be pressed, or an empty text."""
        if self.parameters is None or self.parameters.inputVolume is None:
            return _("Load or choose a volume first.")
        if self.inputs.bundle is None:
            return _("Choose a model first.")
        if self.inputs.bundle.problem:
            return self.inputs.bundle.problem
        if None in self.inputs.channels():
            return _("The bundle wants {count} volumes. Choose all of them.").format(count=self.inputs.bundle.channels)
        if self.parameters.minus and self.parameters.minus == self.parameters.target:
            return _("Choose two different classes, or no other class.")
        if problem := self.explain.places.problem():
            return problem
        output = self.parameters.overlayVolume
        if output is not None and output.GetImageData() is not None and not overlay.isOverlay(output):
            return _("The output “{name}” is an image of its own, not an overlay. Choose another one.").format(
                name=output.GetName()
            )
        return ""

    # A press of Apply. What follows it, and in which order, is in run_controller.

    @property
    def busy(self) -> bool:
        return self.runs.busy

    def _onApplyButton(self, checked: bool = False) -> None:
        self._compared = {}
        if self.busy:
            self.cancel()
        else:
            self.inputs.flush()
            self.apply()

    def _onCheckButton(self, checked: bool = False) -> None:
        """The same map once more, with all that can be asked of it."""
        self._checkFully = True
        self._onApplyButton()

    def _onCompare(self, kind: str, choices: list[Any]) -> None:
        """The volume explained for each of several choices."""
        self._compared = {kind: choices}
        self.inputs.flush()
        self.apply()

    def compared(self) -> dict[str, Any]:
        """What the next run compares; it holds for one run only."""
        wanted, self._compared = self._compared, {}
        return wanted

    def checks(self) -> str:
        """How much is asked of the next map; all of it holds for one map only."""
        wanted, self._checkFully = self._checkFully, False
        return "full" if wanted else "quick"

    def _onMattersButton(self, checked: bool = False) -> None:
        """The same map once more, with the answer without each structure beside it."""
        self.inputs.flush()
        if self.busy or self.parameters is None or self.parameters.inputVolume is None:
            return

        def begin(found: StructuresOf) -> None:
            if not self.busy:
                self._occluded = found
                self.apply()

        self.findings.structures.collect(self.parameters.inputVolume, begin)

    def structures(self) -> dict[str, Any]:
        """What is taken out of the image in the next run; that holds for one run only."""
        found, self._occluded = self._occluded, None
        self._opensFalls = found is not None
        return {} if found is None else {"structures": [found], "occludeStructures": True}

    def apply(self) -> None:
        """Trust, dependencies, run: each step begins when the one before is through."""
        if not self.problem():
            self._notes.clear()
        self.runs.apply()

    def cancel(self) -> None:
        self.runs.cancel()

    # What the controller sees and says: the Face.

    def folder(self) -> Path | None:
        return self.inputs.bundle.folder if self.inputs.bundle is not None else None

    def bundleProblem(self) -> str:
        return self.inputs.bundle.problem if self.inputs.bundle is not None else ""

    def wantsLayers(self) -> bool:
        return not self.explain.layersKnown and self.inputs.bundle is not None and not self.inputs.bundle.problem

    def words(self, error: BaseException) -> str:
        return inThePanel(error)

    def wanted(self) -> tuple:
        assert self.parameters is not None
        chosen, node = self.parameters, self.parameters.inputVolume
        what = (chosen.target, chosen.minus, self.explain.places.key(), chosen.layer, chosen.method, chosen.slices)
        return (node.GetID() if node else "", chosen.bundleFolder, *what)

    def showsFirst(self) -> bool:
        """A method of one pass, whose checks take longer than itself, is; of long ones nothing is checked at once."""
        return self.parameters is not None and not CATALOGUE[self.parameters.method].long

    def checking(self) -> None:
        self.progress.start(_("Checking the bundle"))

    def starting(self) -> None:
        if not self.ui.progressBar.visible:
            self.progress.start("")
        self.report(Progress("", 0.0, _("Exporting the volume")))

    def cancelling(self) -> None:
        self.ui.applyButton.enabled = False  # until the run says that it ended

    def report(self, progress: Progress) -> None:
        self.progress.report(progress)

    def say(self, words: str) -> None:
        self.progress.say(words)

    def finish(self, words: str) -> None:
        self._finish(words)

    def changed(self) -> None:
        self._updateApply()

    def contentKnown(self, contentHash: str) -> None:
        """Layers that were listed belong to the content that they were listed of."""
        if self._content and self._content != contentHash and self.explain.layersKnown:
            self.explain.setLayers((), "")
        self._content = contentHash

    def show(self, node: Any, wanted: tuple) -> None:
        if self.parameters is not None and self.parameters.bundleFolder == wanted[1]:
            self.inputs.keepInHistory()
        if self.parameters is not None and self.parameters.overlayVolume is not node:
            self.parameters.overlayVolume = node
            overlay.jumpToPeak(node, centre=False)  # a small new overlay might lie in none of the slices that are shown
        if self.results.shown is not None:
            overlay.keepAnswers(node, self.results.shown)
        if self._opensFalls:
            self._opensFalls = False
            plots.openChart(plots.showStructureFalls(node))
        self.display.renewFieldOfView()
        self.maps.arrived(node)
        self.display.refresh()  # another result on the same overlay may have a deviation, or none
        heat_view.bringHeatIntoView(node)  # another class or method may have its heat elsewhere
        hello = self.logic.worker.hello
        if hello is not None:
            self.explain.showVersions(hello.python, hello.versions)

    def fail(self, error: BaseException) -> None:
        if isinstance(error, UntrustedBundleError):
            error = UntrustedBundleError(_("The bundle changed since it was trusted. Apply again."))
        message, _line, details = inThePanel(error).partition("\n")
        if details:
            self._note(details)
        self._finish(message, unfoldLog=bool(details))

    def listing(self, under_way: bool) -> None:
        if under_way and self.ui.progressBar.visible:
            self.progress.stop()
        words = _("Listing the layers …") if under_way else _("List the layers of this &network")
        self.ui.layersButton.text = words
        self._updateApply()

    def showLayers(self, found: Inspection) -> None:
        self.explain.setLayers(found.layers, found.default)

    def failListing(self, error: BaseException) -> None:
        self.progress.say(inThePanel(error).partition("\n")[0])

    def _finish(self, message: str, unfoldLog: bool = False) -> None:
        self.progress.stop()
        self.progress.say(message, unfoldLog)
        self._update()

    def _stopAll(self) -> None:
        self.findings.structures.stop()
        if self.runs.stopAll():
            self.progress.stop()

    # Follow.

    def _onChosen(self) -> None:
        """Something else is chosen: where the process is warm and the overlay is of this volume, show it at once."""
        self._compared = {}
        self._updateApply()
        if self.parameters is not None and self.parameters.follow and self.logic.worker.ready:
            self.runs.follow()  # the worker cancels a run before for this one

    def _onMissingMap(self) -> None:
        """A map was asked for that this result has not: the same once more, with it."""
        if self.busy:
            self.progress.say(_("Wait until the computation is done, or cancel it."))
        else:
            self.inputs.flush()
            self.apply()

    def _explainClass(self, index: int) -> None:
        row = self.ui.targetSelector.findData(str(index))
        if row >= 0:
            self.ui.targetSelector.currentIndex = row

    def _onCase(self, volume: Any, node: Any) -> None:
        """A case of a cohort came into the scene, in the place of the one before."""
        if self.parameters is None:
            return
        self.parameters.inputVolume = volume
        self.parameters.overlayVolume = node
        overlay.jumpToPeak(node, centre=False)
        self._update()
        self.display.renewFieldOfView()
        self.maps.arrived(node)
        self.display.refresh()
        heat_view.bringHeatIntoView(node)

    # Bundle, layers, Python.

    def _useBundle(self, folder: str) -> None:
        self.ui.bundleSelector.currentPath = folder
        self.inputs.flush()

    def _onBundle(self, bundle: BundleState | None) -> None:
        self.runs.stopListing()
        self.explain.setBundle(bundle)
        self._updateApply()

    def warmUp(self) -> None:
        """The panel was opened: where what is chosen is trusted and installed, the process starts now instead of with
        Apply, and knows the model when it is asked. Nothing is asked and nothing is said."""
        if self.parameters is not None and self.wantsLayers() and not self.busy and not self.runs.isListing:
            self.runs.listLayers(ask=False)

    def _onLayersButton(self, checked: bool = False) -> None:
        self.runs.listLayers()

    def _onPython(self, path: str) -> None:
        """Another Python computes from now on."""
        if self.logic.worker.python != (path or None):
            self._stopAll()
            self.logic.worker.stop()
            self.logic.worker.python = path or None

    def _onRemove(self, checked: bool = False) -> None:
        """Take away what was installed for the computation, whose process must not hold it open."""
        if self.busy:
            self.progress.say(_("Wait until the computation is done, or cancel it."))
            return
        self.runs.stopListing()
        self.logic.worker.stop()
        self.progress.say(self.installer.remove())

    # The log.

    def _note(self, line: str) -> None:
        self._notes.append(line)

    def _log(self) -> str:
        return "\n".join([*self._notes, self.logic.worker.log if self.logic.worker is not None else ""]).strip()


class _Words:
    """What the controller says, in the user's language."""

    def __init__(self) -> None:
        self.notTrusted = _("Nothing was run, since the bundle is not trusted.")
        self.otherBundle = _("Another bundle was chosen meanwhile. Apply again.")
        self.cancelled = _("Cancelled; nothing was changed.")


class _Gate:
    """Who may run: what the user trusts, in a Python that has what is needed."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel

    def hash(self, folder: Path, onHash: Callable[[str], None], onError: Callable[[str], None]) -> Cancellable:
        if self._canRunNothing(folder):
            return trust.NothingToHash(onHash)
        return trust.Hashing(folder, onHash, onError)

    def allows(self, folder: Path, contentHash: str, ask: bool) -> bool:
        return (
            self._canRunNothing(folder)
            or isTrusted(folder, contentHash)
            or (ask and trust.ask(BundleState.read(str(folder)), contentHash))
        )

    def _canRunNothing(self, folder: Path) -> bool:
        """A kind of model that has no code: there is nothing to ask, and nothing to recognise it by."""
        chosen = self._panel.inputs.bundle
        known = chosen if chosen is not None and chosen.folder == folder else BundleState.read(str(folder))
        return not known.needsTrust

    def install(self, ask: bool) -> str:
        own = usesOwnPython(str(self._panel.logic.worker.python or ""))
        return self._panel.installer.ensure() if own and ask else ""


class _Computation:
    """The logic, asked with what is chosen in the panel."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel

    def explain(self, trustedHash: str, onProgress: Any, onResult: Any, onError: Any, checked: bool = True) -> Any:
        parameters, panel = self._panel.parameters, self._panel
        assert parameters is not None
        asked = {
            "channels": panel.inputs.channels(),
            "target": int(parameters.target) if parameters.target else None,
            "minus": int(parameters.minus) if parameters.minus else None,
            **panel.explain.places.asked(),
            "slices": parameters.slices or None,
            "layer": parameters.layer or None,
            "method": parameters.method,
            "device": parameters.device,
            "checks": panel.checks() if checked else "none",
            "also": panel.maps.wanted(),
            **panel.structures(),
            "trustedHash": trustedHash,
            "opacity": parameters.opacity,
        }
        told = {"onProgress": onProgress, "onError": onError}
        if compared := panel.compared():
            one = {"targets": "target", "methods": "method", "layers": "layer"}
            asked = {name: value for name, value in asked.items() if name not in {one[kind] for kind in compared}}
            return panel.logic.startComparison(
                parameters.inputVolume,
                str(panel.folder()),
                **asked,
                **compared,
                **told,
                onResult=lambda comparison: onResult(comparison.overlayNode),
            )
        # What shows one of several is not overwritten: it would be gone with the next one that is shown.
        node = parameters.overlayVolume
        node = None if isBrowsed(node) else node
        return panel.logic.start(
            parameters.inputVolume,
            str(panel.folder()),
            overlayVolume=node,
            sketch=True,
            onResult=onResult,
            **asked,
            **told,
        )

    def layers(self, folder: Path, trustedHash: str, onResult: Any, onError: Any) -> Any:
        source = ModelSource(str(folder), trusted_hash=trustedHash)
        return self._panel.logic.worker.inspect(source, on_result=onResult, on_error=onError)


def isTrusted(folder: Any, contentHash: str) -> bool:
    """Whether nothing needs to be asked of this content: the user said yes to it, or it ships with the module."""
    return trust.isTrusted(contentHash) or isShippedBundle(folder, contentHash)


def alignLabels(ui: Any) -> None:
    """Let the fields of all sections begin at the same place, whatever the language and the font."""
    forms = [
        getattr(ui, f"{name}Button")
        for name in ("inputs", "explain", "output", "findings", "compare", "cohort", "display")
    ]
    labels = [w for form in forms for w in form.children() if w.inherits("QLabel") and w.buddy() is not None]
    width = max(label.sizeHint.width() for label in labels)
    for label in labels:
        label.minimumWidth = width
