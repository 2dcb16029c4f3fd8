"""Resampled slab by slab a volume is to the bit what MONAI makes of it at once, in less memory."""

import re

import numpy as np
import pytest
import torch
from geometries import GEOMETRIES
from monai.data import MetaTensor
from monai.transforms import Affine, Compose, Orientation, ResampleToMatch, Rotate, Spacing, SpatialResample, Zoom
from monai.transforms.spatial import array, functional
from support import examples

from CAMOverlayLib.engine.preprocessing import slabs
from CAMOverlayLib.engine.preprocessing.slabs import SlabwiseAffine, resampled_in_slabs


def image(shape, affine=GEOMETRIES["oblique LPS"], seed=0):
    values = torch.from_numpy(np.random.default_rng(seed).normal(0, 300, shape).astype(np.float32))
    return MetaTensor(values, affine=torch.as_tensor(affine, dtype=torch.float64))


def both(transform, given):
    expected = transform(given.clone())
    with resampled_in_slabs():
        found = transform(given.clone())
    return expected, found


def same(expected, found):
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert torch.equal(found.as_tensor(), expected.as_tensor())
    assert torch.equal(found.affine, expected.affine)
    records = [re.sub(r"id: \d+", "", repr(image.applied_operations)) for image in (found, expected)]
    assert records[0] == records[1]


TRANSFORMS = {
    "finer": Spacing((0.7, 0.9, 1.1)),
    "coarser": Spacing((2.3, 2.1, 3.7)),
    "diagonal": Spacing((1.3, 1.3, 1.3), diagonal=True),
    "nearest": Spacing((0.8, 0.8, 0.8), mode="nearest"),
    "zeros": Spacing((1.1, 0.9, 1.2), padding_mode="zeros"),
    "reflection": Spacing((1.1, 0.9, 1.2), padding_mode="reflection"),
    "corners aligned": Spacing((1.1, 0.9, 1.2), align_corners=True),
    "float32": Spacing((1.1, 0.9, 1.2), dtype=torch.float32),
    "scale extent": Spacing((1.1, 0.9, 1.2), scale_extent=True),
    "spline": Spacing((1.1, 0.9, 1.2), mode=3, padding_mode="nearest"),
    "turned": Compose([Rotate((0.2, 0.1, 0.3)), Zoom(1.2)]),
    "turned in float64": Rotate((0.2, 0.1, 0.3), dtype=torch.float64),
    "lazy": Compose([Orientation("RAS", labels=None), Spacing((1.1, 0.9, 1.2)), Rotate((0.1, 0, 0))], lazy=True),
    "match": lambda given: ResampleToMatch()(given, image((1, 19, 23, 17), np.diag([-1.2, 1.1, 1.3, 1]))),
    "affine": Affine(rotate_params=(0.1, 0.2, 0.3), image_only=True),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("slab", [1, 900, 1 << 20])
def test_every_resampling(name, slab, monkeypatch):
    monkeypatch.setattr(slabs, "SLAB", slab)
    same(*both(TRANSFORMS[name], image((1, 31, 26, 22))))


@pytest.mark.parametrize("shape", [(3, 20, 17, 13), (1, 2, 30, 30), (1, 30, 30, 1), (2, 24, 20)])
def test_every_shape(shape, monkeypatch):
    monkeypatch.setattr(slabs, "SLAB", 500)
    pixdim = (1.1, 0.9, 1.2)[: len(shape) - 1]
    affine = np.diag([0.9, 1.2, 1.0, 1.0])
    same(*both(Spacing(pixdim), image(shape, affine)))


@pytest.mark.parametrize("seed", range(examples(30)))
def test_any_geometry(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(slabs, "SLAB", int(rng.integers(1, 4000)))
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * rng.uniform(0.5, 3, 3)
    affine[:3, 3] = rng.normal(0, 100, 3)
    given = image((1, *rng.integers(5, 40, 3)), affine, seed)
    same(*both(Spacing(tuple(rng.uniform(0.6, 3, 3))), given))


@pytest.mark.parametrize("padding", ["border", "zeros", "reflection"])
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("seed", range(examples(6)))
def test_places_beyond_the_image(padding, corners, seed, monkeypatch):
    """The planes that a slab asks for lie partly or wholly outside, forwards and backwards, and turned."""
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(slabs, "SLAB", 1)
    given = image((2, *rng.integers(3, 30, 3)), np.diag([1.0, 1.2, 0.9, 1]), seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0] if seed % 2 else np.diag(rng.choice([-1, 1], 3))
    target = np.eye(4)
    target[:3, :3] = turn * rng.uniform(0.5, 2, 3)
    target[:3, 3] = rng.normal(0, 40, 3)
    resample = SpatialResample(padding_mode=padding, align_corners=corners)
    same(*both(lambda one: resample(one, dst_affine=target, spatial_size=shape_of(seed)), given))


def shape_of(seed):
    return [int(n) for n in np.random.default_rng([seed, 1]).integers(2, 30, 3)]


def test_the_way_back_is_that_of_monai():
    transform = Spacing((1.1, 0.9, 1.2), mode="bilinear")
    expected, found = both(transform, image((1, 31, 26, 22)))
    same(transform.inverse(expected), transform.inverse(found))


def test_a_column_of_planes_is_wide_at_a_time(monkeypatch):
    """What float64 takes is bounded by the slab, not by the image, and no plane is asked for that was given back."""
    held = []
    around = slabs._InFloat64._around
    monkeypatch.setattr(slabs._InFloat64, "_around", lambda *a: held.append(around(*a)) or held[-1])
    monkeypatch.setattr(slabs, "SLAB", 1)
    same(*both(Spacing((0.5, 1.0, 1.0)), image((1, 40, 8, 9), np.eye(4))))
    assert len(held) > 40 and max(end - first for first, end in held) <= 2 * slabs.MARGIN + 3


def test_it_is_taken_and_given_back(monkeypatch):
    calls = []
    monkeypatch.setattr(SlabwiseAffine, "_matrix", lambda *a, f=SlabwiseAffine._matrix: calls.append(1) or f(*a))
    before = functional.AffineTransform, array.spatial_resample
    with resampled_in_slabs():
        Spacing((0.8, 0.8, 0.8))(image((1, 20, 20, 20)))
    assert calls
    assert (functional.AffineTransform, array.spatial_resample) == before
