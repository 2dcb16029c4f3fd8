"""The node that shows a heatmap: its name, colours, provenance, and its place in the slice views.

:func:`addOverlay` does everything with a finished result; the other functions change one thing each, live, without
computing again::

    overlayNode = overlay.addOverlay(result, inputVolume)
    overlay.setColorMap(overlayNode, "sea")
    overlay.setThreshold(overlayNode, 0.3)
    overlay.setOpacity(overlayNode, 0.4)
    overlay.jumpToPeak(overlayNode)
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import slicer
import slicer.util

from ...contract.errors import VolumeError
from ...contract.pieces import at_once
from ...contract.request import Prediction, Result
from .. import core
from ..io.volumes import HeatmapImage, importHeatmap, peakIJK, peakKnown, readHeatmap, worldFromIJK
from . import colormaps, faded, further
from .report import readReport
from .views import composites, slices

OPACITY = 0.5
"""Opacity of the overlay over the input volume, at first."""

THRESHOLD = 0.15
"""Heatmap value below which an overlay is transparent, at first: low values would veil most of the anatomy."""

LEGEND_FONT = 10
"""Font size of the colour legend at most; its width makes it smaller in small views."""

LEGEND_SIZE = (0.06, 0.4)
"""Width and height of the colour legend as parts of the view."""

LEGEND_WIDTH = 18
"""Characters of the legend's title in a line; more would not fit into a small view."""

SCALE = "CAMOverlay.Scale"
"""Attribute of an overlay that was compared: ``one`` colour scale for all of them, or ``each`` its own; its legend says
which. None where nothing was compared."""

ITEM, ITEM_KIND, ITEM_OF = "CAMOverlay.Item", "CAMOverlay.ItemKind", "CAMOverlay.ItemOf"
"""Attributes of an overlay that is one of several in a comparison: its name among them, what they differ in, and the ID
of their sequence where the overlay was taken out of it."""

INPUT_ROLE = "CAMOverlay.InputVolume"
"""Node reference from the overlay to the volume that was explained."""


def addOverlay(
    result: Result,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    overlayNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    *,
    name: str | None = None,
    opacity: float | None = OPACITY,
    image: HeatmapImage | None = None,
    also: further.Images | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Bring a result into the scene: heatmap, colours, provenance, and shown over its input in the slice views; what
    else it says of every voxel comes as nodes that hang on the overlay.

    Args:
        result: what the computation returned; its heatmap file is read and not needed afterwards.
        inputVolume: the volume that was explained.
        overlayNode: node to overwrite, which keeps its colours, threshold and, if the user chose it, its name.
        name: name of the node; None names it after volume, class and layer.
        opacity: of the overlay in the slice views; None leaves the views as they are.
        image: what :func:`readHeatmap` made of the heatmap, where that was done before.
        also: what :func:`further.read` made of the result's further volumes, where that was done before.

    Raises:
        PlacementError: the heatmap, or one of the further volumes, cannot lie on this volume; the scene is then as it
            was.
    """
    automatic = overlayName(inputVolume.GetName(), result.target.name, result.layer)
    if overlayNode is None:
        name = name or inputVolume.GetScene().GenerateUniqueName(automatic)
    elif name is None and overlayNode.GetAttribute("CAMOverlay.Name") == overlayNode.GetName():
        name = automatic  # the name was ours and tells of a class that is no longer shown
    if image is None:
        image = at_once(readHeatmap(result.heatmap, inputVolume, result.peak))
    if also is None:
        also = at_once(further.read(result, inputVolume))
    shown = further.foregroundOf(overlayNode) if overlayNode is not None else ""
    node = importHeatmap(result.heatmap, inputVolume, overlayNode, name, image)
    setProvenance(node, result, inputVolume)
    if name is not None:
        node.SetAttribute("CAMOverlay.Name", node.GetName())
    ensureDisplay(node)
    further.put(node, inputVolume, also, result.target.name)
    if shown == faded.NAME:
        faded.renew(node, make=True)  # it went with the result that it was made of
    if opacity is not None:
        showOverlay(node, inputVolume, opacity)
        further.toForeground(node, shown)  # who looked at the probability goes on looking at it
    return node


def tellMore(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, result: Result, inputVolume: slicer.vtkMRMLScalarVolumeNode
) -> None:
    """Write on an overlay what was asked of its map since it was added; the map is the same.

    Raises:
        PlacementError: one of the further volumes cannot lie on this volume; nothing is changed then.
    """
    also = at_once(further.read(result, inputVolume))
    setProvenance(overlayNode, result, inputVolume)
    further.put(overlayNode, inputVolume, also, result.target.name)


def overlayName(volumeName: str, className: str, layer: str) -> str:
    """``MRHead - lesion - encoder.layer4``: plain characters that can be typed in the Python console. An ``&`` in the
    name of a volume is one that Slicer writes into a scene and cannot read again."""
    return " - ".join(part for part in (volumeName, className, layer) if part).replace("&", "+")


# Provenance ----------------------------------------------------------------------------------------------------------


def setProvenance(overlayNode: slicer.vtkMRMLVolumeNode, result: Result, inputVolume: slicer.vtkMRMLVolumeNode) -> None:
    """Write on the node what it shows and how it came about; attributes and reference are saved with the scene.

    ``CAMOverlay.Report`` is the whole result as JSON without the array file, the others are the parts that a reader
    of the node's attributes looks for.
    """
    prediction = result.prediction
    attributes = {
        "Target": result.target.name,
        "TargetIndex": result.target.index,
        "Layer": result.layer,
        "Method": result.method,
        "Bundle": result.bundle_name,
        "BundleVersion": result.bundle_version,
        "Volume": inputVolume.GetName(),
        "Prediction": prediction.name,
        "Probability": prediction.probabilities[prediction.index],
        "Magnitude": result.magnitude,
        "Placement": result.placement.verdict,
        "Versions": json.dumps(result.versions, ensure_ascii=False),
        "Report": _withoutFiles(result).to_json(),
    }
    for key, value in attributes.items():
        overlayNode.SetAttribute(f"CAMOverlay.{key}", str(value))
    for key in (SCALE, ITEM, ITEM_KIND, ITEM_OF):  # of the result before
        overlayNode.RemoveAttribute(key)
    overlayNode.SetNodeReferenceID(INPUT_ROLE, inputVolume.GetID())


def _withoutFiles(result: Result) -> Result:
    """The files go with the run."""
    also = tuple(replace(one, file=replace(one.file, path="")) for one in result.further)
    return replace(result, heatmap=replace(result.heatmap, path=""), further=also)


def isOverlay(node: Any) -> bool:
    """Whether a node is a heatmap that this module made."""
    return bool(node is not None and node.IsA("vtkMRMLScalarVolumeNode") and node.GetAttribute("CAMOverlay.Report"))


def resultOf(overlayNode: slicer.vtkMRMLVolumeNode) -> Result | None:
    """The result that an overlay shows, from its attributes; its heatmap has no file. None for other volumes, and where
    the attribute is spoilt: it came with a scene, and says what it wants."""
    report = overlayNode.GetAttribute("CAMOverlay.Report")
    return readReport(report) if report else None


def keepAnswers(overlayNode: slicer.vtkMRMLVolumeNode, before: Result) -> None:
    """Where the overlay shows the same map as before, keep what was asked of it then and not now: checks,
    structures, and the answers without them."""
    now = resultOf(overlayNode)
    if now is None or any(getattr(now, name) != getattr(before, name) for name in _SAME_MAP):
        return
    asked = {check.name for check in now.checks}
    checks = (*now.checks, *(check for check in before.checks if check.name not in asked))
    kept = replace(
        now,
        checks=checks,
        occluded=now.occluded or before.occluded,
        structures=now.structures or before.structures,
        channels=now.channels or before.channels,
    )
    if kept != now:
        overlayNode.SetAttribute("CAMOverlay.Report", kept.to_json())


_SAME_MAP = ("prediction", "target", "layer", "method", "bundle", "inputs", "magnitude", "peak", "heatmap")
"""What of a result says that a map is the same one."""


def predictedClasses(prediction: Prediction) -> tuple[int, ...]:
    """Indices of what the network says is there: one class of a choice, of separate yes-or-no outputs those above 50 %,
    of a segmentation every class that any voxel got, and nothing of a regression."""
    indices = range(len(prediction.classes))
    if prediction.voxels:
        return tuple(i for i in indices if prediction.voxels[i])
    if prediction.activation == "sigmoid":
        return tuple(i for i in indices if prediction.probabilities[i] > 0.5)
    return (prediction.index,) if prediction.activation == "softmax" else ()


def inputVolumeOf(overlayNode: slicer.vtkMRMLVolumeNode) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume that an overlay explains, or None if it has left the scene."""
    return overlayNode.GetNodeReference(INPUT_ROLE)


# Colours -------------------------------------------------------------------------------------------------------------


def ensureDisplay(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLScalarVolumeDisplayNode:
    """The overlay's display node; set up for a heatmap in [0, 1] unless it was before, so a user's choice stays."""
    display = overlayNode.GetDisplayNode()
    if display is not None and display.GetAttribute("CAMOverlay.Display"):
        return display
    scene = overlayNode.GetScene()
    if display is None:
        display = slicer.vtkMRMLScalarVolumeDisplayNode()
        _styleDisplay(display, scene)
        scene.AddNode(display)
        overlayNode.SetAndObserveDisplayNodeID(display.GetID())
    else:
        _styleDisplay(display, scene)
    return display


def _styleDisplay(display: slicer.vtkMRMLScalarVolumeDisplayNode, scene: slicer.vtkMRMLScene) -> None:
    unfinished = display.StartModify()
    display.SetAutoWindowLevel(False)  # first, or each step would compute a histogram of the volume
    display.SetAutoThreshold(False)
    display.SetWindowLevelMinMax(0, 1)
    display.SetInterpolate(True)
    display.SetAndObserveColorNodeID(colormaps.colorTableNode(scene).GetID())
    display.SetAttribute("CAMOverlay.Display", "heatmap")
    _setThreshold(display, THRESHOLD, 1)
    display.EndModify(unfinished)


def setColorMap(overlayNode: slicer.vtkMRMLScalarVolumeNode, colorMap: str | slicer.vtkMRMLColorNode) -> None:
    """Colour the overlay by one of :data:`colormaps.COLOR_MAPS`, or by any colour node of the scene."""
    node = colormaps.colorTableNode(overlayNode.GetScene(), colorMap) if isinstance(colorMap, str) else colorMap
    ensureDisplay(overlayNode).SetAndObserveColorNodeID(node.GetID())
    faded.follow(overlayNode)


def setThreshold(overlayNode: slicer.vtkMRMLScalarVolumeNode, lower: float, upper: float = 1.0) -> None:
    """Show only heatmap values in [lower, upper]; both in [0, 1]."""
    _setThreshold(ensureDisplay(overlayNode), lower, upper)
    faded.follow(overlayNode)


def _setThreshold(display: slicer.vtkMRMLScalarVolumeDisplayNode, lower: float, upper: float) -> None:
    # Interpolation can round the peak to just above 1, which would punch a hole into the hottest spot.
    display.SetThreshold(lower, upper + 1e-3 if upper >= 1 else upper)
    display.SetApplyThreshold(True)


def thresholdOf(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[float, float]:
    """The shown range of heatmap values, (0, 1) where no threshold applies."""
    display = ensureDisplay(overlayNode)
    if not display.GetApplyThreshold():
        return 0.0, 1.0
    return max(0.0, display.GetLowerThreshold()), min(1.0, display.GetUpperThreshold())


def showLegend(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, visible: bool = True, title: str | None = None
) -> slicer.vtkMRMLColorLegendDisplayNode | None:
    """Show or hide the colour legend in the views, titled by the class. None where this Slicer has no legends."""
    logic = getattr(slicer, "vtkSlicerColorLogic", None)
    if not hasattr(logic, "AddDefaultColorLegendDisplayNode"):
        return None
    legend = logic.GetColorLegendDisplayNode(overlayNode)
    if legend is None:
        if not visible:
            return None
        if not further.isFurther(overlayNode):
            ensureDisplay(overlayNode)
        legend = logic.AddDefaultColorLegendDisplayNode(overlayNode)
        if legend is None:
            return None
        _styleLegend(legend)
    legend.SetTitleText(title or _legendTitle(overlayNode))
    legend.SetVisibility(visible)
    return legend


def _styleLegend(legend: slicer.vtkMRMLColorLegendDisplayNode) -> None:
    """A narrow bar at the right edge with text about as large as the views' own. Slicer fits the text to the width of
    the legend, so its default of 15 % of the view draws it two to three times as large, and a title, which ends at the
    right edge, then leaves the view on the left."""
    unfinished = legend.StartModify()
    legend.SetLabelFormat("%.1f")
    legend.SetNumberOfLabels(6)
    legend.SetMaxNumberOfColors(colormaps.SIZE)
    legend.SetSize(*LEGEND_SIZE)
    legend.SetPosition(0.97, 0.5)
    legend.GetTitleTextProperty().SetFontSize(LEGEND_FONT)
    legend.GetLabelTextProperty().SetFontSize(LEGEND_FONT)
    legend.EndModify(unfinished)


def refreshLegend(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Bring the legend's title, if there is a legend, to what the overlay shows now."""
    logic = getattr(slicer, "vtkSlicerColorLogic", None)
    legend = logic.GetColorLegendDisplayNode(overlayNode) if hasattr(logic, "GetColorLegendDisplayNode") else None
    if legend is not None and legend.GetTitleText() != (title := _legendTitle(overlayNode)):
        legend.SetTitleText(title)


def legendShown(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether the overlay has a colour legend that is shown."""
    logic = getattr(slicer, "vtkSlicerColorLogic", None)
    if not hasattr(logic, "GetColorLegendDisplayNode"):
        return False
    legend = logic.GetColorLegendDisplayNode(overlayNode)
    return bool(legend is not None and legend.GetVisibility())


def _legendTitle(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> str:
    """The class, and how coarse the map really is, since a smooth overlay hides the size of one activation; of a map
    that was compared what its scale ends at. Short lines: the full sizes stand in the panel."""
    if further.isFurther(overlayNode):
        return "\n".join(shortened(line, LEGEND_WIDTH) for line in further.legendLines(overlayNode))
    result = resultOf(overlayNode)
    if result is None:
        return "Heatmap"
    lines = [shortened(result.target.name, LEGEND_WIDTH)]
    if result.activation_spacing:
        lines.append(f"{max(result.activation_spacing):.2g} mm cells")
    if scale := overlayNode.GetAttribute(SCALE):
        lines.append(f"1 = {result.magnitude:.3g}, {'all' if scale == 'one' else 'own'}")
    return "\n".join(lines)


def shortened(text: str, most: int) -> str:
    """A text in one line of at most ``most`` characters; what is left out in the middle is an ellipsis."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    end = (most - 1) // 3
    return f"{text[: most - 1 - end].rstrip()}…{text[len(text) - end :].lstrip()}"


# Slice views ---------------------------------------------------------------------------------------------------------


def showOverlay(
    overlayNode: slicer.vtkMRMLScalarVolumeNode,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    opacity: float = OPACITY,
    fit: bool = False,
) -> None:
    """Show the input as background and the overlay as foreground in every slice view, blended by opacity.

    Position and zoom of the views stay, unless ``fit`` is set.
    """
    for composite in composites(overlayNode.GetScene()):
        unfinished = composite.StartModify()
        composite.SetBackgroundVolumeID(inputVolume.GetID())
        composite.SetForegroundVolumeID(overlayNode.GetID())
        composite.SetForegroundOpacity(opacity)
        composite.SetCompositing(slicer.vtkMRMLSliceCompositeNode.Alpha)
        composite.EndModify(unfinished)
    application = core.applicationLogic() if fit else None
    logics = application.GetSliceLogics() if application else None
    for index in range(logics.GetNumberOfItems() if logics else 0):
        logics.GetItemAsObject(index).FitSliceToAll()


def setOpacity(overlayNode: slicer.vtkMRMLScalarVolumeNode, opacity: float) -> None:
    """Change the opacity in the slice views that show this overlay, or what hangs on it, as foreground."""
    ours = further.identifiers(overlayNode)
    for composite in composites(overlayNode.GetScene()):
        if composite.GetForegroundVolumeID() in ours:
            composite.SetForegroundOpacity(opacity)


def jumpToPeak(overlayNode: slicer.vtkMRMLScalarVolumeNode, centre: bool = True) -> tuple[float, float, float]:
    """Bring every slice view to the overlay's largest value and return that place in world RAS mm.

    Args:
        centre: move it into the middle of the views too, which otherwise keep what they show around it.
    """
    return jumpTo(overlayNode.GetScene(), peakWorld(overlayNode), centre)


def jumpTo(scene: slicer.vtkMRMLScene, world: Any, centre: bool = True) -> tuple[float, float, float]:
    """Bring every slice view to a place (world RAS mm) and return it; ``centre`` as in :func:`jumpToPeak`."""
    r, a, s = (float(mm) for mm in world)
    for view in slices(scene):
        (view.JumpSliceByCentering if centre else view.JumpSliceByOffsetting)(r, a, s)
    return r, a, s


def peakWorld(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> Any:
    """World RAS in mm of the overlay's peak, and of the volume's centre where it is zero everywhere."""
    peak = peakVoxel(overlayNode)
    middle = tuple((size - 1) / 2 for size in overlayNode.GetImageData().GetDimensions())
    return worldFromIJK(overlayNode, middle if peak is None else peak)


def peakVoxel(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[int, int, int] | None:
    """Voxel (I, J, K) of the overlay's peak; None where it is zero everywhere.

    It is the one that its result names if that has the largest value: of a plateau whose middle lies between voxels a
    grid that is counted from the other end would name the next one.
    """
    image = overlayNode.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise VolumeError(f"Volume {overlayNode.GetName()!r} has no voxels; compute the heatmap first.")
    if peakKnown(overlayNode):
        return peakIJK(overlayNode)
    result = resultOf(overlayNode)
    said = result.peak if result is not None else None
    if said is not None and all(0 <= n < size for n, size in zip(said, image.GetDimensions(), strict=True)):
        value = image.GetScalarComponentAsDouble(*said, 0)
        if value > 0 and value == image.GetScalarRange()[1]:
            return said
    return peakIJK(overlayNode)
