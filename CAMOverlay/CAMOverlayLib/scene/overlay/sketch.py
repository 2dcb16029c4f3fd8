"""A map that is not finished, shown in the slice views until the finished one takes its place.

It is a node of its own that is neither saved nor offered anywhere. However its run ends, the views then show what they
showed before, or the overlay. Where its heat is in none of the slices that are shown, it brings them there, as the
overlay would; where no overlay comes, they go back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util

from ...contract.errors import PlacementError
from ...contract.target import VolumeFile
from ..io.exported import ExportedVolumes
from ..io.volumes import setNodeAffine
from . import faded, further, heat_view
from . import node as overlay
from .views import composites, placeOf, putAt, restore, slices, stateOf

ATTRIBUTE = "CAMOverlay.Sketch"
"""Attribute of a node that is one."""


class Sketch:
    """The sketches of one run, one after the other on the same node.

    Args:
        exported: the volume that is explained, the first of what left the scene for it.
        overlayNode: the overlay that will be overwritten, if there is one; the sketch looks like it.
        opacity: in the slice views; None where none is to be shown.
    """

    def __init__(self, exported: ExportedVolumes, overlayNode: Any, opacity: float | None) -> None:
        self._exported, self._inputVolume = exported, exported.nodes[0]
        self._overlayNode, self._opacity = overlayNode, opacity
        self._node: Any = None
        self._before: list[tuple[Any, dict[str, Any]]] = []  # of each view
        self._moved: list[tuple[Any, np.ndarray, np.ndarray]] = []  # slices, from where to where

    def show(self, file: VolumeFile) -> None:
        """Over the input volume. Nothing changes where that is not what it was, or the file is not there any more, and
        where the views show not the heat of the overlay but another map of it."""
        try:
            self._exported.requireInPlace()
            heat = np.load(file.path, mmap_mode="r", allow_pickle=False)
        except (PlacementError, OSError, ValueError, EOFError):
            return
        if self._overlayNode is not None and further.foregroundOf(self._overlayNode):
            return
        first = not self._inScene()
        if first:
            self._node = self._made()
        slicer.util.updateVolumeFromArray(self._node, np.ascontiguousarray(heat.T))
        setNodeAffine(self._node, file.affine)
        if first:
            self._before = [(view, stateOf(view)) for view in composites(self._node.GetScene())]
            overlay.showOverlay(self._node, self._inputVolume, self._opacity)
            places = [(view, placeOf(view)) for view in slices(self._node.GetScene())]
            if heat_view.bringHeatIntoView(self._node):
                self._moved = [(view, before, placeOf(view)) for view, before in places]

    def clear(self, back: bool = True) -> None:
        """Take it out of the scene; views that still show it show what they showed before.

        Args:
            back: where they showed it, too; no, where an overlay takes its place.
        """
        if self._inScene():
            for view, before, moved in self._moved if back else ():
                if np.array_equal(placeOf(view), moved):  # or the user went elsewhere
                    putAt(view, before)
            for view, before in self._before:
                if view.GetForegroundVolumeID() == self._node.GetID():  # or the user chose something else
                    restore(view, before)
            scene, display = self._node.GetScene(), self._node.GetDisplayNode()
            scene.RemoveNode(self._node)
            if display is not None:
                scene.RemoveNode(display)
        self._node, self._before, self._moved = None, [], []

    def _inScene(self) -> bool:
        # A scene that was closed meanwhile took the node along.
        return self._node is not None and self._node.GetScene() is not None

    def _made(self) -> Any:
        scene = self._inputVolume.GetScene()
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(scene.GenerateUniqueName(overlay.overlayName(self._inputVolume.GetName(), "not finished", "")))
        node.SetAttribute(ATTRIBUTE, "1")
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        scene.AddNode(node)
        node.SetAndObserveTransformNodeID(self._inputVolume.GetTransformNodeID())
        display = overlay.ensureDisplay(node)
        display.SetSaveWithScene(False)
        looks = self._overlayNode.GetDisplayNode() if self._overlayNode is not None else None
        if looks is not None and looks.GetAttribute("CAMOverlay.Display"):
            faded.lookLike(display, looks)
        return node
