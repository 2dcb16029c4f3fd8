"""What the slice views show, to look at and to bring back."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer.util


def composites(scene: Any) -> list[Any]:
    """The nodes that say what each slice view of this scene shows."""
    return _nodes(scene, "vtkMRMLSliceCompositeNode")


def slices(scene: Any) -> list[Any]:
    """The nodes that say where the slice of each view of this scene lies."""
    return _nodes(scene, "vtkMRMLSliceNode")


def _nodes(scene: Any, className: str) -> list[Any]:
    """``slicer.util.getNodesByClass`` asks Slicer's own scene, whichever it is given."""
    return [scene.GetNthNodeByClass(index, className) for index in range(scene.GetNumberOfNodesByClass(className))]


def placeOf(view: Any) -> np.ndarray:
    """Where the slice of a view lies, for :func:`putAt`: 4×4, from the slice to world RAS."""
    return np.array(slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS()))


def putAt(view: Any, place: np.ndarray) -> None:
    """Bring a view's slice there."""
    slicer.util.updateVTKMatrixFromArray(view.GetSliceToRAS(), place)
    view.UpdateMatrices()


def stateOf(composite: Any) -> dict[str, Any]:
    """What a view shows, for :func:`restore`; JSON can say it."""
    return {
        "background": composite.GetBackgroundVolumeID() or "",
        "foreground": composite.GetForegroundVolumeID() or "",
        "opacity": composite.GetForegroundOpacity(),
        "compositing": composite.GetCompositing(),
    }


def restore(composite: Any, said: dict[str, Any]) -> None:
    """Show that again. What was removed from the scene meanwhile is not brought back."""
    scene = composite.GetScene()

    def there(key: str) -> str | None:
        identifier = str(said.get(key) or "")
        return identifier if identifier and scene.GetNodeByID(identifier) is not None else None

    unfinished = composite.StartModify()
    composite.SetBackgroundVolumeID(there("background"))
    composite.SetForegroundVolumeID(there("foreground"))
    composite.SetForegroundOpacity(float(said.get("opacity", 0)))
    composite.SetCompositing(int(said.get("compositing", 0)))
    composite.EndModify(unfinished)
