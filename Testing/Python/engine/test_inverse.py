"""The heatmap put back: MONAI issue 7392 rebuilt, geometries, custom transforms, and what must be refused."""

from copy import deepcopy
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, affines, blob
from hypothesis import HealthCheck, given, settings
from monai.data import MetaTensor
from monai.transforms import (
    CenterSpatialCropd,
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    Flipd,
    InvertibleTransform,
    LoadImaged,
    MapTransform,
    NormalizeIntensityd,
    Orientationd,
    Resized,
    ResizeWithPadOrCropd,
    Rotated,
    Spacingd,
)
from monai.transforms.utils import allow_missing_keys_mode
from support import FEW, examples, real_volumes

from CAMOverlayLib.contract.errors import PlacementError
from CAMOverlayLib.contract.field_of_view import Region, slabs_of
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.contract.peaks import peak_of
from CAMOverlayLib.demo import DEMO_VOLUME
from CAMOverlayLib.engine.geometry.resample import resample, to_input_grid
from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing
from CAMOverlayLib.engine.restore.affine import field_of_view, place_by_affine
from CAMOverlayLib.engine.restore.transforms import as_network_input, invert_chain, place_by_operations

IMAGE = "image"
LOAD = [LoadImaged(IMAGE), EnsureChannelFirstd(IMAGE)]
# The others tell nothing else.
REAL = FEW([DEMO_VOLUME, *real_volumes()], DEMO_VOLUME)


def chain_7392(*extra):
    """The chain of https://github.com/Project-MONAI/MONAI/issues/7392."""
    return Compose(
        [
            *LOAD,
            Orientationd(IMAGE, axcodes="RAS", labels=None),
            CropForegroundd(IMAGE, source_key=IMAGE),
            Spacingd(IMAGE, pixdim=(0.532, 0.532, 1.25), mode="bilinear"),
            *extra,
            NormalizeIntensityd(IMAGE),
            Resized(IMAGE, spatial_size=(96, 96, 64)),
        ]
    )


class MirrorLeftRightd(MapTransform, InvertibleTransform):
    """A custom transform that does what it must: it records itself, keeps the affine true, and can be inverted."""

    def __call__(self, data):
        data = dict(data)
        for key in self.key_iterator(data):
            image = data[key]
            affine = image.affine.clone()
            affine[:, 3] += affine[:, 0] * (image.shape[1] - 1)
            affine[:, 0] *= -1
            mirrored = image.flip(1)
            mirrored.affine = affine
            self.push_transform(mirrored)
            data[key] = mirrored
        return data

    def inverse(self, data):
        data = dict(data)
        for key in self.key_iterator(data):
            self.pop_transform(data[key])
            operations = data[key].applied_operations
            data[key] = self({key: data[key]})[key]
            data[key].applied_operations = operations
        return data


def blob_on_input(trace, centre, sigma) -> torch.Tensor:
    """What a perfect network would say: a blob of the patient's space, on the network's grid."""
    heat = blob(trace.input_grid.shape, trace.input_grid.affine, centre, sigma)
    return torch.from_numpy(np.where(heat < 1e-3, 0, heat))


def without_affine(heat, trace) -> MetaTensor:
    return MetaTensor(heat, applied_operations=deepcopy(trace.image.applied_operations))


@pytest.mark.parametrize("path", REAL, ids=lambda p: p.name.split(".")[0])
@pytest.mark.parametrize("extra", [(), (MirrorLeftRightd(IMAGE),)], ids=["as reported", "with a custom transform"])
@pytest.mark.some(1)
def test_monai_issue_7392(tmp_path, path, extra):
    # On the scanner's table, a metre from its zero, as volumes come from hospitals. Nearer to zero the same mistake
    # puts the map in a wrong place instead of nowhere; the next test has that.
    image = nibabel.load(path)
    table = np.eye(4)
    table[:3, 3] = -900
    path = write_nifti(Volume(np.asarray(image.dataobj), table @ image.affine, "v"), tmp_path / "v.nii")
    trace, voxel, heat = blob_in_7392(path, extra)

    # The failure as people meet it: operations without the affine give nothing but zeros, and no word about it.
    with allow_missing_keys_mode(trace.chain):
        silent = trace.chain.inverse({IMAGE: without_affine(heat, trace)})[IMAGE]
    assert float(heat.max()) > 0.9 and not silent.any()

    # This project refuses to go on.
    with pytest.raises(PlacementError, match="both the operations and the affine"):
        invert_chain(without_affine(heat, trace), trace)

    # And puts the map back where it belongs, by the saved operations as by one resampling.
    for place in (place_by_operations, place_by_affine):
        placed = place(heat[0], trace)
        assert placed.array.shape == trace.volume_grid.shape and placed.array.dtype == np.float32
        assert np.abs(np.array(placed.peak) - voxel).max() <= 1
    restored = invert_chain(as_network_input(heat, trace), trace)
    np.testing.assert_allclose(restored.affine, trace.volume_grid.affine, atol=1e-4)


@pytest.mark.parametrize("path", REAL, ids=lambda p: p.name.split(".")[0])
def test_near_the_scanners_zero_the_same_mistake_shows_a_map_in_a_wrong_place(path):
    trace, voxel, heat = blob_in_7392(path)
    with allow_missing_keys_mode(trace.chain):
        wrong = trace.chain.inverse({IMAGE: without_affine(heat, trace)})[IMAGE]
    np.testing.assert_allclose(wrong.affine, trace.volume_grid.affine, atol=1e-4)  # and it says that all is well
    peak = np.array(np.unravel_index(int(wrong.argmax()), wrong.shape[1:]))
    assert not wrong.any() or np.linalg.norm(trace.volume_grid.affine[:3, :3] @ (peak - voxel)) > 10
    with pytest.raises(PlacementError, match="both the operations and the affine"):
        invert_chain(without_affine(heat, trace), trace)


def blob_in_7392(path, extra=()):
    trace = trace_preprocessing(chain_7392(*extra), [Path(path)])
    volume = trace.volume_grid
    voxel = np.array([int(n * share) for n, share in zip(volume.shape, (0.55, 0.4, 0.6))])
    return trace, voxel, blob_on_input(trace, volume.affine[:3] @ [*voxel, 1], 12)[None]


def test_lost_operations_are_refused(write):
    trace = trace_preprocessing(Compose([*LOAD, *SPATIAL]), [write()])
    heat = as_network_input(torch.ones(1, 32, 30, 28), trace)
    heat.applied_operations.pop()
    with pytest.raises(PlacementError, match="carries 2 saved operations, the network input 3"):
        invert_chain(heat, trace)


def test_inverting_does_not_consume_the_history(write):
    trace = trace_preprocessing(
        Compose([*LOAD, CenterSpatialCropd(IMAGE, (9, 9, 9)), Resized(IMAGE, (6, 6, 6))]), [write()]
    )
    first, second = (
        place_by_operations(torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(1)), trace) for _ in range(2)
    )
    np.testing.assert_array_equal(first.array, second.array)
    assert len(trace.image.applied_operations) == 2


@pytest.fixture
def write(tmp_path):
    def file(affine=GEOMETRIES["oblique LPS"], shape=(24, 22, 20), array=None) -> Path:
        array = np.ones(shape, np.float32) if array is None else array
        return write_nifti(Volume(array, affine, "v"), tmp_path / "v.nii")

    return file


SPATIAL = [
    Orientationd(IMAGE, axcodes="RAS", labels=None),
    Spacingd(IMAGE, pixdim=(1.7, 1.9, 1.5)),
    Resized(IMAGE, (32, 30, 28)),
]


BOTH = pytest.mark.parametrize("place", [place_by_affine, place_by_operations])


@BOTH
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(affine=affines)
def test_the_peak_comes_back_to_its_voxel_in_any_geometry(write, place, affine):
    trace = trace_preprocessing(Compose([*LOAD, *SPATIAL]), [write(affine)])
    voxel = np.array([9, 13, 7])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    placed = place(blob_on_input(trace, affine[:3] @ [*voxel, 1], 2.5 * spacing.max()), trace)
    assert np.abs((np.array(placed.peak) - voxel) * spacing).max() <= 1.01 * max(1.9, spacing.max())


def test_the_activation_grid_covers_the_input_edge_to_edge():
    """Activation a of n over m voxels is centred on voxel (a + 0.5)·m/n − 0.5: a ramp stays that ramp."""
    heat = torch.arange(4.0).view(4, 1, 1)
    fine = to_input_grid(heat, (32, 5, 5))[0, :, 2, 2]
    voxels = torch.arange(32.0)
    expected = ((voxels + 0.5) * 4 / 32 - 0.5).clamp(0, 3)
    torch.testing.assert_close(fine, expected)


UNSEEN = {
    "crop": ([CenterSpatialCropd(IMAGE, (12, 10, 8))], 12 * 10 * 8),
    "crop and pad back": ([CenterSpatialCropd(IMAGE, (12, 10, 8)), ResizeWithPadOrCropd(IMAGE, (24, 22, 20))], 960),
    "crop, mirror, enlarge": (
        [CenterSpatialCropd(IMAGE, (12, 10, 8)), Flipd(IMAGE, 1), Resized(IMAGE, (30, 30, 30))],
        960,
    ),
}


@BOTH
@pytest.mark.parametrize(("steps", "seen"), UNSEEN.values(), ids=UNSEEN)
def test_what_the_network_never_saw_is_zero(write, place, steps, seen):
    trace = trace_preprocessing(Compose([*LOAD, *steps]), [write()])
    placed = place(torch.ones(4, 4, 4), trace)
    inside = np.zeros((24, 22, 20), bool)
    inside[6:18, 6:16, 6:14] = True
    assert not placed.array[~inside].any()
    assert (placed.array[inside] > 0.99).all()
    assert placed.region.share == pytest.approx(seen / inside.size)


@BOTH
@pytest.mark.parametrize("padding", ["border", "reflection", "zeros"])
@pytest.mark.some(2)
def test_no_padding_mode_paints_outside_the_field_of_view(write, place, padding):
    chain = Compose(
        [*LOAD, CenterSpatialCropd(IMAGE, (12, 12, 12)), Rotated(IMAGE, (0.5, 0.3, 0.2), padding_mode=padding)]
    )
    trace = trace_preprocessing(chain, [write()])
    placed = place(torch.ones(4, 4, 4), trace)
    outside = ~field_of_view(trace).mask()
    assert outside.sum() > 0.8 * outside.size and not placed.array[outside].any()


@settings(max_examples=examples(40))
@given(affine=affines, other=affines)
def test_the_field_of_view_is_that_of_its_definition(affine, other):
    volume, grid = Grid((7, 8, 9), affine), Grid((6, 5, 7), other)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.shape], indexing="ij"), -1).reshape(-1, 3)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    back = np.linalg.inv(other)
    position = world @ back[:3, :3].T + back[:3, 3]
    expected = ((position >= -0.501) & (position <= np.array(grid.shape) - 0.499)).all(1).reshape(volume.shape)
    region = Region(volume.shape, slabs_of(volume.shape, grid.index_from(volume), grid.shape))
    found = region.mask()
    assert region.count() == found.sum() and not found[..., : region.box[2].start].any()
    assert (Region.from_planes(volume.shape, region.planes).mask() == found).all()
    close = np.abs(position + 0.501).min(1).reshape(volume.shape) < 1e-6  # on a plane, rounding decides
    assert ((found == expected) | close).all()


class SilentMirrord(MapTransform):
    """Changes shape and records nothing."""

    def __call__(self, data):
        return data | {IMAGE: data[IMAGE][:, :-3]}


def test_a_crop_without_record_is_refused(write):
    trace = trace_preprocessing(Compose([*LOAD, SilentMirrord(IMAGE), Resized(IMAGE, (10, 10, 10))]), [write()])
    with pytest.raises(PlacementError, match=r"has \(21, 22, 20\) voxels instead of \(24, 22, 20\)"):
        place_by_operations(torch.ones(4, 4, 4), trace)


@BOTH
def test_a_map_without_evidence_stays_empty(write, place):
    trace = trace_preprocessing(Compose([*LOAD, *SPATIAL]), [write()])
    assert not place(torch.zeros(4, 4, 4), trace).array.any()


# On the volume's grid -----------------------------------------------------------------------------------------------


def average(fine, factor):
    """Means over blocks of so many voxels along each axis."""
    i, j, k = (n // factor for n in fine.shape)
    return fine.reshape(i, factor, j, factor, k, factor).mean((1, 3, 5))


@pytest.mark.parametrize("oblique", [False, True])
def test_a_sharp_map_on_a_coarse_volume_is_averaged_over_each_voxel(oblique):
    """One hot activation among 6³ in a voxel must not depend on where in the voxel it lies, and must not vanish."""
    turn = np.eye(4)
    if oblique:
        c, s = np.cos(0.3), np.sin(0.3)
        turn[:2, :2] = [[c, -s], [s, c]]
    coarse = Grid((8, 8, 8), np.diag([6.0, 6, 6, 1]))
    fine = Grid((48, 48, 48), turn @ np.array([[1, 0, 0, -2.5], [0, 1, 0, -2.5], [0, 0, 1, -2.5], [0, 0, 0, 1]]))
    totals = []
    for place in [(20, 20, 20), (23, 21, 18), (18, 23, 23), (22, 19, 21)]:
        heat = torch.zeros(48, 48, 48)
        heat[place] = 1
        found = resample(heat, fine, coarse, Region(coarse.shape, ()))
        centre = coarse.index_from(fine)[:3] @ [*place, 1]
        assert np.abs(np.array(peak_of(found)) - centre).max() <= 0.6
        totals.append(found.sum() * 6**3)
        if not oblique:
            np.testing.assert_allclose(found.sum(), average(heat.numpy(), 6).sum(), rtol=0.3)
    assert min(totals) > 0.7 and max(totals) < 1.3, totals
    smooth = torch.from_numpy(blob(fine.shape, fine.affine, fine.affine[:3] @ [22, 25, 20, 1], 9))
    found = resample(smooth, fine, coarse, Region(coarse.shape, ()))
    if not oblique:
        np.testing.assert_allclose(found, average(smooth.numpy(), 6), atol=0.02)


def test_a_map_that_is_coarser_than_the_volume_is_what_it_was(write):
    trace = trace_preprocessing(Compose([*LOAD, Resized(IMAGE, (24, 22, 20))]), [write()])
    heat = torch.rand(5, 5, 5, generator=torch.Generator().manual_seed(2))
    placed = place_by_affine(heat, trace)
    expected = torch.nn.functional.interpolate(heat[None, None], (24, 22, 20), mode="trilinear", align_corners=False)[
        0, 0
    ]
    np.testing.assert_allclose(placed.array, expected.numpy(), atol=1e-5)
