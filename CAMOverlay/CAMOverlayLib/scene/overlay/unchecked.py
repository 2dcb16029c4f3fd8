"""An overlay that is in the scene before its map is checked: it goes where the run comes to nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import slicer

from . import further
from .views import composites, restore, stateOf


class Unchecked:
    """Where its block raises, the node leaves the scene, with all that hangs on it, and views show what they showed.

    Attributes:
        node: the overlay that was added in the block; None while there is none.
    """

    def __init__(self, inputVolume: slicer.vtkMRMLScalarVolumeNode) -> None:
        self.node: Any = None
        self._before = [(view, stateOf(view)) for view in composites(inputVolume.GetScene())]

    def __enter__(self) -> Unchecked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self.node is None or self.node.GetScene() is None:
            return
        scene = self.node.GetScene()
        further.put(self.node, self.node, ())
        for view, before in self._before:
            restore(view, before)
        displays = [self.node.GetNthDisplayNode(n) for n in range(self.node.GetNumberOfDisplayNodes())]
        for part in (*displays, self.node):
            if part is not None:
                scene.RemoveNode(part)
