"""The stored answers of nnU-Net are whole and fit together; what they are compared with is another test's concern."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from Oracles.nnunet.cases import CASES, FIXTURES, STEP, answer, real_answer, real_input, versions
from PIL import Image
from support import real_volumes

MAXIMUM = 3_000_000
# Everything beyond tensors and plain Python that a checkpoint of nnU-Net holds, under its name in NumPy 1 as well.
SCALAR = np.float64(0).__reduce__()[0]
NUMPY_SCALARS = [
    SCALAR,
    (SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
    type(np.dtype(np.float32)),
]

each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
answers = pytest.mark.parametrize(
    ("case", "read"),
    [(case, answer) for case in CASES] + [(case, real_answer) for case in CASES if case.cuts],
    ids=lambda value: getattr(value, "name", None) or value.__name__,
)


def heads(case) -> int:
    """The background has no head of its own where regions are predicted."""
    labels = case.dataset_json["labels"]
    return len(labels) - ("regions_class_order" in case.dataset_json)


def sampled(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *[-(-n // STEP) for n in shape[1:]])


def test_everything_together_is_small_and_nothing_lies_there_without_a_case():
    files = [path for path in FIXTURES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MAXIMUM
    expected = {FIXTURES / "versions.json"}
    for case in CASES:
        expected |= {case.model / "plans.json", case.model / "dataset.json", *case.checkpoints, *case.input_files}
        expected |= {case.folder / "answer.npz", *([case.folder / "real.npz"] if case.cuts else [])}
    assert set(files) == expected
    assert {"nnunetv2", "torch", "dynamic_network_architectures"} <= set(versions())


@each_case
def test_a_checkpoint_loads_without_running_code(case):
    names = set()
    for fold, path in zip(case.folds, case.checkpoints):
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            stored = torch.load(path, map_location="cpu", weights_only=True)
        names |= set(stored)
        assert stored["init_args"]["configuration"] == case.configuration
        assert stored["init_args"]["fold"] == fold
        assert stored["init_args"]["plans"] == case.plans
        assert stored["init_args"]["dataset_json"] == case.dataset_json
        assert stored["trainer_name"] == case.trainer
        assert isinstance(stored["_best_ema"], np.float64)
        weights = stored["network_weights"]
        assert all(tensor.dtype == torch.float32 and torch.isfinite(tensor).all() for tensor in weights.values())
        assert weights["decoder.seg_layers.1.weight"].shape[0] == heads(case)
    assert {"network_weights", "inference_allowed_mirroring_axes", "logging", "current_epoch"} <= names


@each_case
def test_the_label_map_fits_its_input_and_every_label_takes_its_part(case):
    said = answer(case)
    for path in case.input_files:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert said.labels.shape == (picture.height, picture.width)
        else:
            assert said.labels.shape == nibabel.load(path).shape
    assert said.labels.dtype == np.uint8
    shares = np.bincount(said.labels.ravel()) / said.labels.size
    labels = {0, *case.dataset_json.get("regions_class_order", range(1, heads(case)))}
    assert len(shares) == len(labels)
    assert shares.min() >= 0.05
    assert said.unsure.mean() < 0.05


@answers
def test_an_answer_agrees_with_itself(case, read):
    said = read(case)
    forward = case.plans["transpose_forward"]
    if said.labels.ndim == 3 and case.plans["image_reader_writer"] != "NibabelIOWithReorient":
        assert said.shape_before_cropping == tuple(said.labels.shape[::-1][axis] for axis in forward)
    assert said.shape_after_cropping == tuple(said.bbox[:, 1] - said.bbox[:, 0])
    assert (said.bbox[:, 0] >= 0).all()
    assert (said.bbox[:, 1] <= said.shape_before_cropping).all()
    assert said.preprocessed_shape[0] == len(case.dataset_json["channel_names"])
    assert said.logits_shape == (heads(case), *said.preprocessed_shape[1:])
    assert said.logits.shape == said.logits_float32.shape == sampled(said.logits_shape)
    assert said.logits.dtype == said.logits_float32.dtype == np.float32
    assert np.isfinite(said.logits).all()
    # Half precision has no digits left where weights are smallest; elsewhere the two are close.
    apart = np.abs(said.logits - said.logits_float32)
    assert np.median(apart) < 0.01
    assert apart.max() < 0.75
    assert said.preprocessed_statistics.shape == (said.preprocessed_shape[0], 4)
    if read is answer:
        assert said.preprocessed.shape == sampled(said.preprocessed_shape)
        mean, deviation, lowest, highest = said.preprocessed_statistics.T
        voxels = said.preprocessed.reshape(len(mean), -1)
        assert (voxels.min(1) >= lowest - 1e-6).all()
        assert (voxels.max(1) <= highest + 1e-6).all()
        assert np.allclose(voxels.mean(1), mean, atol=deviation.max() / 2)
    else:
        assert said.preprocessed is None


@each_case
def test_several_windows_lie_along_every_axis_or_none_fits(case):
    if case.name == "smaller_than_patch":
        return
    configuration = case.plans["configurations"][case.configuration]
    patch = configuration["patch_size"]
    shape = answer(case).preprocessed_shape[-len(patch) :]
    assert all(n >= window for n, window in zip(shape, patch))
    assert sum(n > window for n, window in zip(shape, patch)) >= len(patch) - 1


@pytest.mark.skipif(not real_volumes(), reason="no ../shared/data here")
@pytest.mark.parametrize("case", [case for case in CASES if case.cuts], ids=lambda case: case.name)
def test_a_real_cut_is_the_one_that_was_answered(case):
    channels, affine = real_input(case, real_volumes()[0].parent)
    said = real_answer(case)
    assert {channel.shape for channel in channels} == {said.labels.shape}
    spacing = np.linalg.norm(affine[:3, :3], axis=0)[::-1]
    if case.plans["image_reader_writer"] != "NibabelIOWithReorient":
        assert np.allclose(said.spacing, spacing, rtol=1e-5)
