"""The cases that nnU-Net itself has answered: which model, which input, which answer. NumPy, and nibabel for real data.

The model folder and the input of a case lie in `fixtures/CASE/`, written by `make_fixtures.py`; what nnunetv2 said of
them lies beside them in `answer.npz`, and in `real.npz` what it said of a cut of a real volume. Real voxels are no part
of this project: `real_input` cuts them again from the folder they lie in.

Axis orders: "file order" is I×J×K as nibabel reads the file (rows × columns for a picture). "Network order" is what
nnU-Net works in: K×J×I as its readers turn it, then permuted by the plans' `transpose_forward`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).resolve().parent / "fixtures"
# Samples in network space are [:, ::STEP, ::STEP, ::STEP] of the whole array.
STEP = 4


@dataclass(frozen=True)
class Cut:
    """Part of a real volume in file order: (start, stop, step) for each axis, then some axes reversed."""

    source: str
    slices: tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]
    reversed_axes: tuple[int, ...] = ()

    def of(self, voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The voxels that are cut, with an affine that leaves each where it was in the patient.

        Reversing an odd number of axes changes the sign of the affine's determinant.
        """
        part = voxels[tuple(slice(*s) for s in self.slices)]
        affine = affine.astype(float).copy()
        affine[:3, 3] += affine[:3, :3] @ [start for start, _, _ in self.slices]
        affine[:3, :3] *= [step for _, _, step in self.slices]
        for axis in self.reversed_axes:
            part = np.flip(part, axis)
            affine[:3, 3] += affine[:3, axis] * (part.shape[axis] - 1)
            affine[:3, axis] *= -1
        return np.ascontiguousarray(part), affine


@dataclass(frozen=True)
class Case:
    """One model, its input in `fixtures/NAME/`, and the real cuts it was applied to as well (one for each channel)."""

    name: str
    about: str
    dataset: str
    configuration: str = "3d_fullres"
    plans_name: str = "nnUNetPlans"
    trainer: str = "nnUNetTrainer"
    folds: tuple[int, ...] = (0,)
    mirroring: bool = False
    inputs: tuple[str, ...] = ("input_0000.nii.gz",)
    cuts: tuple[Cut, ...] = ()

    @property
    def folder(self) -> Path:
        return FIXTURES / self.name

    @property
    def model(self) -> Path:
        """The folder with plans.json, dataset.json and fold_K, named as nnU-Net names it."""
        return self.folder / self.dataset / f"{self.trainer}__{self.plans_name}__{self.configuration}"

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        return tuple(self.model / f"fold_{fold}" / "checkpoint_final.pth" for fold in self.folds)

    @property
    def input_files(self) -> tuple[Path, ...]:
        """One file for each channel; a single picture file carries all three of its channels."""
        return tuple(self.folder / name for name in self.inputs)

    @property
    def plans(self) -> dict:
        return json.loads((self.model / "plans.json").read_text())

    @property
    def dataset_json(self) -> dict:
        return json.loads((self.model / "dataset.json").read_text())


@dataclass(frozen=True)
class Answer:
    """What nnunetv2 said. C is the network's input channels, H its heads, all spatial axes in network order."""

    labels: np.ndarray  # file order, uint8: what nnU-Net's writer put into the file
    # File order, bool: the label hangs on less than 0.02 in the logits (regions: a logit is that near 0), or half and
    # float32 sums do not agree on it. Elsewhere another implementation must agree.
    unsure: np.ndarray
    spacing: np.ndarray  # [3] as the reader gives it: K, J, I, before transpose_forward
    bbox: np.ndarray  # [3, 2] half-open, after transpose_forward
    shape_before_cropping: tuple[int, ...]  # after transpose_forward
    shape_after_cropping: tuple[int, ...]
    preprocessed_shape: tuple[int, ...]  # C and three spatial axes
    preprocessed_statistics: np.ndarray  # [C, 4] mean, standard deviation, minimum, maximum of the whole array
    preprocessed: np.ndarray | None  # C×A×B×C sample, float32; None for real volumes
    logits_shape: tuple[int, ...]  # H and three spatial axes
    logits: np.ndarray  # sample of the sliding window's result, folds averaged; as shipped: sums in half precision
    logits_float32: np.ndarray  # the same code with its sums in float32 (its weights still half): can be met closely

    @classmethod
    def read(cls, path: Path) -> Answer:
        with np.load(path) as stored:
            labels = stored["labels"]
            return cls(
                labels=labels,
                unsure=np.unpackbits(stored["unsure"], count=labels.size).reshape(labels.shape).astype(bool),
                spacing=stored["spacing"],
                bbox=stored["bbox"],
                shape_before_cropping=_shape(stored["shape_before_cropping"]),
                shape_after_cropping=_shape(stored["shape_after_cropping"]),
                preprocessed_shape=_shape(stored["preprocessed_shape"]),
                preprocessed_statistics=stored["preprocessed_statistics"],
                preprocessed=stored.get("preprocessed"),
                logits_shape=_shape(stored["logits_shape"]),
                logits=stored["logits"],
                logits_float32=stored["logits_float32"],
            )


def _shape(stored) -> tuple[int, ...]:
    return tuple(int(n) for n in stored)


def answer(case: Case) -> Answer:
    return Answer.read(case.folder / "answer.npz")


def real_answer(case: Case) -> Answer:
    """Only for cases that have `cuts`."""
    return Answer.read(case.folder / "real.npz")


def versions() -> dict[str, str]:
    """Of nnunetv2 and of what it computes with, when the answers were made."""
    return json.loads((FIXTURES / "versions.json").read_text())


def real_input(case: Case, data: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """The real voxels of a case, one I×J×K array for each channel, and the affine of the first, which all are given."""
    import nibabel

    channels, affines = [], []
    for cut in case.cuts:
        image = nibabel.load(data / cut.source)
        voxels, affine = cut.of(np.asanyarray(image.dataobj), image.affine)
        channels.append(voxels)
        affines.append(affine)
    return channels, affines[0]


CT, MR, BRAIN = "CT_AVM.nii.gz", "MR_Gd.nii.gz", "spm152.nii.gz"

CASES = (
    Case(
        "anisotropic_ct",
        "CT normalisation; the coarse axis is J, is moved first by transpose_forward, and is resampled separately",
        "Dataset901_AnisotropicCT",
        cuts=(Cut(CT, ((80, 160, 1), (20, 212, 8), (50, 114, 1))),),
    ),
    Case(
        "isotropic_mr",
        "z-score over everything within the cut; left-handed affine",
        "Dataset902_IsotropicMR",
        cuts=(Cut(MR, ((40, 104, 1), (50, 114, 1), (40, 96, 1)), (0,)),),
    ),
    Case(
        "slices_2d",
        "2d: slices across I, which transpose_forward [2, 0, 1] moves first; oblique",
        "Dataset903_Slices",
        "2d",
        cuts=(Cut(MR, ((10, 166, 6), (40, 104, 1), (30, 94, 1))),),
    ),
    Case(
        "two_channels",
        "rescaling to 0…1 beside no normalisation; reader that turns to RAS, on a permuted, left-handed file",
        "Dataset904_TwoChannels",
        inputs=("input_0000.nii.gz", "input_0001.nii.gz"),
        cuts=(
            Cut(BRAIN, ((70, 134, 1), (90, 154, 1), (60, 116, 1)), (1,)),
            Cut(BRAIN, ((74, 138, 1), (84, 148, 1), (70, 126, 1)), (1,)),
        ),
    ),
    Case(
        "regions",
        "regions by sigmoid in regions_class_order; mirroring over all axes",
        "Dataset905_Regions",
        mirroring=True,
        cuts=(Cut(BRAIN, ((60, 116, 1), (100, 156, 1), (60, 116, 1))),),
    ),
    Case(
        "residual_encoder",
        "ResidualEncoderUNet of the ResEnc plans; oblique",
        "Dataset906_ResidualEncoder",
        plans_name="nnUNetResEncUNetMPlans",
        cuts=(Cut(MR, ((60, 124, 1), (60, 116, 1), (50, 106, 1))),),
    ),
    Case(
        "old_plans",
        "plans of before nnU-Net 2.3, saved under NumPy 1; only the target is anisotropic, which decides",
        "Dataset907_OldPlans",
        cuts=(Cut(CT, ((100, 164, 1), (90, 146, 1), (60, 116, 1)), (2,)),),
    ),
    Case(
        "two_folds",
        "the isotropic case with two folds, whose logits are averaged",
        "Dataset908_TwoFolds",
        folds=(0, 1),
        cuts=(Cut(MR, ((40, 104, 1), (50, 114, 1), (40, 96, 1)), (0,)),),
    ),
    Case(
        "masked_zscore",
        "z-score within the filled non-zero mask; zeros outside stay zero",
        "Dataset909_MaskedZScore",
        cuts=(Cut(MR, ((0, 72, 1), (20, 92, 1), (60, 128, 1))),),
    ),
    Case(
        "smaller_than_patch",
        "no resampling; padded around the centre by an odd number; configuration by inherits_from; reader NibabelIO",
        "Dataset910_SmallerThanPatch",
        "3d_fullres_large_patch",
        cuts=(Cut(BRAIN, ((90, 117, 1), (120, 142, 1), (90, 115, 1))),),
    ),
    Case(
        "photograph",
        "2d: a colour picture, divided by 255; black border",
        "Dataset911_Photograph",
        "2d",
        inputs=("input_0000.png",),
    ),
)
BY_NAME = {case.name: case for case in CASES}
