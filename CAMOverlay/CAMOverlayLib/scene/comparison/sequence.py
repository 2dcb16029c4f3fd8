"""Several explanations of one volume as a sequence with a browser: one overlay node that shows one of them at a time.

The sequence's items are whole overlays, provenance included, and Slicer's own browser copies one into the overlay
node. So what the overlay says of itself is always of the item that is shown, here, in Slicer's Sequences module, and
in a scene that was saved and loaded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer
import slicer.util
import vtk

from ...contract.comparison import NotExplained
from ...contract.errors import ComparisonError
from ...contract.records import SpoiltRecord
from ...contract.request import Result
from ..io.volumes import HeatmapImage, setNodeAffine
from ..overlay import node as overlay

KIND = "CAMOverlay.Comparison"
"""Attribute of a sequence: what its items differ in, a value of ``contract.comparison.KINDS``."""

FAILED = "CAMOverlay.NotExplained"
"""Attribute of a sequence: what could not be explained, and why, as JSON."""

MOST_FAILED = 1000


@dataclass(frozen=True)
class Explained:
    """One item: its name among the others, what came out, and its heatmap as VTK has it."""

    name: str
    result: Result
    image: HeatmapImage


@dataclass(frozen=True)
class Comparison:
    """A comparison in the scene.

    Attributes:
        overlayNode: the overlay that shows one item, an ordinary one in everything else.
        browserNode: says which item is shown.
        sequenceNode: the items.
    """

    overlayNode: slicer.vtkMRMLScalarVolumeNode
    browserNode: slicer.vtkMRMLSequenceBrowserNode
    sequenceNode: slicer.vtkMRMLSequenceNode

    @property
    def kind(self) -> str:
        """What the items differ in: ``class``, ``method``, ``layer`` or ``model``."""
        return self.sequenceNode.GetAttribute(KIND) or ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the items, in their order."""
        count = self.sequenceNode.GetNumberOfDataNodes()
        return tuple(self.sequenceNode.GetNthIndexValue(number) for number in range(count))

    @property
    def nodes(self) -> tuple[slicer.vtkMRMLScalarVolumeNode, ...]:
        """The items as overlays; they live in the sequence, not in the scene."""
        return tuple(self.sequenceNode.GetNthDataNode(n) for n in range(self.sequenceNode.GetNumberOfDataNodes()))

    @property
    def allNodes(self) -> tuple[slicer.vtkMRMLScalarVolumeNode, ...]:
        """The items, and the overlays of the scene that were taken out of them."""
        scene, key = self.sequenceNode.GetScene(), self.sequenceNode.GetID()
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)
        out = (one for one in volumes if one.GetAttribute(overlay.ITEM_OF) == key and overlay.isOverlay(one))
        return (*self.nodes, *out)

    @property
    def notExplained(self) -> tuple[NotExplained, ...]:
        """What could not be explained, each with the sentence that says why."""
        try:
            values = json.loads(self.sequenceNode.GetAttribute(FAILED) or "[]")
            return tuple(NotExplained.from_dict(value) for value in values[:MOST_FAILED])
        except (ValueError, TypeError, SpoiltRecord):  # a scene says what it wants
            return ()

    @property
    def shown(self) -> str:
        """The name of the item that the overlay shows."""
        number = self.browserNode.GetSelectedItemNumber()
        return self.names[number] if 0 <= number < len(self.names) else ""

    def show(self, name: str) -> None:
        """Let the overlay show an item.

        Raises:
            ComparisonError: there is no such item.
        """
        self.browserNode.SetSelectedItemNumber(self._number(name))
        logic = _logic()
        if logic is not None:  # at once, also where it does not hear of this browser
            logic.UpdateProxyNodesFromSequences(self.browserNode)

    def node(self, name: str) -> slicer.vtkMRMLScalarVolumeNode:
        """An item as an overlay that lives in the sequence; raises ComparisonError where there is none of the name."""
        return self.sequenceNode.GetNthDataNode(self._number(name))

    def refresh(self) -> None:
        """Let the overlay show its item as it is now: the items were changed."""
        number = self.browserNode.GetSelectedItemNumber()
        self.sequenceNode.Modified()
        logic = _logic()
        if logic is not None:
            logic.UpdateProxyNodesFromSequences(self.browserNode)
        else:
            self.browserNode.SetSelectedItemNumber(number)
        overlay.refreshLegend(self.overlayNode)

    def overlayOf(self, name: str) -> slicer.vtkMRMLScalarVolumeNode:
        """An item as an overlay of the scene that stays what it is while the other one is browsed; made once.

        Raises:
            ComparisonError: there is no such item.
        """
        item = self.node(name)
        scene, key = self.sequenceNode.GetScene(), self.sequenceNode.GetID()
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene):
            if (node.GetAttribute(overlay.ITEM_OF), node.GetAttribute(overlay.ITEM)) == (
                key,
                name,
            ) and overlay.isOverlay(node):
                return node
        node = slicer.vtkMRMLScalarVolumeNode()
        node.CopyContent(item)
        for attribute in item.GetAttributeNames():
            node.SetAttribute(attribute, item.GetAttribute(attribute))
        node.SetAttribute(overlay.ITEM_OF, key)
        node.SetName(scene.GenerateUniqueName(_itemName(self._volume, overlay.resultOf(item), name)))
        scene.AddNode(node)
        node.SetNodeReferenceID(overlay.INPUT_ROLE, self.overlayNode.GetNodeReferenceID(overlay.INPUT_ROLE))
        node.SetAndObserveTransformNodeID(self.overlayNode.GetTransformNodeID())
        display = overlay.ensureDisplay(node)
        display.CopyContent(overlay.ensureDisplay(self.overlayNode))
        display.SetAndObserveColorNodeID(self.overlayNode.GetDisplayNode().GetColorNodeID())
        return node

    @property
    def _volume(self) -> str:
        volume = overlay.inputVolumeOf(self.overlayNode)
        return volume.GetName() if volume is not None else self.sequenceNode.GetName()

    def _number(self, name: str) -> int:
        if name not in self.names:
            raise ComparisonError(f"The comparison has no '{name}'; it has {', '.join(self.names)}.")
        return self.names.index(name)


def addComparison(
    items: Sequence[Explained],
    kind: str,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    failed: Sequence[NotExplained] = (),
    opacity: float | None = overlay.OPACITY,
) -> Comparison:
    """Bring explanations of one volume into the scene as a sequence with a browser, and show the first.

    Args:
        items: at least one, each with a name of its own; their files are read and not needed afterwards.
        kind: what they differ in.
        failed: what could not be explained.
        opacity: of the overlay in the slice views; None leaves the views as they are.
    """
    scene = inputVolume.GetScene()
    scene.SaveStateForUndo()
    sequence = _sequenceOf(items, kind, inputVolume)
    if failed:
        sequence.SetAttribute(FAILED, json.dumps([one.to_dict() for one in failed], ensure_ascii=False))
    scene.AddNode(sequence)
    _storeWhole(sequence)
    browser = slicer.vtkMRMLSequenceBrowserNode()
    browser.SetName(scene.GenerateUniqueName(f"{sequence.GetName()} browser"))
    browser.SetIndexDisplayMode(slicer.vtkMRMLSequenceBrowserNode.IndexDisplayAsIndexValue)
    browser.SetPlaybackRateFps(1)
    scene.AddNode(browser)
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    proxy = browser.GetProxyNode(sequence)
    if proxy is None:  # where no logic of sequences watches the scene
        proxy = browser.AddProxyNode(sequence.GetNthDataNode(0), sequence, True)
    browser.SetOverwriteProxyName(sequence, True)  # so that the views' own annotation names the item
    browser.SetSaveChanges(sequence, False)  # an item is what was computed
    proxy.SetNodeReferenceID(overlay.INPUT_ROLE, inputVolume.GetID())
    proxy.SetAndObserveTransformNodeID(inputVolume.GetTransformNodeID())
    overlay.ensureDisplay(proxy)
    browser.SetSelectedItemNumber(0)
    comparison = Comparison(proxy, browser, sequence)
    comparison.refresh()
    followBrowsing(proxy)
    if opacity is not None:
        overlay.showOverlay(proxy, inputVolume, opacity)
    return comparison


def _sequenceOf(items: Sequence[Explained], kind: str, inputVolume: Any) -> slicer.vtkMRMLSequenceNode:
    """The items as a sequence that is not in the scene yet. Each image is copied once and then let go."""
    sequence = slicer.vtkMRMLSequenceNode()
    common = items[0].result.method if kind == "class" else items[0].result.target.name
    sequence.SetName(inputVolume.GetScene().GenerateUniqueName(overlay.overlayName(inputVolume.GetName(), common, "")))
    sequence.SetIndexName(kind)
    sequence.SetIndexUnit("")
    sequence.SetIndexType(slicer.vtkMRMLSequenceNode.TextIndex)
    sequence.SetAttribute(KIND, kind)
    for item in items:
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(_itemName(inputVolume.GetName(), item.result, item.name))
        setNodeAffine(node, item.result.heatmap.affine)
        node.SetAndObserveImageData(item.image.data)
        overlay.setProvenance(node, item.result, inputVolume)
        node.RemoveNodeReferenceIDs(overlay.INPUT_ROLE)  # the overlay has it: no node of the scene is in the sequence
        node.SetAttribute(overlay.SCALE, "each")
        node.SetAttribute(overlay.ITEM, item.name)
        node.SetAttribute(overlay.ITEM_KIND, kind)
        sequence.SetDataNodeAtValue(node, item.name)
    return sequence


def _storeWhole(sequence: slicer.vtkMRMLSequenceNode) -> None:
    """Save the items as whole nodes: a file of voxels alone would lose what each of them says of itself."""
    storage = slicer.vtkMRMLSequenceStorageNode()
    sequence.GetScene().AddNode(storage)
    sequence.SetAndObserveStorageNodeID(storage.GetID())


def _itemName(volumeName: str, result: Result | None, name: str) -> str:
    if result is None:
        return overlay.overlayName(volumeName, name, "")
    kindOfName = (result.target.name, result.layer)
    return overlay.overlayName(volumeName, result.target.name, result.layer) + (
        f" - {name}" if name not in kindOfName else ""
    )


# Found again ---------------------------------------------------------------------------------------------------------


def comparisonOf(node: Any) -> Comparison | None:
    """The comparison that an overlay shows an item of, or that a browser or a sequence belongs to; None of others."""
    if node is None or node.GetScene() is None:
        return None
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", node.GetScene()):
        sequence = browser.GetMasterSequenceNode()
        if sequence is None or not sequence.GetAttribute(KIND) or not sequence.GetNumberOfDataNodes():
            continue
        proxy = browser.GetProxyNode(sequence)
        if proxy is not None and any(one is node for one in (proxy, browser, sequence)):
            return Comparison(proxy, browser, sequence)
    return None


def comparisonsOf(inputVolume: Any) -> list[Comparison]:
    """Every comparison of a volume that is in the scene."""
    found = []
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", inputVolume.GetScene()):
        comparison = comparisonOf(browser)
        if comparison is not None and overlay.inputVolumeOf(comparison.overlayNode) is inputVolume:
            found.append(comparison)
    return found


def isBrowsed(node: Any) -> bool:
    """Whether a node shows an item of a comparison, so that what is written into it is gone at the next item."""
    found = comparisonOf(node)
    return found is not None and found.overlayNode is node


def itemBehind(node: Any) -> Any:
    """The item of a sequence that an overlay shows; of any other overlay itself."""
    found = comparisonOf(node)
    return found.node(found.shown) if found is not None and found.overlayNode is node and found.shown else node


# The legend ----------------------------------------------------------------------------------------------------------

_followed = "CAMOverlay.Followed"


def followBrowsing(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Let the legend's title follow what the overlay shows, for as long as this program runs."""
    if not getattr(overlayNode, _followed, False):
        overlayNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: overlay.refreshLegend(caller))
        setattr(overlayNode, _followed, True)


def _logic() -> Any:
    from ..core import applicationLogic

    application = applicationLogic()
    return application.GetModuleLogic("Sequences") if application is not None else None
