"""What else a run says of every voxel, as nodes that hang on the overlay: volumes with colours of their own, and the
prediction as a segmentation.

They are made together with the overlay, renewed in place when it is computed anew, and those that a new result does
not have are taken away: what it does not say of itself would be told of something else. They are saved with the scene
and found again by the overlay's references::

    further.nodes(overlayNode)["probability"]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import slicer

from ...contract.pieces import Pieces
from ...contract.request import FurtherVolume, Result
from ...report.further_maps import COLORS, LEAST, OTHER_COLORS, scale_of
from ..io.volumes import HeatmapImage, putImage, readHeatmap
from . import colormaps
from .prediction_segmentation import LabelImage, putSegmentation, readLabels
from .views import composites

ROLE = "CAMOverlay.Further."
"""Node references from the overlay; the name of what they show comes behind it."""

KIND = "CAMOverlay.Further"
"""Attribute of such a node: the name of what it shows."""

OF_CLASS = "CAMOverlay.FurtherOf"
"""Attribute of such a node: the class that it is about, where it is about one."""

UNITS = {"entropy": "bits"}


@dataclass(frozen=True)
class FurtherImage:
    """One that was read and checked, and is not yet in the scene."""

    said: FurtherVolume
    image: HeatmapImage | LabelImage


Images = Sequence[FurtherImage]


def read(result: Result, inputVolume: slicer.vtkMRMLScalarVolumeNode) -> Pieces[Images]:
    """Read the further volumes of a result and check all of them, in pieces; the scene is not touched.

    Raises:
        PlacementError: one is missing, damaged, of another shape than the volume, or not finite.
    """
    found = []
    for said in result.further:
        image: HeatmapImage | LabelImage
        if said.classes:
            image = yield from readLabels(said, inputVolume)
        else:
            image = yield from readHeatmap(said.file, inputVolume, what=f"map '{said.name}'")
        found.append(FurtherImage(said, image))
    return found


def put(
    overlayNode: slicer.vtkMRMLScalarVolumeNode,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    images: Images,
    className: str = "",
) -> None:
    """Make these images what hangs on the overlay: nodes that are there are renewed, those of nothing here go.

    Args:
        className: of the class that is explained.
    """
    scene, there = overlayNode.GetScene(), nodes(overlayNode)
    for one in images:
        name: str | None = f"{overlayNode.GetName()} - {one.said.name}"
        node = there.pop(one.said.name, None)
        if node is None:
            name = scene.GenerateUniqueName(name)
        elif node.GetName() != node.GetAttribute("CAMOverlay.Name"):
            name = None  # it has the user's
        if isinstance(one.image, LabelImage):
            node = putSegmentation(one.image, one.said, inputVolume, node, name)
        else:
            node = putImage(one.image, one.said.file, inputVolume, node, name)
            _ensureDisplay(node, one.said)
        if name is not None:
            node.SetAttribute("CAMOverlay.Name", name)
        node.SetAttribute(KIND, one.said.name)
        node.SetAttribute(OF_CLASS, "" if one.said.name in UNITS or one.said.classes else className)
        node.SetDescription(one.said.words)
        overlayNode.SetNodeReferenceID(ROLE + one.said.name, node.GetID())
    if foregroundOf(overlayNode) in there:
        toForeground(overlayNode, "")  # first: the views would make a new display for what has lost its own
    for name, node in there.items():
        overlayNode.RemoveNodeReferenceIDs(ROLE + name)
        displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]  # the legend's too
        for part in (*displays, node.GetStorageNode(), node):
            if part is not None:
                scene.RemoveNode(part)


def nodes(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> dict[str, Any]:
    """What hangs on an overlay, by name."""
    roles = [overlayNode.GetNthNodeReferenceRole(n) for n in range(overlayNode.GetNumberOfNodeReferenceRoles())]
    found = {role[len(ROLE) :]: overlayNode.GetNodeReference(role) for role in roles if role.startswith(ROLE)}
    return {name: node for name, node in found.items() if node is not None}


def isFurther(node: Any) -> bool:
    """Whether a node is one of these."""
    return bool(node is not None and node.GetAttribute(KIND))


def identifiers(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> set[str]:
    """IDs of the overlay and of all that hangs on it."""
    return {overlayNode.GetID(), *(node.GetID() for node in nodes(overlayNode).values())}


def legendLines(node: slicer.vtkMRMLScalarVolumeNode) -> tuple[str, ...]:
    """What it shows, in two short lines; of which class where it is of one."""
    name = node.GetAttribute(KIND) or ""
    return (name.replace("_", " "), node.GetAttribute(OF_CLASS) or UNITS.get(name, ""))


def foregroundOf(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Which of them the slice views show in the place of the heatmap, by name; empty where none."""
    shown = {composite.GetForegroundVolumeID() for composite in composites(overlayNode.GetScene())}
    return next((name for name, node in nodes(overlayNode).items() if node.GetID() in shown), "")


def toForeground(overlayNode: slicer.vtkMRMLScalarVolumeNode, name: str) -> None:
    """Show one of them in the slice views that show the overlay, or the heatmap again for a name that is none."""
    ours, wanted = identifiers(overlayNode), nodes(overlayNode).get(name, overlayNode)
    if not wanted.IsA("vtkMRMLScalarVolumeNode"):
        wanted = overlayNode
    for composite in composites(overlayNode.GetScene()):
        if composite.GetForegroundVolumeID() in ours:
            composite.SetForegroundVolumeID(wanted.GetID())


def _ensureDisplay(node: slicer.vtkMRMLScalarVolumeNode, said: FurtherVolume) -> None:
    """Colours and scale of its own, unless it had them before: a user's choice stays."""
    display, scene = node.GetDisplayNode(), node.GetScene()
    if display is not None and display.GetAttribute("CAMOverlay.Display"):
        return
    isNew = display is None
    display = slicer.vtkMRMLScalarVolumeDisplayNode() if isNew else display
    unfinished, top = display.StartModify(), scale_of(said)
    display.SetAutoWindowLevel(False)  # first, or each step would compute a histogram of the volume
    display.SetAutoThreshold(False)
    display.SetWindowLevelMinMax(0, top)
    display.SetInterpolate(True)
    display.SetAndObserveColorNodeID(colormaps.colorTableNode(scene, COLORS.get(said.name, OTHER_COLORS)).GetID())
    display.SetAttribute("CAMOverlay.Display", said.name)
    display.SetThreshold(LEAST * top, max(said.highest, top) * 1.001)
    display.SetApplyThreshold(True)
    display.EndModify(unfinished)
    if isNew:
        scene.AddNode(display)
        node.SetAndObserveDisplayNodeID(display.GetID())
