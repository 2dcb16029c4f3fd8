"""TotalSegmentator's models: nnU-Net's, with the nearest RAS axes and a resolution of the task's own in front.

Source: TotalSegmentator 2.18 (https://github.com/wasserth/TotalSegmentator), ``nnUNet_predict_image`` in ``nnunet.py``
and ``change_spacing`` in ``resampling.py``; Wasserthal et al. 2023, https://doi.org/10.1148/ryai.230024. What it does
to the labels afterwards (small blobs, the largest component) changes no answer of the network and is left out.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import scipy  # its parts load when they are used
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose, InvertibleTransform, Orientation
from monai.transforms.inverse import TraceableTransform
from torch.nn.functional import interpolate

from ...contract.errors import BundleError, PreprocessingError
from ...contract.model import ModelSummary
from ...contract.nnunet_folder import TrainedFolder
from ...contract.totalsegmentator import (
    CUBIC,
    NO_CROP,
    choose,
    find_network,
    narrow,
    summary_of_all,
    summary_of_part,
)
from ...contract.totalsegmentator_tasks import Spacing
from ..bundle.model import Model
from .model import NnunetModel
from .preprocessing import RAS_LABELS, chain_of
from .windows import STEP, NnunetWindows

STEP_OF_TOTAL = 0.8
"""Share of a window from one to the next in the tasks for the whole body, which take fewer windows."""


class TotalSegmentatorModel(NnunetModel):
    """One network of TotalSegmentator's; of a folder with several the first that is there, until a class says which.

    Args:
        source: where it lies; its ``configs`` may name a task, a Dataset, ``no_crop``, ``cubic``, and what an nnU-Net
            model knows.

    Raises:
        BundleError, WeightsError: there is no such model.
    """

    def _find(self) -> TrainedFolder:
        self._chosen = choose(self.path, self.source.configs)
        self.part = self._chosen.there[0]
        return find_network(self.part, self._chosen.words)

    @cached_property
    def summary(self) -> ModelSummary:
        if self._chosen.only is None:
            return summary_of_all(self._chosen)
        return summary_of_part(self.part, self.trained, self.plans)

    def require_explainable(self) -> None:
        """
        Raises:
            BundleError: a rough model would crop the volume first, and nobody said that it may be left out.
        """
        super().require_explainable()
        task = self.part.task
        if task.crops_to and NO_CROP not in self._chosen.words:
            raise BundleError(
                f"TotalSegmentator's task {task.name} first crops the volume to what a rough model finds of "
                f"{', '.join(task.crops_to)}, which is not done here. Crop the volume to it, and name {NO_CROP} to "
                "have it explained as it is.",
                setting="configs",
            )

    def model(self, device: torch.device) -> Model:
        """
        Raises:
            TargetError: several networks could be meant.
            BundleError, WeightsError
        """
        narrow(self.path, self.source.configs, ())
        self.require_explainable()
        return super().model(device)

    def preprocessing(self) -> Compose:
        load, *rest = chain_of(self.plans).transforms
        order = 3 if CUBIC in self._chosen.words else 1
        turned = Orientation(axcodes="RAS", labels=RAS_LABELS)
        return Compose([load, turned, ChangeSpacing(self.part.task.spacing, order), *rest], map_items=False)

    def inferer(self) -> NnunetWindows:
        windows = super().inferer()
        windows.step = STEP_OF_TOTAL if self.part.task.name.startswith("total") else STEP
        return windows

    def _notes(self) -> tuple[str, ...]:
        task, notes = self.part.task, super()._notes() if self.part.task.all_folds else ()
        if len(task.datasets) > 1:
            notes += (
                f"Dataset{self.part.number:03d} alone was asked, one of {len(task.datasets)} networks that share the "
                f"classes of task {task.name}: what the others find is background to it.",
            )
        if task.crops_to:
            notes += (
                f"The volume was not cropped to {', '.join(task.crops_to)} first, as task {task.name} does it: where "
                "it shows more, the network sees what it was not trained on.",
            )
        return notes


class ChangeSpacing(InvertibleTransform):
    """To the task's resolution as TotalSegmentator does it: whole numbers, the first and last voxel of each axis kept.

    SciPy's ``zoom`` puts the centres of the outermost voxels onto one another, so voxels end up (n − 1) / (m − 1) times
    as large, which is not quite the spacing that was asked for. TotalSegmentator's affine says the latter, and nnU-Net
    is told so; the affine here says the former, so that a heatmap lies where its voxels came from.

    Args:
        spacing: mm along the axes; None only notes what nnU-Net will read as the voxel size.
        order: of the splines.
    """

    def __init__(self, spacing: Spacing | None, order: int = 1) -> None:
        self.spacing, self.order = spacing, order

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """C×R×A×S to the same at another resolution, float32 with whole numbers; as it is where it has it already.

        Raises:
            PreprocessingError: it is a picture.
        """
        if image.ndim != 4:
            raise PreprocessingError("TotalSegmentator takes volumes, and this is a picture. Give a volume.")
        lengths = np.linalg.norm(np.asarray(image.affine, dtype=float)[:3, :3], axis=0)
        in_header = lengths.astype(np.float32)
        values, old = image.as_tensor(), tuple(int(n) for n in image.shape[1:])
        if self.spacing is not None and not np.array_equal(in_header, self.spacing):
            zoom = in_header / np.asarray(self.spacing)
            values, in_header = self._zoomed(values, zoom), (lengths / zoom).astype(np.float32)
        shape = tuple(int(n) for n in values.shape[1:])
        record = TraceableTransform.track_transform_meta(
            image,
            sp_size=shape,
            affine=_between_centres(old, shape),
            extra_info={"shape": list(old)},
            orig_size=old,
            transform_info=self.get_transform_info(),
        )
        return _with_voxel_size(MetaTensor(values).copy_meta_from(record), in_header)

    def _zoomed(self, values: torch.Tensor, zoom: np.ndarray) -> torch.Tensor:
        wide = values.numpy().astype(np.float64)
        # Cut off and not rounded: an image of integers is what TotalSegmentator writes for nnU-Net.
        found = [scipy.ndimage.zoom(one, zoom, order=self.order, mode="nearest").astype(np.int32) for one in wide]
        return torch.from_numpy(np.stack(found).astype(np.float32))

    def inverse(self, data: MetaTensor) -> MetaTensor:
        """A map goes back linearly, over the same centres."""
        old = tuple(self.pop_transform(data)["extra_info"]["shape"])
        record: Any = TraceableTransform.track_transform_meta(
            data, sp_size=old, affine=_between_centres(tuple(data.shape[1:]), old), transform_info=None
        )
        back = data.as_tensor().float()
        if tuple(back.shape[1:]) != old:
            back = interpolate(back[None], size=old, mode="trilinear", align_corners=True)[0]
        return MetaTensor(back).copy_meta_from(record)


def _between_centres(old: tuple[int, ...], new: tuple[int, ...]) -> np.ndarray:
    """From voxels of the new shape to voxels of the old one, outermost centres on one another (4×4)."""
    scales = [(a - 1) / (b - 1) if b > 1 else 1.0 for a, b in zip(old, new, strict=True)]
    return np.diag([*scales, 1.0])


def _with_voxel_size(image: MetaTensor, lengths: np.ndarray) -> MetaTensor:
    """The image with the voxel size (mm along its axes) that nnU-Net finds in its header."""
    header = np.ones(8, np.float32)
    header[1:4] = lengths
    image.meta["pixdim"] = header
    return image
