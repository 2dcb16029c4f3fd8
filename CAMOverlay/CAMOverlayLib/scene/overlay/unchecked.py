"""An overlay that is in the scene before its map is checked: it goes where the run comes to nothing."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

import slicer

from .views import composites, restore, stateOf


class Unchecked:
    """Where its block raises, all that :meth:`added` brought into the scene leaves it, and views show what they showed.

    Attributes:
        node: the overlay that was added in the block; None while there is none.
    """

    def __init__(self, inputVolume: slicer.vtkMRMLScalarVolumeNode) -> None:
        self.node: Any = None
        self._scene = inputVolume.GetScene()
        self._views = [(view, stateOf(view)) for view in composites(self._scene)]
        self._new: list[Any] = []

    def added(self, add: Callable[[], slicer.vtkMRMLScalarVolumeNode]) -> slicer.vtkMRMLScalarVolumeNode:
        """The overlay that is added by calling this, which may bring other nodes along."""
        before = {node.GetID() for node in self._nodes()}
        self.node = add()
        self._new = [node for node in self._nodes() if node.GetID() not in before]
        return self.node

    def _nodes(self) -> list[Any]:
        return [self._scene.GetNthNode(number) for number in range(self._scene.GetNumberOfNodes())]

    def __enter__(self) -> Unchecked:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self.node is None:
            return
        for view, before in self._views:
            if view.GetScene() is not None:
                restore(view, before)
        for node in reversed(self._new):
            if node.GetScene() is not None:  # a scene that was closed meanwhile took it along
                self._scene.RemoveNode(node)
