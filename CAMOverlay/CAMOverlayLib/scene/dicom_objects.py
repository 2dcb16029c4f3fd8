"""An overlay as DICOM objects: what the scene knows of it, taken out of the scene so that a thread may write it::

taken = takeOut(overlayNode)  # in the event loop
taken.write("/data/result")  # anywhere
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
from PIL import Image

from ..contract.errors import OutputError, VolumeError
from ..contract.findings import Threshold
from ..contract.records import absolute
from ..contract.request import Result
from ..contract.whole_files import hidden_folder, move_all
from ..dicom.account import Account
from ..dicom.deliver import Findings, Regions, deliver
from ..dicom.read_back import Placed
from .figure import picture
from .findings.search import HotRegions, heatOf, hotRegions
from .findings.structures import eachMask
from .io import dicom
from .io.volumes import voxelsOf
from .overlay import colormaps, further
from .overlay.node import ensureDisplay, inputVolumeOf, resultOf
from .target_regions import segmentsOf

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class TakenOut:
    """An overlay, out of the scene.

    Attributes:
        files: of the series that was explained.
        findings: what is to be written of it.
        images: of the nodes; they keep the voxels in memory that ``findings`` looks at.
    """

    files: list[Path]
    findings: Findings
    images: tuple

    def write(self, folder: str | os.PathLike[str], report: Report = lambda share, words: None) -> dict[str, Placed]:
        """Write everything into a folder, read it back, and only then let it appear there: all of it or nothing.

        Raises:
            CAMOverlayError: one of its kinds; the folder is then as it was.
        """
        place = Path(absolute(folder))
        try:
            with hidden_folder(place) as hidden:
                placed = deliver(self.files, self.findings, hidden, report)
                move_all([(hidden / name, place / name) for name in placed])
        except OSError as error:
            raise OutputError(
                f"Nothing can be written to {place}: {error.strerror or error}; choose another folder."
            ) from None
        return placed


def hasSeries(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether an overlay's volume was loaded from DICOM, as far as the scene knows."""
    volume = inputVolumeOf(overlayNode)
    return volume is not None and bool(
        dicom.seriesOf(volume) is not None
        or (volume.GetAttribute(dicom.INSTANCES) and getattr(slicer, "dicomDatabase", None) is not None)
    )


def takeOut(
    overlayNode: slicer.vtkMRMLScalarVolumeNode,
    *,
    threshold: Threshold | None = None,
    prediction: Regions | None = None,
    withPicture: bool = False,
) -> TakenOut:
    """Everything that is written of an overlay.

    Args:
        threshold: from where on heat is a hot spot; None takes that of the explanation.
        prediction: what the network said, as a label map on the volume's grid with names and colours; None takes the
            overlay's own segmentation of it, as it is in the scene now.
        withPicture: a picture too.

    Raises:
        VolumeError: the node is no overlay, its volume is gone, or comes from no DICOM series.
    """
    result, volume = resultOf(overlayNode), inputVolumeOf(overlayNode)
    if result is None or volume is None or volume.GetImageData() is None:
        raise VolumeError(f"{overlayNode.GetName()!r} is no overlay of a volume in this scene; explain a volume first.")
    files = dicom.filesOf(volume)
    if not files:
        raise VolumeError(
            f"The volume {volume.GetName()!r} comes from no DICOM series that is known here, so nothing can be said of "
            "its slices; load the series itself (in Slicer with the module DICOM), and explain that."
        )
    regions = hotRegions(heatOf(overlayNode), threshold or result.threshold, withLabels=True)
    findings = Findings(
        voxelsOf(volume),
        voxelsOf(overlayNode),
        Account.of(result),
        _hotSpots(regions, overlayNode),
        prediction or _prediction(overlayNode, result),
        picture=_picture(volume, overlayNode, result) if withPicture else None,
    )
    return TakenOut(files, findings, (volume.GetImageData(), overlayNode.GetImageData()))


def _hotSpots(regions: HotRegions, overlayNode: slicer.vtkMRMLScalarVolumeNode) -> Regions | None:
    """The label map on the whole volume, named and coloured as the segments of the scene."""
    if regions.labels is None:
        return None
    labels = np.zeros(overlayNode.GetImageData().GetDimensions(), np.uint8)
    labels[tuple(slice(start, start + n) for start, n in zip(regions.origin, regions.labels.shape))] = regions.labels
    colors = colormaps.tableColors(ensureDisplay(overlayNode).GetColorNode())
    entry = {spot.region: round(min(max(spot.maximum, 0.0), 1.0) * (len(colors) - 1)) for spot in regions.spots}
    return Regions(
        labels,
        {spot.region: f"hot {spot.region} {spot.structure}".strip() for spot in regions.spots},
        {region: tuple(map(float, colors[row][:3])) for region, row in entry.items()},
    )


def _prediction(overlayNode: slicer.vtkMRMLScalarVolumeNode, result: Result) -> Regions | None:
    """The overlay's predicted segmentation; None where there is none, or its classes share voxels, which a label map
    cannot say."""
    node = further.nodes(overlayNode).get("prediction")
    if node is None or any(one.overlapping for one in result.further if one.name == "prediction"):
        return None
    segmentation = node.GetSegmentation()
    labels = np.zeros(overlayNode.GetImageData().GetDimensions(), np.uint8)
    names, colors = {}, {}
    identifiers = {name: identifier for identifier, name in segmentsOf(node)}
    for name, mask in eachMask(node, overlayNode):
        number = len(names) + 1
        labels[mask], names[number] = number, name
        if name in identifiers:
            colors[number] = segmentation.GetSegment(identifiers[name]).GetColor()
    return Regions(labels, names, colors)


def _picture(volume: slicer.vtkMRMLVolumeNode, overlayNode: slicer.vtkMRMLVolumeNode, result: Result) -> np.ndarray:
    """Rows × columns × 3 bytes; without the volume's name, which in Slicer may be the patient's."""
    with tempfile.TemporaryDirectory(prefix="CAMOverlay-") as folder:
        file = picture.savePicture(Path(folder, "picture.png"), volume, overlayNode, subtitle=result.target.description)
        with Image.open(file) as image:
            return np.asarray(image.convert("RGB")).copy()
