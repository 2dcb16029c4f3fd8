"""Structures taken out of the image: without each, the answer of a linear network is known beforehand."""

from __future__ import annotations

import functools
import itertools
import json
import re

import nibabel
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import (
    CenterSpatialCrop,
    Compose,
    EnsureChannelFirst,
    InvertibleTransform,
    LoadImage,
    MapTransform,
    Orientation,
    Spacing,
    SpatialPad,
)
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from CAMOverlayLib import explain
from CAMOverlayLib.contract.errors import Cancelled, MethodError
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.contract.request import Result
from CAMOverlayLib.contract.target import TargetSpec
from CAMOverlayLib.engine import api
from CAMOverlayLib.engine.occluded import replaced
from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing
from CAMOverlayLib.engine.restore.onto_input import _Warp, by_affine
from CAMOverlayLib.reading.structures import Structure

AFFINE = GEOMETRIES["oblique"]
SHAPE = (20, 19, 16)
PLACES = {"left": np.s_[3:7, 4:9, 5:9], "right": np.s_[12:17, 11:16, 8:12], "both": np.s_[2:18, 3:16, 4:13]}


class Linear(torch.nn.Module):
    """Two outputs, each a known weighted sum of the voxels; or a map of them, whose sum over a region is."""

    def __init__(self, shape=SHAPE, a_map=False, seed=0):
        super().__init__()
        random = np.random.default_rng(seed)
        self.weights = torch.from_numpy(random.normal(size=(2, *shape)).astype(np.float32))
        self.calls, self.a_map = 0, a_map
        self.slopes = (2.0, -1.0)

    def forward(self, x):
        self.calls += len(x)
        if self.a_map:
            return torch.cat([x[:, :1] * slope for slope in self.slopes], 1)
        return (x[:, :1] * self.weights.to(x)).flatten(2).sum(2)


def volume(bright=3.0, around=1.0, noise=0.0):
    array = np.full(SHAPE, around, np.float32)
    array += noise * np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    array[PLACES["left"]] += bright
    array[PLACES["right"]] += 2 * bright
    return array


def masks(folder, names=("left", "right"), affine=AFFINE, shape=SHAPE):
    files = []
    for name in names:
        mask = np.zeros(shape, np.uint8)
        mask[PLACES[name]] = 1
        files.append(folder / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, affine), files[-1])
    return [str(file) for file in files]


def occluded(network, array, structures, chain=(), affine=AFFINE, **options):
    options = {"method": "saliency", "checks": "none", "occlude_structures": True} | options
    volume = (array, affine)
    return explain(
        network, [EnsureChannelFirst(channel_dim="no_channel"), *chain], volume, structures=structures, **options
    ).result


def by_rule(image, hole):
    """What the rule puts into a hole, solved exactly: means of what lies around within two voxels, and inside each
    voxel the mean of its cube of neighbours."""
    kept = (~hole).astype(float)
    size = [5 if n > 1 else 1 for n in image.shape]
    counted = ndimage.uniform_filter(kept, size, mode="constant")
    around = ndimage.uniform_filter(image * kept, size, mode="constant") / np.maximum(counted, 1e-9)
    inside = np.argwhere(hole)
    number = -np.ones(image.shape, int)
    number[hole] = np.arange(len(inside))
    rows, columns, values, right = [], [], [], np.zeros(len(inside))
    for row, voxel in enumerate(inside):
        cube = [np.array(step) + voxel for step in itertools.product((-1, 0, 1), repeat=image.ndim)]
        cube = [tuple(c) for c in cube if all(0 <= v < n for v, n in zip(c, image.shape))]
        rows.append(row), columns.append(row), values.append(1.0)
        for one in cube:
            if hole[one]:
                rows.append(row), columns.append(number[one]), values.append(-1 / len(cube))
            else:
                right[row] += around[one] / len(cube)
    found = image.astype(float).copy()
    found[hole] = spsolve(sparse.csr_matrix((values, (rows, columns))), right)
    return found


# The fall ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("regression", [True, False], ids=["regression", "classifier"])
def test_the_fall_of_a_linear_answer_is_the_computed_one(tmp_path, regression):
    """Around is 1 everywhere, so what is taken away is exactly what is above it."""
    network, array = Linear(), volume()
    found = occluded(network, array, masks(tmp_path), target=1, regression=regression)
    weights = network.weights.numpy().astype(float)[1]
    for fall, bright in zip(found.occluded, (3.0, 6.0), strict=True):
        expected = bright * weights[PLACES[fall.name]].sum()
        assert fall.fall == pytest.approx(expected, rel=1e-4)
        assert fall.before == pytest.approx((weights * array).sum(), rel=1e-4)
        assert fall.after == pytest.approx(fall.before - fall.fall)
        size = PLACES[fall.name]
        voxels = np.prod([one.stop - one.start for one in size])
        assert fall.volume_mm3 == pytest.approx(voxels * abs(np.linalg.det(AFFINE[:3, :3])))
        assert (fall.log_odds_before is None) == regression
    if not regression:
        scores = [(w * array).sum() for w in network.weights.numpy().astype(float)]
        assert found.occluded[0].log_odds_before == pytest.approx(scores[1] - scores[0], rel=1e-4)
        assert found.occluded[0].probability_before == pytest.approx(1 / (1 + np.exp(scores[0] - scores[1])), abs=1e-6)
    assert Result.from_dict(json.loads(found.to_json())) == found


@pytest.mark.parametrize("name", ["left", "both"])
def test_what_is_filled_in_follows_the_rule(name):
    """Among noise, and where another structure lies at the border: solved exactly by SciPy."""
    array, hole = volume(noise=1.0), np.zeros(SHAPE, bool)
    hole[PLACES[name]] = True
    exact = by_rule(array, hole)
    found = replaced(torch.from_numpy(array)[None, None], Structure.of(name, hole))[0, 0].numpy()
    np.testing.assert_array_equal(found[~hole], array[~hole])
    assert np.abs(found - exact)[hole].max() < 0.02 * array.std()


@pytest.mark.parametrize(("target", "windows"), [(0, True), ("0-1", False), ("mask", True)], ids=lambda one: str(one))
def test_a_segmentation_network_is_asked_over_the_same_region(tmp_path, windows, target):
    network, array = Linear(a_map=True), volume()
    files = masks(tmp_path)
    asked = TargetSpec(0, mask=files[1]) if target == "mask" else target
    settings = {"inferer": SlidingWindowInferer((12, 12, 12), 8, overlap=0.25)} if windows else {}
    found = occluded(network, array, files, target=asked, **settings)
    region = np.ones(SHAPE, bool)  # 2x > −x everywhere
    if target == "mask":
        region[:] = False
        region[PLACES["right"]] = True
    slope = 3.0 if target == "0-1" else 2.0
    for fall, bright in zip(found.occluded, (3.0, 6.0), strict=True):
        inside = np.zeros(SHAPE, bool)
        inside[PLACES[fall.name]] = True
        assert fall.fall == pytest.approx(slope * bright * (inside & region).sum() / region.sum(), rel=1e-4, abs=1e-6)
        assert fall.before == pytest.approx(slope * array[region].mean(), rel=1e-5)
    if target == 0:
        odds = 3.0 * array  # between the two outputs, voxel by voxel
        assert found.occluded[1].log_odds_before == pytest.approx(odds.mean(), rel=1e-5)
        assert found.occluded[1].probability_before == pytest.approx((1 / (1 + np.exp(-odds))).mean(), rel=1e-5)


def test_an_ensemble_answers_as_one(tmp_path, monkeypatch):
    networks = [Linear(seed=0), Linear(seed=1)]
    monkeypatch.setattr(api, "Model", functools.partial(api.Model, others=(networks[1],)))
    found = occluded(networks[0], volume(), masks(tmp_path), target=1, regression=True)
    weights = sum(one.weights[1].numpy().astype(float) for one in networks) / 2
    assert found.occluded[1].fall == pytest.approx(6 * weights[PLACES["right"]].sum(), rel=1e-4)


# The place -----------------------------------------------------------------------------------------------------------


def test_through_a_chain_that_turns_resamples_crops_and_pads(tmp_path):
    """Independently: the chain itself, run on the mask, says what holds a tenth of the structure or more."""
    chain = [
        Orientation("PIR", labels=None),
        Spacing((1.1, 1.2, 1.3)),
        CenterSpatialCrop((12, 20, 19)),
        SpatialPad((22, 24, 22)),
    ]
    array, files = volume(noise=0.3), masks(tmp_path)
    network = Linear((22, 24, 22))
    found = occluded(network, array, files, chain, target=1, regression=True)

    def through(values):
        nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), AFFINE), tmp_path / "through.nii")
        whole = Compose([LoadImage(image_only=True), EnsureChannelFirst(channel_dim="no_channel"), *chain])
        return np.asarray(whole(tmp_path / "through.nii")[0])

    image, weights, cropped = through(array), network.weights[1].numpy(), 0
    for fall in found.occluded:
        mask = np.zeros(SHAPE)
        mask[PLACES[fall.name]] = 1
        held = through(mask)
        exact = by_rule(image, held >= 0.1 * held.max())
        assert fall.fall == pytest.approx((weights * (image - exact)).sum(), rel=0.02)
        cropped += held.sum() < 0.95 * mask.sum() * abs(np.linalg.det(AFFINE[:3, :3])) / (1.1 * 1.2 * 1.3)
    assert cropped  # a structure that is cut is taken out as far as it was seen


class Warpd(MapTransform, InvertibleTransform):
    """Every plane along I shifted by another amount, which its author can undo and no affine can say."""

    def move(self, values, sign):
        shifts = np.rint(5 * np.sin(2 * np.pi * np.arange(values.shape[3]) / values.shape[3])).astype(int)
        return torch.stack([values[..., k].roll(sign * n, 1) for k, n in enumerate(shifts)], -1)

    def __call__(self, data):
        image = data["image"]
        warped = MetaTensor(self.move(image.as_tensor(), 1), affine=image.affine)
        self.push_transform(warped)
        return data | {"image": warped}

    def inverse(self, data):
        image = data["image"]
        self.pop_transform(image)
        moved = MetaTensor(
            self.move(image.as_tensor(), -1), affine=image.affine, applied_operations=image.applied_operations
        )
        return dict(data) | {"image": moved}


def test_through_a_warp_by_its_inverse():
    """No affine says where a structure went; the warp itself, run on the mask, does."""
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    mask = np.zeros((28, 20, 24), bool)
    mask[11:17, 6:12, 3:9] = True

    class Loads:
        def __call__(self, data):
            return {"image": MetaTensor(torch.ones(1, *mask.shape), affine=torch.eye(4))}

    trace = trace_preprocessing(Compose([Loads(), Warpd("image")]), ["none"], grid=Grid(mask.shape, affine))
    structure = Structure.of("warped", mask)
    there = _Warp(trace, Grid(mask.shape, affine), structure.box).there(structure)
    found = np.zeros(mask.shape, bool)
    found[there.box] = there.inside
    expected = Warpd("image").move(torch.from_numpy(mask)[None], 1)[0].numpy() > 0.1
    overlap = 2 * (found & expected).sum() / (found.sum() + expected.sum())
    moved = np.argwhere(found).mean(0) - np.argwhere(mask).mean(0)
    assert overlap > 0.9 and abs(moved[0]) > 3
    assert np.abs(np.argwhere(found).mean(0) - np.argwhere(expected).mean(0)).max() < 0.25


def test_nothing_of_a_structure_is_left_on_a_coarser_grid():
    """Every voxel that holds half of it is taken, and none that holds nothing."""
    mask = np.zeros((30, 28, 26), bool)
    mask[8:19, 9:17, 7:16] = True
    coarse = Spacing((2.3, 1.9, 2.6), align_corners=False)

    def through(values):
        return coarse(MetaTensor(torch.from_numpy(values.astype(np.float32))[None], affine=torch.eye(4)))

    class Loads:
        def __call__(self, _file):
            return through(np.random.default_rng(0).normal(size=mask.shape))

    grid = Grid(mask.shape, np.eye(4))
    trace = trace_preprocessing(Compose([Loads()]), ["none"], grid=grid)
    there = by_affine(Structure.of("s", mask), grid, trace)
    found = np.zeros(trace.input_grid.shape, bool)
    found[there.box] = there.inside
    held = np.asarray(through(mask)[0])
    assert found[held >= 0.5].all() and not found[~ndimage.binary_dilation(held > 0)].any()
    dot = np.zeros(mask.shape, bool)
    dot[14, 13, 12] = True  # smaller than a voxel of the input, and seen all the same
    assert by_affine(Structure.of("s", dot), grid, trace).inside.any()


class Flat(torch.nn.Module):
    """A 2-D network: the sum of a picture."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 1, bias=False)
        self.conv.weight.data[:] = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        self.calls = 0

    def forward(self, x):
        self.calls += len(x)
        return self.conv(x).sum((2, 3))


def test_pictures_are_asked_one_by_one_and_only_those_that_hold_the_structure(tmp_path):
    """Sagittal slices, the third of which holds the structure with the fourth."""
    network, array = Flat(), volume()[:5]
    (file,) = masks(tmp_path, ("left",), shape=array.shape)
    found = occluded(network, array, [file], target=0, regression=True, slices="sagittal")
    assert network.calls == 3 * len(array) + 2  # three for answer and map, and two without the structure
    (fall,) = found.occluded
    assert fall.fall == pytest.approx(3.0 * array[PLACES["left"]].size / len(array), rel=1e-5)


# What is asked, and what goes wrong ----------------------------------------------------------------------------------


def test_one_forward_pass_each_with_progress_and_nothing_changed(tmp_path):
    network, array, words = Linear(), volume(), []
    plain = occluded(network, array, masks(tmp_path), occlude_structures=False, target=1)
    once, network.calls = network.calls, 0
    found = occluded(network, array, masks(tmp_path), target=1, report=lambda p: words.append((p.fraction, p.message)))
    assert network.calls == once + 2 and plain.occluded == ()
    said = [message for _, message in words if message.startswith("without")]
    assert list(dict.fromkeys(said)) == ["without left (1 of 2)", "without right (2 of 2)"]
    fractions = [fraction for fraction, _ in words]
    assert fractions == sorted(fractions) and max(f for f, m in words if m.startswith("without")) > 0.5
    assert (found.structures, found.findings, found.peak) == (plain.structures, plain.findings, plain.peak)

    def cancel(progress):
        if progress.message.startswith("without right"):
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        occluded(network, array, masks(tmp_path), target=1, report=cancel)


def test_what_the_network_did_not_see_or_cannot_bear_is_a_warning(tmp_path):
    class Fussy(Linear):
        def forward(self, x):
            found = super().forward(x)
            return found * (np.nan if float(x.max()) < 5 else 1)

    files = masks(tmp_path)
    found = occluded(Linear((6, 6, 4)), volume(), files, [CenterSpatialCrop((6, 6, 4))], target=1)
    (warning,) = [words for words in found.warnings if words.startswith("Nothing of structure")]
    assert [fall.name for fall in found.occluded] == ["right"] and "'left' was seen" in warning
    found = occluded(Fussy(), volume(), files, target=1)
    assert [fall.name for fall in found.occluded] == ["left"]
    assert any(re.search("without 'right' could not be computed.*NaN", words) for words in found.warnings)
    whole = Structure.of("all", np.ones((5, 4, 3), bool))
    with pytest.raises(ValueError, match="fills all that the network saw"):
        replaced(torch.ones(1, 1, 5, 4, 3), whole)


def test_without_structures_it_is_refused_before_anything_runs():
    network = Linear()
    with pytest.raises(MethodError, match="none were given") as raised:
        occluded(network, volume(), ())
    assert raised.value.setting == "structures" and network.calls == 0
