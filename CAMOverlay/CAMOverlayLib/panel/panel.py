"""The panel: ties the sections to the parameter node, and a press of Apply to a run. Start reading at
:meth:`Panel.apply`."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..contract.errors import CAMOverlayError, Cancelled, UntrustedBundleError
from ..contract.request import Progress
from ..logic import OverlayLogic
from ..scene.overlay import heat_view
from ..scene.overlay import node as overlay
from .bundle_state import BundleState
from .dialogs import trust
from .dialogs.install import Installer, usesOwnPython
from .dialogs.zoo import ZooRow
from .parameters import PanelParameters
from .remedies import inThePanel
from .sections.display import DisplaySection
from .sections.explain import ExplainSection
from .sections.inputs import InputsSection
from .sections.progress import ProgressSection
from .sections.results import ResultSection
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
        # Callbacks belong to what they were made for: each start makes a new ticket, and those of an older one are
        # heard no more. Otherwise the late end of a run that was superseded would end the one that superseded it.
        self._run: Any = None
        self._runTicket: object = None
        self._preparing: object = None
        self._hashing: trust.Hashing | None = None
        self._trustedHash: str | None = None
        self._listing: Any = None
        self._content = ""
        self._notes: list[str] = []
        self._explained: tuple | None = None
        self.inputs = InputsSection(ui, self._onBundle, self._update)
        self.explain = ExplainSection(ui, self._onChosen, self._updateApply, self._onPython)
        self.progress = ProgressSection(ui, self._log)
        self.results = ResultSection(ui, self._explainClass)
        self.display = DisplaySection(ui, self.progress.say)
        self.zoo = ZooRow(ui, self._useBundle)
        ui.applyButton.clicked.connect(self._onApplyButton)
        ui.layersButton.clicked.connect(self._onLayersButton)
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
        for section in (self.inputs, self.explain, self.display):
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
        plain = [v for v in volumes if v is not None and v.GetClassName() in kinds and not overlay.isOverlay(v)]
        if plain:
            self.parameters.inputVolume = plain[0]

    def refresh(self) -> None:
        """Show once more what the parameter node says: a node selector learns late of nodes that came with a scene."""
        if self.parameters is not None:
            self._update()

    def close(self) -> None:
        """The panel goes: with the module, at a reload, or with Slicer."""
        self._stopAll()
        self.zoo.stop()
        self.setParameters(None)
        self.display.setOverlay(None)
        self.removeObservers()
        if self.logic.worker is not None:
            self.logic.worker.stop()

    def sceneCloses(self) -> None:
        self._stopAll()
        self.setParameters(None)
        self.display.setOverlay(None)
        self._explained = None

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
            if self.results.shown is not None and not self.explain.classCount:
                self.explain.setClasses(self.results.shown.prediction.classes)
        self._updateApply()

    def _updateApply(self) -> None:
        problem = self._problem()
        button = self.ui.applyButton
        button.text = _("C&ancel") if self.busy else _("&Apply")
        button.enabled = self.busy or not problem
        if self.busy:
            button.toolTip = _("Stop the computation. Nothing is changed.")
        else:
            button.toolTip = problem or _("Explain the chosen class and show the heatmap over the volume.")
        self.ui.layersButton.enabled = (
            not self.busy and self.inputs.bundle is not None and not self.inputs.bundle.problem
        )

    def _problem(self) -> str:
        """Why Apply cannot be pressed, or an empty text."""
        if self.parameters is None or self.parameters.inputVolume is None:
            return _("Load or choose a volume first.")
        if self.inputs.bundle is None:
            return _("Choose a bundle first.")
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

    # A run, from the press of Apply to the overlay.

    @property
    def busy(self) -> bool:
        return self._run is not None or self._preparing is not None

    def _onApplyButton(self, checked: bool = False) -> None:
        if self.busy:
            self.cancel()
        else:
            self.inputs.flush()
            self.apply()

    def apply(self) -> None:
        """Trust, dependencies, run: each step begins when the one before is through."""
        problem = self._problem()
        if problem:
            self.progress.say(problem)
            return
        self._notes.clear()
        self._withTrust(self._explain)

    def cancel(self) -> None:
        prepared = self._stopPreparing()
        if self._run is not None:
            self.ui.applyButton.enabled = False  # until the run says that it ended
            self._run.cancel()
        elif prepared:
            self._finish(_("Cancelled; nothing was changed."))

    def _withTrust(self, then: Any, ask: bool = True) -> None:
        """Go on with ``then`` once the user trusts the bundle as it is now and everything that it needs is installed.

        Every run and every listing comes through here, since the bundle may have changed since the one before.

        Args:
            ask: without it nothing is asked, installed or said: what is not trusted is left alone.
        """
        self._stopPreparing()
        ticket = self._preparing = object()
        bundle = self.inputs.bundle
        assert bundle is not None

        def onHash(contentHash: str) -> None:
            if self._preparing is not ticket:
                return
            self._hashing = None
            if not isTrusted(bundle.folder, contentHash):
                allowed = ask and trust.ask(BundleState.read(str(bundle.folder)), contentHash)
                if not stillMeant():
                    return
                if not allowed:
                    end(_("Nothing was run, since the bundle is not trusted."))
                    return
            own = usesOwnPython(str(self.logic.worker.python or ""))
            problem = self.installer.ensure() if own and ask else ""
            if not stillMeant():
                return
            self._preparing = None
            if problem:
                end(problem)
                return
            self._forgetLayersOf(contentHash)
            self._trustedHash = contentHash  # what was shown is what may run, whatever is there by then
            then()

        def stillMeant() -> bool:
            """Scripts and other modules go on while a question is open: the scene may be closed, another bundle
            chosen."""
            if self._preparing is not ticket:
                return False
            if self.inputs.bundle is None or self.inputs.bundle.folder != bundle.folder:
                end(_("Another bundle was chosen meanwhile. Apply again."))
                return False
            return True

        def end(words: str) -> None:
            self._preparing = None
            if ask:
                self._notStarted(words)
            else:
                self._updateApply()

        def onError(problem: str) -> None:
            if self._preparing is ticket:
                self._hashing = None
                end(problem)

        if ask and self._run is None:
            self.progress.start(_("Checking the bundle"))
        self._hashing = trust.Hashing(bundle.folder, onHash, onError)
        self._updateApply()

    def _stopPreparing(self) -> bool:
        """End what goes before a run; whether there was anything."""
        prepared, self._preparing = self._preparing is not None, None
        if self._hashing is not None:
            self._hashing.cancel()
            self._hashing = None
        return prepared

    def _forgetLayersOf(self, contentHash: str) -> None:
        """Layers that were listed belong to the content that they were listed of."""
        if self._content and self._content != contentHash and self.explain.layersKnown:
            self.explain.setLayers((), "")
        self._content = contentHash

    def _notStarted(self, words: str) -> None:
        """Say why there is no new run; one that is under way goes on."""
        if self._run is None:
            self._finish(words)
        else:
            self.progress.say(words)
            self._updateApply()

    def _explain(self) -> None:
        parameters, bundle = self.parameters, self.inputs.bundle
        if parameters is None or bundle is None or self._problem():
            self._notStarted(self._problem())  # the scene changed while a question was open
            return
        self._stopListing()
        if not self.ui.progressBar.visible:
            self.progress.start("")
        self.progress.report(Progress("", 0.0, _("Exporting the volume")))
        wanted = self._wanted()
        before, ticket = self._runTicket, object()

        def current() -> bool:
            return self._runTicket is ticket

        self._runTicket = ticket  # first: the run before may end while this one is started
        try:
            run = self.logic.start(
                parameters.inputVolume,
                str(bundle.folder),
                channels=self.inputs.channels(),
                target=int(parameters.target) if parameters.target else None,
                minus=int(parameters.minus) if parameters.minus else None,
                **self.explain.places.asked(),
                slices=parameters.slices or None,
                layer=parameters.layer or None,
                method=parameters.method,
                device=parameters.device,
                trustedHash=self._trustedHash,
                overlayVolume=parameters.overlayVolume,
                opacity=parameters.opacity,
                onProgress=lambda progress: self.progress.report(progress) if current() else None,
                onResult=lambda node: self._onResult(node, wanted) if current() else None,
                onError=lambda error: self._onError(error) if current() else None,
            )
        except CAMOverlayError as error:
            if current():
                self._runTicket = before  # a run that is under way was not touched
            self._notStarted(inThePanel(error))
            return
        if current():  # otherwise it has ended already
            self._run = run
        self._updateApply()

    def _onResult(self, node: Any, wanted: tuple) -> None:
        self._run = self._runTicket = None
        self._explained = wanted
        if self.parameters is not None and self.parameters.bundleFolder == wanted[1]:
            self.inputs.keepInHistory()
        if self.parameters is not None and self.parameters.overlayVolume is not node:
            self.parameters.overlayVolume = node
            overlay.jumpToPeak(
                node, centre=False
            )  # or a small new overlay might lie in none of the slices that are shown
        self.display.renewFieldOfView()
        heat_view.bringHeatIntoView(node)  # another class or method may have its heat elsewhere
        hello = self.logic.worker.hello
        if hello is not None:
            self.explain.showVersions(hello.python, hello.versions)
        if self._preparing is not None:  # the next run is already on its way
            self._update()
            return
        self._finish("")
        if not self.explain.layersKnown and self.inputs.bundle is not None and not self.inputs.bundle.problem:
            self._withTrust(self._listLayers, ask=False)

    def _onError(self, error: BaseException) -> None:
        self._run = self._runTicket = None
        if isinstance(error, Cancelled):
            if self._preparing is not None:
                self._update()
                return
            self._finish(_("Cancelled; nothing was changed."))
            return
        if isinstance(error, UntrustedBundleError):
            error = UntrustedBundleError(_("The bundle changed since it was trusted. Apply again."))
        message, _line, details = inThePanel(error).partition("\n")
        if details:
            self._note(details)
        self._finish(message, unfoldLog=bool(details))

    def _finish(self, message: str, unfoldLog: bool = False) -> None:
        self.progress.stop()
        self.progress.say(message, unfoldLog)
        self._update()

    def _stopAll(self) -> None:
        self._stopListing()
        if self._stopPreparing():
            self.progress.stop()
        if self._run is not None:
            self._run.cancel()

    # Follow.

    def _wanted(self) -> tuple:
        """What a run would explain: with the same answer twice there is nothing to compute."""
        assert self.parameters is not None
        chosen, node = self.parameters, self.parameters.inputVolume
        what = (chosen.target, chosen.minus, self.explain.places.key(), chosen.layer, chosen.method, chosen.slices)
        return (node.GetID() if node else "", chosen.bundleFolder, *what)

    def _onChosen(self) -> None:
        """Something else is chosen: where the process is warm and the overlay is of this volume, show it at once."""
        self._updateApply()
        if self.parameters is None or not self.parameters.follow or self._explained is None or self._problem():
            return
        if self._explained[:2] != self._wanted()[:2] or self._explained == self._wanted():
            return
        if self.logic.worker.ready:
            self._withTrust(self._explain)  # the worker cancels a run before for this one

    def _explainClass(self, index: int) -> None:
        row = self.ui.targetSelector.findData(str(index))
        if row >= 0:
            self.ui.targetSelector.currentIndex = row

    # Bundle, layers, Python.

    def _useBundle(self, folder: str) -> None:
        self.ui.bundleSelector.currentPath = folder
        self.inputs.flush()

    def _onBundle(self, bundle: BundleState | None) -> None:
        self._stopListing()
        self.explain.setBundle(bundle)
        self._updateApply()

    def _onLayersButton(self, checked: bool = False) -> None:
        self._withTrust(self._listLayers)

    def _listLayers(self) -> None:
        """Ask the process for the layers; a run that begins meanwhile goes first."""
        bundle = self.inputs.bundle
        if self._run is not None or bundle is None or bundle.problem:
            return
        if self.ui.progressBar.visible:
            self.progress.stop()
        self.ui.layersButton.text = _("Listing the layers …")
        ticket = self._listing = _Listing()

        def onResult(answer: dict[str, Any]) -> None:
            if self._listing is ticket:
                self._showListingDone()
                if self.inputs.bundle is not None and bundle.folder == self.inputs.bundle.folder:
                    self.explain.setLayers(answer["layers"], answer["default"])

        def onError(error: BaseException) -> None:
            if self._listing is ticket:
                self._showListingDone()
                if not isinstance(error, Cancelled):
                    self.progress.say(inThePanel(error).partition("\n")[0])

        payload = {"bundle": str(bundle.folder), "trusted_hash": self._trustedHash}
        try:
            ticket.run = self.logic.worker.call("inspect", payload, on_result=onResult, on_error=onError)
        except CAMOverlayError as error:
            onError(error)
        self._updateApply()

    def _showListingDone(self) -> None:
        self._listing = None
        self.ui.layersButton.text = _("List the layers of this &network")
        self._updateApply()

    def _stopListing(self) -> None:
        listing = self._listing
        if listing is not None:
            self._showListingDone()
            if listing.run is not None:
                listing.run.cancel()

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
        self._stopListing()
        self.logic.worker.stop()
        self.progress.say(self.installer.remove())

    # The log.

    def _note(self, line: str) -> None:
        self._notes.append(line)

    def _log(self) -> str:
        return "\n".join([*self._notes, self.logic.worker.log if self.logic.worker is not None else ""]).strip()


class _Listing:
    """A listing of layers that is under way, and its run once there is one."""

    run: Any = None


def isTrusted(folder: Any, contentHash: str) -> bool:
    """Whether nothing needs to be asked of this content: the user said yes to it, or it ships with the module."""
    return trust.isTrusted(contentHash) or isShippedBundle(folder, contentHash)


def alignLabels(ui: Any) -> None:
    """Let the fields of all sections begin at the same place, whatever the language and the font."""
    forms = (ui.inputsButton, ui.explainButton, ui.outputButton, ui.displayButton)
    labels = [w for form in forms for w in form.children() if w.inherits("QLabel") and w.buddy() is not None]
    width = max(label.sizeHint.width() for label in labels)
    for label in labels:
        label.minimumWidth = width
