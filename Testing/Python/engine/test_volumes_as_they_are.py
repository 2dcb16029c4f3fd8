"""Volumes and chains as people have them: other orders of bytes, two geometries, random draws, merged channels."""

import copy
import itertools

import nibabel
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from monai import transforms
from monai.transforms import (
    Compose,
    CropForeground,
    EnsureChannelFirst,
    EnsureChannelFirstd,
    LoadImage,
    LoadImaged,
    MapTransform,
    OneOf,
    Orientation,
    Orientationd,
    RandFlip,
    RandGaussianNoise,
    Resize,
    Resized,
    ScaleIntensityd,
    Spacing,
)
from support import FEW, SLOW

from CAMOverlayLib import explain
from CAMOverlayLib.contract.errors import OutputError, PlacementError, PreprocessingError, VolumeError
from CAMOverlayLib.engine.geometry.channels import on_one_grid
from CAMOverlayLib.engine.geometry.slice_stack import in_plane
from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing
from CAMOverlayLib.engine.restore.plan import place, plan_inversion

AFFINE = GEOMETRIES["oblique"]
SHAPE, VOXEL = (30, 28, 26), (19, 12, 13)
LOAD = [LoadImage(image_only=True), EnsureChannelFirst(channel_dim="no_channel")]


class Copy(torch.nn.Module):
    """Copies its first channel, so that the map is the input itself."""

    def __init__(self, dimensions=3, channels=1):
        super().__init__()
        kind = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dimensions]
        self.layer = kind(channels, 1, 1, bias=False)
        torch.nn.init.ones_(self.layer.weight)

    def forward(self, x):
        return self.layer(x).flatten(2).mean(2)


def array_of(dtype=np.int16):
    noise = np.random.default_rng(0).normal(0, 5, SHAPE)
    return (40 + noise + 80 * blob(SHAPE, AFFINE, AFFINE[:3] @ [*VOXEL, 1], 6)).clip(0, 120).astype(dtype)


TYPES = (">i2", ">f4", ">f8", "<i8", "u2", "u4", "u8", "i1", "u1", "f2", "longdouble", "bool")


@pytest.mark.parametrize("dtype", FEW(TYPES, ">i2", "u2", "u8", "f2", "longdouble", "bool"))
def test_voxels_of_any_type_and_order_of_bytes(dtype):
    array = array_of(np.float64)
    array = (array > 60).astype(bool) if dtype == "bool" else array.astype(np.dtype(dtype))
    found = explain(
        Copy(), Compose([*LOAD, Resize((30, 28, 26))]), (array, AFFINE), target=0, layer="layer", regression=True
    )
    heat, truth = found.heatmap.get_fdata(), array.astype(float)
    assert found.heatmap.shape == SHAPE and np.corrcoef(heat.ravel(), truth.ravel())[0, 1] > 0.999


def test_a_big_endian_mgh_file_is_read(tmp_path):
    nibabel.save(nibabel.MGHImage(array_of(np.float32), AFFINE), tmp_path / "v.mgz")
    found = explain(Copy(), Compose(LOAD), str(tmp_path / "v.mgz"), target=0, layer="layer", regression=True)
    assert np.abs(np.array(found.result.peak) - VOXEL).max() <= 4 and found.heatmap.get_fdata().max() == 1


def test_a_file_whose_sform_and_qform_differ_says_which_was_taken(tmp_path):
    image = nibabel.Nifti1Image(array_of(), AFFINE)
    image.set_sform(AFFINE, code="aligned")
    other = np.array(AFFINE)
    other[:3, 3] += 30
    image.set_qform(other, code="scanner")
    nibabel.save(image, tmp_path / "two.nii")
    found = explain(Copy(), Compose(LOAD), str(tmp_path / "two.nii"), target=0, layer="layer", regression=True)
    assert any(
        "sform and the qform of 'two'" in w and "52.0 mm apart; the sform was taken" in w for w in found.result.warnings
    )
    np.testing.assert_allclose(found.heatmap.affine, AFFINE, atol=1e-4)
    nibabel.save(nibabel.Nifti1Image(array_of(), AFFINE), tmp_path / "one.nii")
    found = explain(Copy(), Compose(LOAD), str(tmp_path / "one.nii"), target=0, layer="layer", regression=True)
    assert not any("qform" in w for w in found.result.warnings)


@pytest.mark.parametrize("frames", [2, 3, 4, 5])
def test_a_series_is_no_colour_image(frames, tmp_path):
    series = np.repeat(array_of()[..., None], frames, -1)
    nibabel.save(nibabel.Nifti1Image(series, AFFINE), tmp_path / "v.nii")
    with pytest.raises(VolumeError, match=f"series of {frames} volumes"):
        explain(Copy(), Compose(LOAD), str(tmp_path / "v.nii"), target=0)


@pytest.mark.parametrize("size", [SLOW(1e-6), SLOW(1e-4), 1e-3])
def test_rounding_between_channels_is_no_other_grid(size):
    rounded = AFFINE + np.random.default_rng(1).normal(0, size / 30, (4, 4)) * [[1], [1], [1], [0]]
    first, second = Volume(array_of(), AFFINE, "a"), Volume(array_of(), rounded, "b")
    found, notes = on_one_grid([first, second])
    assert not notes and (found[1].affine == AFFINE).all() and found[1].array is second.array
    result = explain(
        Copy(channels=2),
        Compose([LoadImage(image_only=True), EnsureChannelFirst(channel_dim=0)]),
        [(array_of(), AFFINE), (array_of(), rounded)],
        target=0,
        layer="layer",
        regression=True,
    )
    assert result.heatmap.shape == SHAPE
    shifted = np.array(AFFINE)
    shifted[:3, 3] += 0.2
    assert on_one_grid([first, Volume(array_of(), shifted, "c")])[1]


# Random draws -------------------------------------------------------------------------------------------------------


RANDOM = {
    "seeded": lambda: Compose(
        [*LOAD, RandFlip(0.5, spatial_axis=0), RandGaussianNoise(prob=1.0, std=3.0)]
    ).set_random_state(seed=4),
    "without a loader": lambda: Compose(
        [EnsureChannelFirst(channel_dim="no_channel"), RandGaussianNoise(prob=1.0, std=3.0)]
    ).set_random_state(seed=4),
    "an inner chain": lambda: Compose([*LOAD, Compose([RandGaussianNoise(prob=1.0, std=3.0)])]).set_random_state(
        seed=4
    ),
    "one of several": lambda: Compose(
        [*LOAD, OneOf([RandGaussianNoise(prob=1.0, std=3.0), RandFlip(1.0, 1)])]
    ).set_random_state(seed=4),
    "global generators": lambda: Compose([*LOAD, lambda x: x + float(np.random.rand()) + torch.rand(x.shape) * 9]),
    "a list": lambda: [*LOAD, RandGaussianNoise(prob=1.0, std=3.0)],
}


@pytest.mark.parametrize("name", FEW(RANDOM, "seeded", "an inner chain", "global generators"))
def test_random_draws_are_the_same_twice_said_and_leave_the_callers_state(name):
    make = RANDOM[name]
    chain = make()
    volume = (array_of(), AFFINE)
    expected = make()
    one, other = (explain(Copy(), chain, volume, target=0, layer="layer", regression=True) for _ in range(2))
    np.testing.assert_array_equal(one.heatmap.get_fdata(), other.heatmap.get_fdata())
    transforms = chain if isinstance(chain, list) else chain.transforms
    drawing = any("Rand" in type(t).__name__ or isinstance(t, Compose) for t in transforms)
    assert drawing == any("draws at random" in w for w in one.result.warnings)
    if drawing and not isinstance(chain, list):
        for mine, theirs in zip(transforms, expected.transforms):
            for a, b in ((mine, theirs), *zip(getattr(mine, "transforms", ()), getattr(theirs, "transforms", ()))):
                if hasattr(a, "R"):
                    assert a.R.get_state()[1].tolist() == b.R.get_state()[1].tolist()


def test_the_network_gets_what_the_seeded_chain_would_give(tmp_path):
    path = write_nifti(Volume(array_of(), AFFINE, "v"), tmp_path / "v.nii")
    seen = []

    class Watching(Copy):
        def forward(self, x):
            seen.append(x.detach().clone())
            return super().forward(x)

    chain = RANDOM["without a loader"]()
    expected = copy.deepcopy(chain)(LoadImage(image_only=True)(path))
    explain(Watching(), chain, str(path), target=0, layer="layer", regression=True)
    assert torch.equal(seen[-1][0], expected.as_tensor())


# Slices and merged channels -----------------------------------------------------------------------------------------


STEPS_2D = {"Spacing": Spacing((2.0, 3.0)), "Orientation": Orientation("RA", labels=None)}
SLICES_2D = [*itertools.product(STEPS_2D, ["LPS", "oblique LPS", "oblique"], ["axial", "coronal", "sagittal"])]
EACH_ONCE = [
    ("Spacing", "LPS", "axial"),
    ("Orientation", "oblique LPS", "coronal"),
    ("Spacing", "oblique", "sagittal"),
]


@pytest.mark.parametrize("case", FEW(SLICES_2D, *EACH_ONCE), ids="-".join)
def test_a_2d_chain_reads_the_true_spacing_of_any_slice(case):
    step, geometry, orientation = STEPS_2D[case[0]], *case[1:]
    affine, shape = GEOMETRIES[geometry], (26, 24, 22)
    centre = affine[:3] @ [15, 10, 9, 1]
    array = (1000 * blob(shape, affine, centre, 6) + np.random.default_rng(0).normal(0, 5, shape)).astype(np.int16)
    shapes = []

    class Watching(Copy):
        def forward(self, x):
            shapes.append(tuple(x.shape[2:]))
            return super().forward(x)

    chain = Compose([LoadImage(image_only=True), EnsureChannelFirst(channel_dim="no_channel"), step])
    found = explain(Watching(2), chain, (array, affine), target=0, layer="layer", regression=True, slices=orientation)
    assert np.linalg.norm(np.array(found.result.peak_ras) - centre) < 4
    if isinstance(step, Spacing):
        from CAMOverlayLib.engine.geometry.slice_stack import cut

        stack = cut(Volume(array, affine, "v"), orientation)
        extent = np.array(stack.picture(0).shape[:2]) * np.linalg.norm(stack.picture(0).affine[:3, :2], axis=0)
        assert np.abs(np.array(shapes[-1]) - extent / (2, 3)).max() <= 1.5


def test_a_slices_own_plane_keeps_spacing_and_direction():
    coronal = np.array([[-2.0, 0, 0, 5], [0, 0, 4, 6], [0, -3, 0, 7], [0, 0, 0, 1]])
    np.testing.assert_allclose(in_plane(coronal), np.diag([-2.0, -3, 4, 1]))
    np.testing.assert_allclose(in_plane(GEOMETRIES["LPS"]), GEOMETRIES["LPS"])


class ConcatImages(MapTransform):
    """As renalStructures_CECT_segmentation has it: channels side by side, without affine and history."""

    def __init__(self, keys, name="image"):
        super().__init__(keys)
        self.name = name

    def __call__(self, data):
        return dict(data) | {self.name: np.concatenate([data[k] for k in self.keys], axis=0)}


MERGED = ("artery", "vein", "excretory")


def merging(*later, merge=ConcatImages(MERGED)):
    return Compose(
        [
            LoadImaged(MERGED),
            EnsureChannelFirstd(MERGED),
            Orientationd(MERGED, "RAS", labels=None),
            Resized(MERGED, (24, 26, 28)),
            merge,
            *later,
        ]
    )


@pytest.mark.parametrize("inverse", ["affine", "operations"])
def test_channels_that_were_merged_into_an_array_lie_where_the_first_of_them_lies(inverse):
    volumes = [(array_of(), AFFINE) for _ in MERGED]
    found = explain(
        Copy(channels=3),
        merging(ScaleIntensityd("image")),
        volumes,
        target=0,
        layer="layer",
        regression=True,
        inverse=inverse,
    )
    assert found.heatmap.shape == SHAPE and found.result.placement.verdict == "verified"
    assert np.abs(np.array(found.result.peak) - VOXEL).max() <= 4


def test_a_merge_that_cannot_be_followed_is_still_refused(tmp_path):
    files = [write_nifti(Volume(array_of(), AFFINE, n), tmp_path / f"{n}.nii") for n in MERGED]

    class Mean(ConcatImages):
        def __call__(self, data):
            return dict(data) | {self.name: np.stack([data[k][0] for k in self.keys])[:, ::2]}

    with pytest.raises(PlacementError, match=r"Mean returned a numpy.ndarray instead of a MetaTensor"):
        trace_preprocessing(merging(merge=Mean(MERGED)), files)
    with pytest.raises(PlacementError, match="ConcatImages returned a numpy.ndarray"):
        trace_preprocessing(
            merging(Orientationd("image", "LPS", labels=None)), files
        )  # it would read an affine that is not there

    class Mirrored(ConcatImages):
        def __call__(self, data):
            return dict(data) | {self.name: np.concatenate([data[k] for k in self.keys], axis=0)[:, ::-1].copy()}

    trace = trace_preprocessing(merging(merge=Mirrored(MERGED)), files)
    with pytest.raises(PlacementError, match="Mirrored, mirrored the image"):
        plan_inversion(trace)


def test_going_back_by_operations_follows_the_key_through_a_merge(tmp_path):
    from monai.transforms import ConcatItemsd

    files = [write_nifti(Volume(array_of(), AFFINE, n), tmp_path / f"{n}.nii") for n in MERGED]
    trace = trace_preprocessing(merging(merge=ConcatItemsd(MERGED, "image")), files)
    placed, placement = place(
        trace.image.as_tensor()[0].float(), trace, plan_inversion(trace, "operations"), verify=True
    )
    assert placement.inverse == "operations" and placement.peak_distance < 3
    assert np.corrcoef(placed.array.ravel(), array_of().ravel())[0, 1] > 0.9


# What cannot be -----------------------------------------------------------------------------------------------------


def test_cropping_to_the_foreground_of_an_empty_volume_is_answered_in_a_sentence():
    chain = Compose([*LOAD, CropForeground(allow_smaller=True)])
    with pytest.raises((PreprocessingError, PlacementError), match="CropForeground.*(no voxel|empty)"):
        explain(Copy(), chain, (np.zeros(SHAPE, np.int16), AFFINE), target=0)


def test_a_full_disk_while_slices_are_written(monkeypatch):
    import CAMOverlayLib.engine.geometry.volume as volume_module

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(volume_module.nibabel, "save", full)
    own = transforms.Lambda(lambda image: image)  # which may open the file, so there has to be one
    chain = Compose([LoadImage(image_only=True), EnsureChannelFirst(channel_dim="no_channel"), own])
    with pytest.raises(OutputError, match="No space left"):
        explain(Copy(2), chain, (array_of(), AFFINE), target=0)


def test_the_steps_of_an_earlier_trail_are_gone_and_nothing_else(tmp_path):
    from CAMOverlayLib.engine.restore.intermediates import save_intermediates
    from CAMOverlayLib.engine.restore.plan import plan_inversion

    path = write_nifti(Volume(array_of(), AFFINE, "v"), tmp_path / "v.nii")
    folder = tmp_path / "trail"
    folder.mkdir()
    (folder / "forward-notes.txt").write_text("mine")
    for steps in ([*LOAD, Resize((12, 12, 12)), Orientation("RAS", labels=None)], LOAD):
        trace = trace_preprocessing(Compose(steps), [path], keep_images=True)
        save_intermediates(torch.ones(3, 3, 3), trace, plan_inversion(trace), folder)
    names = sorted(f.name for f in folder.iterdir())
    assert names == [
        "backward-01-LoadImage.nii.gz",
        "backward-02-EnsureChannelFirst.nii.gz",
        "forward-01-LoadImage.nii.gz",
        "forward-02-EnsureChannelFirst.nii.gz",
        "forward-notes.txt",
    ]
