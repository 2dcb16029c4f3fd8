"""The composed inverse against the analytic truth, over MONAI's spatial transforms.

The volume is a field that is known everywhere in the patient. It goes through the transform as voxels do; what comes
out is taken for the heatmap and put back. Where the network saw, the field must be there again.
"""

import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from monai import transforms as mt
from support import SLOW

from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing
from CAMOverlayLib.engine.restore.affine import field_of_view, place_by_affine
from CAMOverlayLib.engine.restore.plan import plan_inversion
from CAMOverlayLib.engine.restore.transforms import place_by_operations

SHAPE = (52, 46, 38)
AFFINE = GEOMETRIES["oblique LPS"]
TOLERANCE = 0.02


def truth(shape=SHAPE, affine=AFFINE):
    """Three wide blobs without any symmetry, largest value about 1."""
    at = lambda *share: affine[:3] @ [*(s * n for s, n in zip(share, SHAPE)), 1]
    field = blob(shape, affine, at(0.4, 0.6, 0.5), 17) + 0.5 * blob(shape, affine, at(0.75, 0.3, 0.6), 14)
    return field + 0.4 * blob(shape, affine, at(0.3, 0.25, 0.3), 14)


@pytest.fixture(scope="module")
def volume_file(tmp_path_factory):
    return write_nifti(Volume(truth(), AFFINE, "v"), tmp_path_factory.mktemp("volume") / "v.nii")


# name → (transform, arguments); the dictionary form is made of the same name.
TABLE = {
    "Orientation RAS": ("Orientation", {"axcodes": "RAS", "labels": None}),
    "Orientation LPI": ("Orientation", {"axcodes": "LPI", "labels": None}),
    "Orientation permuted": ("Orientation", {"axcodes": "SAR", "labels": None}),
    "Orientation closest canonical": ("Orientation", {"as_closest_canonical": True, "labels": None}),
    "Spacing": ("Spacing", {"pixdim": (1.6, 1.6, 1.6)}),
    "Spacing fine": ("Spacing", {"pixdim": (0.9, 1.0, 1.1), "padding_mode": "zeros"}),
    "Spacing align_corners": ("Spacing", {"pixdim": (1.7, 1.5, 2.2), "align_corners": True}),
    "Spacing scale_extent": ("Spacing", {"pixdim": (1.5, 1.7, 1.9), "scale_extent": True}),
    "Spacing diagonal": ("Spacing", {"pixdim": (1.6, 1.6, 1.6), "diagonal": True}),
    "Resize": ("Resize", {"spatial_size": (40, 44, 48), "mode": "trilinear"}),
    "Resize area": ("Resize", {"spatial_size": (26, 23, 19), "mode": "area"}),
    "Resize align_corners": ("Resize", {"spatial_size": (64, 60, 56), "mode": "trilinear", "align_corners": True}),
    "Resize longest": ("Resize", {"spatial_size": 60, "size_mode": "longest", "mode": "trilinear"}),
    "Zoom in": ("Zoom", {"zoom": 1.3, "mode": "trilinear"}),
    "Zoom out": ("Zoom", {"zoom": 0.8, "mode": "trilinear"}),
    "Zoom another size": ("Zoom", {"zoom": (1.2, 0.9, 1.1), "keep_size": False, "mode": "trilinear"}),
    "Rotate": ("Rotate", {"angle": (0.2, -0.1, 0.3)}),
    "Rotate whole": ("Rotate", {"angle": (0.2, -0.1, 0.3), "keep_size": False}),
    "Rotate align_corners": ("Rotate", {"angle": (0.1, 0.2, 0.1), "align_corners": True}),
    "Rotate90": ("Rotate90", {"k": 1, "spatial_axes": (0, 2)}),
    "Rotate90 thrice": ("Rotate90", {"k": 3, "spatial_axes": (1, 2)}),
    "Flip I": ("Flip", {"spatial_axis": 0}),
    "Flip J and K": ("Flip", {"spatial_axis": (1, 2)}),
    "Affine": ("Affine", {"rotate_params": (0.1, 0.2, -0.1), "translate_params": (3, -2, 1), "image_only": True}),
    "Affine scaled": ("Affine", {"scale_params": (1.1, 0.9, 1.2), "spatial_size": (50, 50, 50), "image_only": True}),
    "RandAffine": ("RandAffine", {"prob": 1.0, "rotate_range": 0.2, "scale_range": 0.1, "translate_range": 3}),
    "RandFlip": ("RandFlip", {"prob": 1.0, "spatial_axis": 1}),
    "RandAxisFlip": ("RandAxisFlip", {"prob": 1.0}),
    "RandRotate": ("RandRotate", {"prob": 1.0, "range_x": 0.3, "range_y": 0.2}),
    "RandRotate90": ("RandRotate90", {"prob": 1.0, "spatial_axes": (0, 1)}),
    "RandZoom": ("RandZoom", {"prob": 1.0, "min_zoom": 0.8, "max_zoom": 1.2, "mode": "trilinear"}),
    "CenterSpatialCrop": ("CenterSpatialCrop", {"roi_size": (40, 31, 30)}),
    "CenterScaleCrop": ("CenterScaleCrop", {"roi_scale": 0.7}),
    "SpatialCrop": ("SpatialCrop", {"roi_start": (5, 7, 3), "roi_end": (44, 40, 31)}),
    "CropForeground": ("CropForeground", {"select_fn": lambda x: x > 0.3}),
    "RandSpatialCrop": ("RandSpatialCrop", {"roi_size": (30, 30, 30), "random_size": False}),
    "SpatialPad": ("SpatialPad", {"spatial_size": (64, 60, 50)}),
    "BorderPad": ("BorderPad", {"spatial_border": (3, 5, 2)}),
    "DivisiblePad": ("DivisiblePad", {"k": 16}),
    "ResizeWithPadOrCrop": ("ResizeWithPadOrCrop", {"spatial_size": (48, 64, 32)}),
}
assert len({name for name, _ in TABLE.values()}) >= 20 and len(TABLE) >= 25


def made(name, arguments, form, lazy=False):
    """A chain of one transform, loaded before, in the array or the dictionary form."""
    arguments = dict(arguments)
    if form == "array":
        chain = [mt.LoadImage(), mt.EnsureChannelFirst(), getattr(mt, name)(**arguments)]
    else:
        extra = {"source_key": "image"} if name == "CropForeground" else {}
        if name in ("Affine", "RandAffine"):
            arguments.pop("image_only", None)
        chain = [
            mt.LoadImaged("image"),
            mt.EnsureChannelFirstd("image"),
            getattr(mt, name + "d")("image", **arguments, **extra),
        ]
    return mt.Compose(chain, lazy=lazy).set_random_state(seed=7)


def compare_with_truth(trace, rim: float = 1.5):
    """Largest error inside the field of view, a rim of input voxels at its edge and at the volume's left out.

    There a voxel of the input is mixed with the padding beyond the volume, which is the forward transform's doing.
    """
    heat = trace.image.as_tensor()[0].float()
    placed = place_by_affine(heat, trace)
    region = field_of_view(trace)
    inside = region.mask()
    assert not placed.array[~inside].any(), "something outside the field of view"
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    for grid in trace.grids[1:]:
        mapping = grid.index_from(trace.volume_grid)
        position = index @ mapping[:3, :3].T + mapping[:3, 3]
        inside &= ((position >= rim - 0.5) & (position <= np.array(grid.shape) - 0.5 - rim)).all(-1)
        edge = np.abs(np.linalg.inv(mapping)[:3, :3]).sum(1) * rim  # of an input voxel, in voxels of the volume
        inside &= ((index >= edge - 0.5) & (index <= np.array(SHAPE) - 0.5 - edge)).all(-1)
    assert inside.mean() > 0.02, "nothing left to compare"
    expected = truth()
    return float(np.abs(placed.array - expected)[inside].max()), placed, inside


@pytest.mark.parametrize("form", ["dictionary", "array", "lazy", SLOW("dictionary, every verdict")])
def test_the_composed_inverse_is_the_truth(volume_file, form):
    wrong = {}
    # The verdicts are about the image, which is the same in every form, and take the most time.
    judged = {"dictionary": [*TABLE][::3], "dictionary, every verdict": [*TABLE]}.get(form, [])
    for label, (name, arguments) in TABLE.items():
        trace = trace_preprocessing(
            made(name, arguments, "array" if form == "array" else "dictionary", form == "lazy"), [volume_file]
        )
        error, placed, inside = compare_with_truth(trace)
        if error > TOLERANCE:
            wrong[label] = error
        if label in judged and plan_inversion(trace).agreement.verdict == "mismatch":
            wrong[label + ", verdict"] = trace.steps
        replayed = place_by_operations(trace.image.as_tensor()[0].float(), trace)
        assert not replayed.array[~field_of_view(trace).mask()].any()
        # The replay interpolates once more, so it may be that much farther away.
        difference = float(np.abs(replayed.array - placed.array)[inside].max())
        # (After averaging it has nothing but blocks to go back with: MONAI enlarges by the same mode.)
        if difference > 2 * TOLERANCE and arguments.get("mode") != "area":
            wrong[label + ", replayed"] = difference
    assert not wrong, wrong


@pytest.mark.parametrize("mode", ["nearest", "area"])
def test_modes_that_take_whole_voxels_are_off_by_less_than_half_a_voxel(volume_file, mode):
    """Sizes that do not divide: nearest takes the voxel before, area the mean of a window that is not centred."""
    trace = trace_preprocessing(
        made("Resize", {"spatial_size": (40, 34, 30), "mode": mode}, "dictionary"), [volume_file]
    )
    error, _, _ = compare_with_truth(trace)
    steepest = max(np.abs(np.diff(truth(), axis=a)).max() for a in range(3))
    assert error < 0.5 * 3 * steepest + TOLERANCE


def random_chain(rng):
    # Averaging (area) flattens the field by more than the tolerance after a few steps, wherever it is put back.
    left_out = ("Crop", "Pad", "scaled", "area")
    labels = [label for label in TABLE if not any(word in label for word in left_out)]
    chosen = [TABLE[rng.choice(labels)] for _ in range(rng.integers(2, 5))]
    crops = [TABLE[rng.choice(["CenterSpatialCrop", "SpatialPad", "BorderPad", "ResizeWithPadOrCrop"])]]
    chosen = (chosen + crops) if rng.random() < 0.5 else (crops + chosen)
    return [mt.LoadImaged("image"), mt.EnsureChannelFirstd("image")] + [
        getattr(mt, n + "d")("image", **{k: v for k, v in a.items() if k != "image_only"}) for n, a in chosen
    ]


def test_twenty_random_chains(volume_file):
    wrong = {}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        chain = mt.Compose(random_chain(rng), lazy=bool(seed % 2)).set_random_state(seed=seed)
        trace = trace_preprocessing(chain, [volume_file])
        try:
            error, _, _ = compare_with_truth(trace, rim=2.5)
        except AssertionError as problem:
            error = float("inf") if "outside" in str(problem) else 0.0
        if error > TOLERANCE:
            wrong[seed] = (error, [s.name for s in trace.steps])
    assert not wrong, wrong


def test_an_empty_region_gives_an_empty_map(volume_file):
    crop = mt.Compose(
        [
            mt.LoadImaged("image"),
            mt.EnsureChannelFirstd("image"),
            mt.SpatialCropd("image", roi_slices=[slice(0, 4), slice(0, 4), slice(0, 4)]),
        ]
    )
    trace = trace_preprocessing(crop, [volume_file])
    placed = place_by_affine(torch.ones(2, 2, 2), trace)
    assert placed.array[:4, :4, :4].all() and placed.array.sum() == 64
