"""Mirrored where it lies, an image is what MONAI makes of it, and nobody who has it too is touched."""

import numpy as np
import pytest
import support
import torch
from geometries import GEOMETRIES
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import (
    Compose,
    CopyItemsd,
    EnsureChannelFirstd,
    Flipd,
    Lambdad,
    LoadImaged,
    Orientationd,
    RandFlipd,
    ScaleIntensityd,
    Spacingd,
)
from support import FEW

from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.engine.preprocessing import in_place, inputs
from CAMOverlayLib.engine.preprocessing.in_place import mirror

KEY = "image"
LOADED = [LoadImaged(KEY), EnsureChannelFirstd(KEY)]
RAS = Orientationd(KEY, "RAS", labels=None)


@settings(max_examples=support.examples(80), deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 4),
    axes=st.sets(st.integers(0, 3)),
    kind=st.sampled_from([torch.float32, torch.int16, torch.float64]),
)
def test_it_mirrors_as_torch_does(shape, axes, kind):
    image = torch.arange(int(np.prod(shape))).view(shape).to(kind)
    expected = torch.flip(image, tuple(axes))
    mirror(image, tuple(axes))
    assert torch.equal(image, expected)


@pytest.fixture
def mirrored(monkeypatch):
    """Counts what is mirrored in place."""
    calls = []
    monkeypatch.setattr(in_place, "mirror", lambda *a, f=mirror: calls.append(a[1]) or f(*a))
    return calls


def run(steps, tmp_path, affine=GEOMETRIES["oblique LPS"], keep_images=False, lazy=False):
    """The chain through the engine, and by MONAI alone from a file; the volume must come out unchanged."""
    array = np.asfortranarray(np.random.default_rng(0).normal(0, 300, (24, 20, 17)).astype(np.int16))
    volume, before = Volume(array, affine, "v"), array.copy()
    model = type("Model", (), {"folder": None, "chain": Compose(steps, lazy=lazy)})
    monitored = inputs._monitored([volume])
    named = {tmp_path / "channel_0.nii": volume}
    trace = inputs._through_chain(model, named, None, keep_images, monitored, volume.grid)
    assert np.array_equal(array, before)
    write_nifti(volume, tmp_path / "file.nii")
    return trace, Compose(steps, lazy=lazy)({KEY: str(tmp_path / "file.nii")})


def same(trace, expected):
    found = trace.image
    assert isinstance(found, MetaTensor)
    assert torch.equal(found.as_tensor(), expected.as_tensor())
    assert torch.equal(found.affine, expected.affine)
    assert [one["class"] for one in found.applied_operations] == [one["class"] for one in expected.applied_operations]


@pytest.mark.parametrize("name", FEW(GEOMETRIES, "oblique LPS", "permuted and left-handed", "anisotropic"))
@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPL", "AIR"])
def test_an_orientation_that_follows_the_loading_is_what_MONAI_makes(name, codes, tmp_path):
    steps = [*LOADED, Orientationd(KEY, codes, labels=None), Spacingd(KEY, (1.1, 1.3, 2.0)), ScaleIntensityd(KEY)]
    trace, expected = run(steps, tmp_path, GEOMETRIES[name])
    same(trace, expected[KEY])
    assert trace.monitor.overall().verdict == "verified"
    there_and_back = trace.chain.inverse({KEY: trace.image.clone()})[KEY]
    assert torch.equal(
        there_and_back.as_tensor(), Compose(steps).inverse({KEY: expected[KEY].clone()})[KEY].as_tensor()
    )


def test_it_is_mirrored_once_and_in_place(tmp_path, mirrored):
    trace, expected = run([*LOADED, RAS], tmp_path)
    same(trace, expected[KEY])
    assert len(mirrored) == 1


ELSEWHERE = {
    "a copy of the image": [*LOADED, CopyItemsd(KEY, 1, "copy"), RAS],
    "somebody's function": [*LOADED, Lambdad(KEY, lambda x: x), RAS],
    "another step before": [*LOADED, ScaleIntensityd(KEY), RAS],
    "not an Orientation": [*LOADED, Flipd(KEY, 0)],
    "by chance": [*LOADED, RandFlipd(KEY, 1.0, 0)],
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_where_somebody_else_might_have_the_image_it_is_copied(name, tmp_path, mirrored):
    trace, expected = run(ELSEWHERE[name], tmp_path)
    same(trace, expected[KEY])
    assert not mirrored


@pytest.mark.parametrize("lazy", [True, None])
def test_what_is_planned_is_not_executed(lazy, tmp_path, mirrored):
    steps = [*LOADED, Orientationd(KEY, "RAS", labels=None, lazy=True), Spacingd(KEY, (1, 1, 1), lazy=True)]
    trace, expected = run(steps, tmp_path, lazy=lazy)
    same(trace, expected[KEY])
    assert not mirrored


def test_a_copy_made_before_keeps_what_was_loaded(tmp_path):
    steps = [*LOADED, CopyItemsd(KEY, 1, "copy"), RAS]
    _, expected = run(steps, tmp_path)
    assert torch.equal(
        expected["copy"].as_tensor(), Compose(LOADED)({KEY: str(tmp_path / "file.nii")})[KEY].as_tensor()
    )


def test_images_that_are_kept_are_those_of_every_step(tmp_path, mirrored):
    trace, expected = run([*LOADED, RAS], tmp_path, keep_images=True)
    same(trace, expected[KEY])
    assert not mirrored
    assert torch.equal(torch.flip(trace.images[1].as_tensor(), (1, 2)), trace.images[2].as_tensor())


def test_a_derived_orientation_is_not_known(tmp_path, mirrored):
    class Mine(Orientationd):
        pass

    same(*(lambda t, e: (t, e[KEY]))(*run([*LOADED, Mine(KEY, "RAS", labels=None)], tmp_path)))
    assert not mirrored
