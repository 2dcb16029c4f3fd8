"""The report of an overlay of the scene: one page in HTML, with the colours and the window that are shown.

In Slicer's Python console::

    from CAMOverlayLib.scene.figure.report import saveReport
    saveReport("report.html", getNode("MRHead - lesion - encoder"))
"""

from __future__ import annotations

import os
from pathlib import Path

import slicer

from ...contract.errors import OutputError, VolumeError
from ...contract.records import absolute
from ...contract.whole_files import save_text
from ...report.page import write_page
from ...report.shown import OPACITY, Shown
from ..core import checkVoxels
from ..io.volumes import affineFromNode, voxelsOf
from ..overlay import colormaps
from ..overlay.node import ensureDisplay, inputVolumeOf, resultOf, thresholdOf
from .further_maps import furtherMapsOf
from .slices import isPhoto


def saveReport(
    path: str | os.PathLike[str],
    overlayNode: slicer.vtkMRMLScalarVolumeNode,
    inputVolume: slicer.vtkMRMLScalarVolumeNode | None = None,
    *,
    viewer: bool = True,
) -> Path:
    """Write the report of an overlay, complete or not at all. The scene is not changed.

    Args:
        path: file that ends in .html.
        inputVolume: the volume that was explained; None takes the one that the overlay names.
        viewer: with the viewer, where the package ipyniivue is installed.

    Raises:
        VolumeError: no result on the overlay, the volume has left the scene, or has another size.
        OutputError: the file cannot be written.
    """
    path = reportPath(path)
    result = resultOf(overlayNode)
    if result is None:
        raise VolumeError(f"{overlayNode.GetName()!r} carries no result; compute the heatmap first.")
    return save_text(path, write_page(result, shownOf(inputVolume or inputVolumeOf(overlayNode), overlayNode), viewer))


def reportPath(path: str | os.PathLike[str]) -> Path:
    """Where a report goes, absolute. Raises OutputError where its name does not end in .html."""
    path = Path(absolute(path))
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"The report cannot be saved as {path.name}; choose a name that ends in .html.")
    return path


def shownOf(inputVolume: slicer.vtkMRMLScalarVolumeNode | None, overlayNode: slicer.vtkMRMLScalarVolumeNode) -> Shown:
    """A volume and its overlay as they are shown, in the volume's own space; no voxel is copied.

    Raises:
        VolumeError: the volume has left the scene, or is not of the overlay's size.
    """
    if inputVolume is None:
        raise VolumeError(f"The volume that {overlayNode.GetName()!r} explains has left the scene. Load it again.")
    checkVoxels(inputVolume, f"Volume {inputVolume.GetName()!r}")
    checkVoxels(overlayNode, f"Overlay {overlayNode.GetName()!r}", components=(1,))
    image, heat = voxelsOf(inputVolume), voxelsOf(overlayNode)
    if image.shape[:3] != heat.shape:
        raise VolumeError(
            f"Volume {inputVolume.GetName()!r} has {image.shape[:3]} voxels and its overlay {heat.shape}. Explain it "
            "again."
        )
    display, window = inputVolume.GetDisplayNode(), None
    if display is not None and image.ndim == 3 and display.GetWindow() > 0:
        window = (display.GetWindowLevelMin(), display.GetWindowLevelMax())
    return Shown(
        inputVolume.GetName(),
        image,
        heat,
        affineFromNode(inputVolume),
        window,
        colormaps.tableColors(ensureDisplay(overlayNode).GetColorNode())[:, :3],
        thresholdOf(overlayNode),
        OPACITY,
        isPhoto(inputVolume),
        further=furtherMapsOf(overlayNode, inputVolume),
    )
