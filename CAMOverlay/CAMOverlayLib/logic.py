"""A volume node in, an overlay node out: the scene's side of the one story.

The Python console, the panel, the self-tests and the command line all go through :meth:`OverlayLogic.process`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import slicer

from .request import Progress, Request, Result
from .scene import overlay
from .scene.volumes import exportVolume

Report = Callable[[Progress], None]
Compute = Callable[[Request, Report], Result]


def computeHere(request: Request, report: Report) -> Result:
    """Compute in this very process. The engine, and with it torch, is imported only now."""
    report(Progress("import", 0.0, "Loading the libraries"))
    from .engine.explain import explain

    return explain(request, report)


class OverlayLogic:
    """Explains volumes of the scene.

    Args:
        compute: where requests are answered.
    """

    def __init__(self, compute: Compute = computeHere) -> None:
        self.compute = compute

    def process(
        self,
        inputVolume: slicer.vtkMRMLScalarVolumeNode,
        bundlePath: str | Path,
        *,
        channels: Sequence[slicer.vtkMRMLScalarVolumeNode] = (),
        target: int | str | None = None,
        layer: str | None = None,
        method: str = "gradcam",
        device: str = "auto",
        trust: bool = False,
        overlayVolume: slicer.vtkMRMLScalarVolumeNode | None = None,
        opacity: float | None = overlay.OPACITY,
        report: Report = lambda progress: None,
    ) -> slicer.vtkMRMLScalarVolumeNode:
        """Explain what a bundle's network makes of a volume, and show it.

        Args:
            inputVolume: the volume; the overlay lies on its voxel grid, under its parent transform.
            bundlePath: root folder of a MONAI bundle.
            channels: further volumes on the same grid, where the network takes more than one channel.
            target: class to explain, by name or index; None explains the predicted class.
            layer: layer to explain at, by its name in the network; None chooses.
            method: name of the method.
            device: ``auto``, ``cpu`` or ``cuda``.
            trust: you know where the bundle comes from; its configuration can run code.
            overlayVolume: volume node to overwrite; None makes a new one.
            opacity: of the overlay in the slice views; None leaves the views as they are.
            report: called with progress; raising from it ends the run.

        Returns:
            the overlay node. What it shows is on it: ``CAMOverlayLib.scene.overlay.resultOf(node)``.

        Raises:
            CAMOverlayError: one of its kinds. The scene is then as it was.
        """
        with tempfile.TemporaryDirectory(prefix="CAMOverlay-") as folder:
            volumes = [exportVolume(v, folder, f"channel-{i}") for i, v in enumerate((inputVolume, *channels))]
            request = Request(
                volumes=tuple(volumes),
                bundle=str(bundlePath),
                output_folder=folder,
                trust=trust,
                target=target,
                layer=layer or None,
                method=method,
                device=device,
            )
            result = self.compute(request, report)
            return overlay.addOverlay(result, inputVolume, overlayVolume, opacity=opacity)
