"""The volumes of the localisation benchmark: phantoms as the networks see them, and the truth about them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from monai import transforms
from torch import Tensor

from Benchmarks.lesions import Phantom, make_phantom
from Benchmarks.localisation_metrics import Truth
from Benchmarks.localisation_networks import CLASSES
from CAMOverlayLib.engine.preprocessing.trace import PreprocessingTrace, trace_preprocessing

INPUT_SHAPE = (64, 64, 64)
LESION_MM = (9.0, 14.0)
"""Range of the lesions' radius."""


@dataclass(frozen=True)
class Volume:
    """A phantom as the network sees it (1×I×J×K), the way there, and the truth; of two lesions also the second's."""

    seed: int
    label: int
    image: Tensor
    trace: PreprocessingTrace
    truth: Truth
    other: Truth | None = None


def chain() -> transforms.Compose:
    """A usual preprocessing: about 2.5 mm a voxel, the whole head in a cube."""
    return transforms.Compose(
        [
            transforms.LoadImaged("image"),
            transforms.EnsureChannelFirstd("image"),
            transforms.Orientationd("image", axcodes="RAS", labels=None),
            transforms.CropForegroundd("image", source_key="image"),
            transforms.Spacingd("image", pixdim=(2.5, 2.5, 2.5), mode="bilinear"),
            transforms.NormalizeIntensityd("image", nonzero=True, channel_wise=True),
            transforms.Resized("image", spatial_size=INPUT_SHAPE, mode="trilinear"),
        ]
    )


def inputs(seed: int, classes: Mapping[str, str | None] = CLASSES) -> Tensor:
    """What the network sees of every class of one head, in their order: N×1×I×J×K."""
    steps, images = chain(), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phantom.nii"
        for kind in classes.values():
            make_phantom(seed, kind, radius_mm=LESION_MM).save(path)
            images.append(steps({"image": str(path)})["image"].as_tensor())
    return torch.stack(images)


def read(seeds: Iterable[int], classes: Mapping[str, str | None] = CLASSES) -> Iterator[Volume]:
    """The volumes with a lesion, through the engine's own reading of the chain."""
    steps = chain()
    for seed in seeds:
        for label, kind in enumerate(classes.values()):
            if kind is not None:
                yield traced(steps, make_phantom(seed, kind, radius_mm=LESION_MM), label)


def read_pairs(
    seeds: Iterable[int], steps: transforms.Compose, radius_mm: tuple[float, float] = LESION_MM
) -> Iterator[Volume]:
    """Volumes with a lesion of one class and another of the other, by turns; the label is the first one's class."""
    labels = {kind: label for label, kind in enumerate(CLASSES.values()) if kind}
    for number, seed in enumerate(seeds):
        first, second = list(labels) if number % 2 else reversed(labels)
        yield traced(steps, make_phantom(seed, first, radius_mm=radius_mm, second=second), labels[first])


def traced(steps: transforms.Compose, phantom: Phantom, label: int) -> Volume:
    """A phantom through a chain, written to a file and read again as a user's volume is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phantom.nii"
        phantom.save(path)
        trace = trace_preprocessing(steps, [path])
    trace.monitor.forget()
    grid = trace.volume_grid
    truth = Truth(grid.shape, grid.affine, phantom.centre_ras, phantom.radius_mm)
    second = phantom.second
    other = None if second is None else Truth(grid.shape, grid.affine, second.centre_ras, second.radius_mm)
    return Volume(phantom.seed, label, trace.image.as_tensor().float(), trace, truth, other)
