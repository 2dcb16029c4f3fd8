import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirst,
    EnsureChannelFirstd,
    Flip,
    Lambdad,
    LoadImage,
    LoadImaged,
    NormalizeIntensityd,
    Orientation,
    Orientationd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandRotated,
    Resized,
    Rotate90d,
    Spacing,
    Spacingd,
    ToNumpyd,
)

from CAMOverlayLib.contract.errors import PlacementError, PreprocessingError
from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing

IMAGE = "image"


@pytest.fixture
def volume_file(tmp_path):
    affine = GEOMETRIES["oblique LPS"]
    rng = np.random.default_rng(0)
    array = blob((30, 28, 22), affine, affine[:3] @ [14, 12, 9, 1], 8) * 1000 + rng.normal(0, 5, (30, 28, 22))
    return write_nifti(Volume(array.astype(np.int16), affine, "v"), tmp_path / "v.nii")


def spatial_chain(**options):
    return [
        LoadImaged(IMAGE),
        EnsureChannelFirstd(IMAGE),
        Orientationd(IMAGE, axcodes="RAS", labels=None),
        CropForegroundd(IMAGE, source_key=IMAGE, select_fn=lambda x: x > 100),
        Spacingd(IMAGE, pixdim=(2, 2, 2)),
        NormalizeIntensityd(IMAGE),
        Resized(IMAGE, spatial_size=(16, 18, 20)),
        Rotate90d(IMAGE),
    ][: options.get("length", 8)]


CHAINS = {
    "dictionary": lambda: Compose(spatial_chain()),
    "nested": lambda: Compose([Compose(spatial_chain()[:4]), Compose(spatial_chain()[4:])]),
    "lazy": lambda: Compose(spatial_chain(), lazy=True),
    "lazy inside": lambda: Compose([*spatial_chain()[:4], Compose(spatial_chain()[4:], lazy=True)]),
    "array": lambda: Compose([LoadImage(), EnsureChannelFirst(), Orientation("RAS", labels=None), Spacing((2, 2, 2))]),
    "random": lambda: Compose(
        [*spatial_chain(), RandFlipd(IMAGE, prob=0.5), RandRotated(IMAGE, 0.3, prob=1.0)]
    ).set_random_state(seed=3),
}


@pytest.mark.parametrize("make", CHAINS.values(), ids=CHAINS)
@pytest.mark.some(2)
def test_the_network_gets_exactly_what_the_chain_itself_would_have_given(volume_file, make):
    if isinstance(make().transforms[0], LoadImage):
        expected = make()(str(volume_file))
    else:
        expected = make()({IMAGE: str(volume_file)})[IMAGE]
    trace = trace_preprocessing(make(), [volume_file])
    assert torch.equal(trace.image.as_tensor(), expected.as_tensor())
    assert trace.image.dtype == expected.dtype
    np.testing.assert_array_equal(trace.image.affine, expected.affine)
    assert [op["class"] for op in trace.image.applied_operations] == [op["class"] for op in expected.applied_operations]


def test_every_step_is_described(volume_file):
    seen = []
    trace = trace_preprocessing(CHAINS["nested"](), [volume_file], report=lambda i, n, name: seen.append((i, n, name)))
    assert [s.name for s in trace.steps] == [type(t).__name__ for t in spatial_chain()]
    assert seen == [(i, 8, s.name) for i, s in enumerate(trace.steps)]
    load, _channel, orientation, crop, spacing, normalise, resize, rotate = trace.steps
    assert load.shape_before is None and load.shape_after == (30, 28, 22)
    assert load.orientation == "LPS" and orientation.orientation == "RAS" and rotate.orientation != "RAS"
    assert crop.shape_before == (30, 28, 22) and all(a < b for a, b in zip(crop.shape_after, crop.shape_before))
    np.testing.assert_allclose(spacing.spacing_before, (1.2, 1.4, 2.0), rtol=1e-5)
    np.testing.assert_allclose(spacing.spacing_after, (2, 2, 2), rtol=1e-5)
    assert resize.shape_after == (16, 18, 20) and rotate.shape_after == (18, 16, 20)
    assert [s.recorded for s in trace.steps] == [False, False, True, True, True, False, True, True]
    assert normalise.value_range[0] < 0 < normalise.value_range[1]
    assert 0 < load.nonzero <= 1 and all(s.seconds >= 0 for s in trace.steps)


def test_a_lazy_chain_shows_where_it_is_going_before_it_resamples(volume_file):
    trace = trace_preprocessing(Compose(spatial_chain(length=5), lazy=True), [volume_file])
    eager = trace_preprocessing(Compose(spatial_chain(length=5)), [volume_file])
    assert [s.shape_after for s in trace.steps] == [s.shape_after for s in eager.steps]
    assert not trace.image.pending_operations


def test_several_volumes_are_channels(tmp_path, volume_file):
    other = write_nifti(Volume(np.ones((30, 28, 22)), GEOMETRIES["oblique LPS"], "w"), tmp_path / "w.nii")
    trace = trace_preprocessing(Compose(spatial_chain(length=3)), [volume_file, other])
    assert trace.image.shape == (2, 30, 28, 22) and float(trace.image[1].min()) == 1


def test_a_failing_transform_is_named_with_its_reason(volume_file):
    def fail(image):
        raise ValueError("this chain wants a knee")

    chain = Compose([*spatial_chain(length=3), Lambdad(IMAGE, fail)])
    with pytest.raises(PreprocessingError, match=r"Transform 4.*Lambdad, failed.*\(1, 30, 28, 22\).*wants a knee"):
        trace_preprocessing(chain, [volume_file])


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (ToNumpyd(IMAGE), "ToNumpyd returned a numpy.ndarray instead of a MetaTensor"),
        (lambda data: {IMAGE: data[IMAGE].as_tensor()}, "function returned a torch.Tensor instead of a MetaTensor"),
        (
            RandCropByPosNegLabeld(IMAGE, IMAGE, (8, 8, 8), num_samples=2, allow_smaller=True),
            "RandCropByPosNegLabeld made 2 samples",
        ),
        (lambda data: {"other": data[IMAGE]}, "function removed the image 'image'"),
    ],
)
def test_a_transform_that_breaks_the_metatensor_is_named(volume_file, transform, message):
    with pytest.raises(PlacementError, match=message):
        trace_preprocessing(Compose([*spatial_chain(length=3), transform]), [volume_file])


def test_the_input_file_is_not_changed(volume_file):
    before = volume_file.read_bytes()
    trace_preprocessing(Compose([*spatial_chain(length=3), Lambdad(IMAGE, lambda x: x.mul_(0))]), [volume_file])
    assert volume_file.read_bytes() == before


def test_flip_of_an_array_chain_inverts(volume_file):
    trace = trace_preprocessing(Compose([LoadImage(), EnsureChannelFirst(), Flip(0)]), [volume_file])
    assert trace.key is None and len(trace.grids) == 3


def test_a_step_tells_its_values_and_not_where_its_objects_are(volume_file):
    """A report of the same run would else be another text each time."""
    told = [step.parameters for step in trace_preprocessing(CHAINS["dictionary"](), [volume_file]).steps]
    assert not any(" at 0x" in text for one in told for text in one.values())
    assert told[6]["spatial_size"] == "(16, 18, 20)" and told[0]["keys"] == "('image',)"
