"""The volumes of the localisation benchmark: phantoms as the networks see them, and the truth about them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from monai import transforms
from torch import Tensor

from Benchmarks.lesions import make_phantom
from Benchmarks.localisation_metrics import Truth
from Benchmarks.localisation_networks import CLASSES
from CAMOverlayLib.engine.preprocessing.trace import PreprocessingTrace, trace_preprocessing

INPUT_SHAPE = (64, 64, 64)
LESION_MM = (9.0, 14.0)
"""Range of the lesions' radius."""


@dataclass(frozen=True)
class Volume:
    """A phantom as the network sees it (1×I×J×K), the way there, and the truth."""

    seed: int
    label: int
    image: Tensor
    trace: PreprocessingTrace
    truth: Truth


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


def inputs(seed: int) -> Tensor:
    """What the network sees of every class of one head, in their order: N×1×I×J×K."""
    steps, images = chain(), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phantom.nii"
        for kind in CLASSES.values():
            make_phantom(seed, kind, radius_mm=LESION_MM).save(path)
            images.append(steps({"image": str(path)})["image"].as_tensor())
    return torch.stack(images)


def read(seeds: Iterable[int]) -> Iterator[Volume]:
    """The volumes with a lesion, through the engine's own reading of the chain."""
    steps = chain()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phantom.nii"
        for seed in seeds:
            for label, kind in enumerate(CLASSES.values()):
                if kind is None:
                    continue
                phantom = make_phantom(seed, kind, radius_mm=LESION_MM)
                phantom.save(path)
                trace = trace_preprocessing(steps, [path])
                trace.monitor.forget()
                grid = trace.volume_grid
                truth = Truth(grid.shape, grid.affine, phantom.centre_ras, phantom.radius_mm)
                yield Volume(seed, label, trace.image.as_tensor().float(), trace, truth)
