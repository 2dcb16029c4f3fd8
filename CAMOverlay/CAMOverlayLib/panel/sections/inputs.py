"""The section Inputs: volume, further channels, bundle, and what the bundle is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...scene.io import volumes
from ..bundle_state import BundleState
from ..parameters import CHANNEL_ROLE, PanelParameters


class InputsSection:
    """Chooses what is explained by which bundle.

    Args:
        ui: the panel's widgets by name.
        onBundleChanged: called when another bundle was chosen, with its state.
        onChanged: called when another volume was chosen for a channel.
    """

    def __init__(
        self, ui: Any, onBundleChanged: Callable[[BundleState | None], None], onChanged: Callable[[], None]
    ) -> None:
        self.ui = ui
        self.bundle: BundleState | None = None
        self._onBundleChanged, self._onChanged = onBundleChanged, onChanged
        self._parameters: PanelParameters | None = None
        self._channelRows: list[tuple[Any, Any]] = []
        self._filling = False
        self._readFrom: str | None = None
        # Long paths must not make the panel wider than it is.
        ui.bundleSelector.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
        ui.bundleSelector.retrieveHistory()
        # The text changes with every key; the folder is read when typing pauses.
        self._pause = qt.QTimer()
        self._pause.setSingleShot(True)
        self._pause.interval = 300
        self._pause.timeout.connect(self._readBundle)
        ui.bundleSelector.currentPathChanged.connect(self._onPathChanged)

    def setParameters(self, parameters: PanelParameters | None) -> None:
        self._parameters = parameters
        self.update()

    def update(self) -> None:
        """Show what the parameter node says."""
        if self._parameters is None:
            return
        folder = self._parameters.bundleFolder
        if folder != self._readFrom:
            self._pause.stop()
        # What is being typed stays: another parameter that changes meanwhile says nothing about the folder.
        if self.ui.bundleSelector.currentPath != folder and not self._pause.isActive():
            self._filling = True
            self.ui.bundleSelector.currentPath = folder
            self._filling = False
        if folder != self._readFrom:
            self._readBundle()
        self._updateChannels()

    def _onPathChanged(self, path: str = "") -> None:
        if not self._filling and self._parameters is not None:
            self._pause.start()

    def flush(self) -> None:
        """Read now what was typed just now."""
        if self._pause.isActive():
            self._pause.stop()
            self._readBundle()

    def _readBundle(self) -> None:
        """Read the folder that is typed. Where path and content are as they were, nothing of the panel changes: the
        field also says that its path changed when the path is put into its history."""
        if self._parameters is None:
            return
        path = self.ui.bundleSelector.currentPath.strip()
        bundle = BundleState.read(path) if path else None
        same = path == self._readFrom and bundle == self.bundle and self._parameters.bundleFolder == path
        if same:
            return
        self._readFrom, self.bundle = path, bundle
        self.ui.bundleInfoLabel.text = (
            self.bundle.describe()
            if self.bundle
            else _("Choose a MONAI bundle, an nnU-Net folder, or an Auto3DSeg model.")
        )
        if self._parameters.bundleFolder != path:
            with slicer.util.NodeModify(self._parameters.parameterNode):
                self._parameters.bundleFolder = path
                # Another bundle's third class or fifth layer mean something else.
                self._parameters.target = self._parameters.minus = self._parameters.layer = ""
        self._updateChannels()
        self._onBundleChanged(self.bundle)

    def keepInHistory(self) -> None:
        """Put the bundle among those used lately."""
        filling, self._filling = self._filling, True
        self.ui.bundleSelector.addCurrentPathToHistory()
        self._filling = filling

    # Further channels.

    def channels(self) -> list[Any]:
        """The volumes of the second and further channels; None where none is chosen."""
        return [selector.currentNode() for _label, selector in self._channelRows]

    def _updateChannels(self) -> None:
        first = componentsOf(self._parameters.inputVolume if self._parameters else None)
        wanted = max(0, (self.bundle.channels if self.bundle else 1) - first)
        form = self.ui.inputsButton.layout()
        while len(self._channelRows) > wanted:
            for widget in self._channelRows.pop():
                form.removeWidget(widget)
                widget.hide()
                widget.deleteLater()
        names = self.bundle.info.channel_names if self.bundle and self.bundle.info else ()
        while len(self._channelRows) < wanted:
            self._channelRows.append(self._addChannelRow(form, len(self._channelRows) + 1))
        node = self._parameters.parameterNode if self._parameters else None
        for index, (label, selector) in enumerate(self._channelRows):
            place = first + index
            name = names[place] if place < len(names) else _("Channel {number}").format(number=place + 1)
            label.text = _("{name}:").format(name=name)
            if node is not None:
                self._filling = True
                selector.setCurrentNode(node.GetNthNodeReference(CHANNEL_ROLE, index))
                self._filling = False
        named = wanted and names and first == 1
        self.ui.inputSelectorLabel.text = _("&Volume ({name}):").format(name=names[0]) if named else _("&Volume:")

    def _addChannelRow(self, form: Any, number: int) -> tuple[Any, Any]:
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.showChildNodeTypes = False
        selector.addEnabled = selector.removeEnabled = False
        selector.noneEnabled = True
        selector.noneDisplay = _("Choose the volume of this channel")
        selector.toolTip = _("A further channel of the network's input, on the same voxel grid as the first volume.")
        selector.setMRMLScene(slicer.mrmlScene)
        label = qt.QLabel()
        label.textFormat = qt.Qt.PlainText
        label.setBuddy(selector)
        form.insertRow(number, label, selector)
        selector.currentNodeChanged.connect(lambda node=None, index=number - 1: self._onChannel(index))
        return label, selector

    def _onChannel(self, index: int) -> None:
        if self._filling or self._parameters is None or index >= len(self._channelRows):
            return
        node = self._parameters.parameterNode
        chosen = self.channels()
        node.RemoveNodeReferenceIDs(CHANNEL_ROLE)
        for position, volume in enumerate(chosen):
            if volume is not None:
                node.SetNthNodeReferenceID(CHANNEL_ROLE, position, volume.GetID())
        self._onChanged()


def componentsOf(volumeNode: Any) -> int:
    """How many channels a volume brings: three or more for a vector volume, such as a colour picture."""
    image = volumeNode.GetImageData() if volumeNode is not None else None
    return volumes.voxelsOf(volumeNode).shape[3] if image is not None and image.GetNumberOfScalarComponents() > 1 else 1
