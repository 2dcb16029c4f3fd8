"""Loaders and steps that say something untrue of themselves are named; those that tell the truth are believed.

Frames come from the file that was written and never from what came back, a contradicted step stays contradicted, a
replay counts where it really undoes the step, and lazy chains lose nothing that they never cut off.
"""

import random

import nibabel
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES
from monai.data import MetaTensor
from monai.transforms import (
    Affined,
    ApplyPendingd,
    CenterSpatialCropd,
    Compose,
    EnsureChannelFirst,
    EnsureChannelFirstd,
    Flipd,
    InvertibleTransform,
    Lambda,
    Lambdad,
    LoadImage,
    LoadImaged,
    MapTransform,
    Orientation,
    Orientationd,
    RandLambdad,
    Resize,
    Resized,
    ResizeWithPadOrCropd,
    Rotated,
    ScaleIntensity,
    ScaleIntensityd,
    SomeOf,
    Spacing,
    Spacingd,
    SpatialCropd,
    SpatialPadd,
    Zoomd,
)
from scipy import ndimage
from support import SLOW, real_volumes

from CAMOverlayLib import explain
from CAMOverlayLib.contract.errors import PlacementError
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.demo import DEMO_VOLUME as DEMO
from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing
from CAMOverlayLib.engine.restore.affine import field_of_view, place_by_affine
from CAMOverlayLib.engine.restore.plan import InversionPlan, place, plan_inversion
from CAMOverlayLib.engine.restore.transforms import place_by_operations

IMAGE = "image"
# The CT tells nothing else and takes as long again.
VOLUMES = [DEMO, *[pytest.param(p, marks=pytest.mark.slow, id="CT") for p in real_volumes() if p.name.startswith("CT")]]
ids = {"ids": lambda p: p.name.split(".")[0]}


@pytest.fixture(scope="module", params=VOLUMES, **ids)
def path(request, tmp_path_factory):
    """The real volumes at half their resolution, for the time that they take."""
    image = nibabel.load(request.param)
    affine = image.affine @ np.diag([2, 2, 2, 1.0])
    array = np.asarray(image.dataobj)[::2, ::2, ::2]
    return write_nifti(Volume(array, affine, "v"), tmp_path_factory.mktemp("half") / "half.nii")


def chain_on(path, chain):
    """As the program runs it: the original's voxels and their place are known, whatever the loader says."""
    image = nibabel.load(path)
    array = np.asanyarray(image.dataobj)
    array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    return trace_preprocessing(chain, [path], original=torch.from_numpy(array), grid=Grid(array.shape, image.affine))


def loader(change):
    """A loader of one's own: ``change`` gets voxels (I×J×K) and affine as the file has them, and returns both."""

    class Own(LoadImaged):
        def __call__(self, data):
            image = super().__call__(data)[IMAGE]
            values, affine = change(image.as_tensor(), image.affine.clone())
            return {IMAGE: MetaTensor(values.contiguous()[None], affine=affine)}

    return Own(IMAGE)


def canonical(values, affine, keep_affine):
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(values.numpy(), affine.numpy()))
    return torch.from_numpy(np.ascontiguousarray(turned.dataobj)), affine if keep_affine else torch.from_numpy(
        turned.affine
    )


def cropped(values, affine, keep_affine):
    moved = affine.clone()
    moved[:3, 3] += affine[:3, :3] @ torch.tensor([20.0, 11, 6], dtype=affine.dtype)
    return values[20:, 11:, 6:], affine if keep_affine else moved


def mirrored(values, affine, keep_affine):
    moved = affine.clone()
    moved[:3, 3] += affine[:3, 0] * (values.shape[0] - 1)
    moved[:3, 0] *= -1
    return values.flip(0), affine if keep_affine else moved


def coarser(values, affine, keep_affine):
    finer = affine.clone()
    finer[:3, :3] *= 2
    return values[::2, ::2, ::2], affine if keep_affine else finer


LIARS = {
    "mirrored along I": lambda v, a: mirrored(v, a, True),
    "mirrored along all": lambda v, a: (v.flip((0, 1, 2)), a),
    "K×J×I": lambda v, a: (v.permute(2, 1, 0), a),
    "J×I×K": lambda v, a: (v.permute(1, 0, 2), a),
    "canonical with the file's affine": lambda v, a: canonical(v, a, True),
    "cropped": lambda v, a: cropped(v, a, True),
    "coarser": lambda v, a: coarser(v, a, True),
    "affine made up": lambda v, a: (v.flip(0), torch.eye(4, dtype=a.dtype)),
}
HONEST = {
    "as it is": lambda v, a: (v, a),
    "without millimetres": lambda v, a: (v, torch.eye(4, dtype=a.dtype)),
    "in LPS": lambda v, a: (v, torch.diag(torch.tensor([-1.0, -1, 1, 1], dtype=a.dtype)) @ a),
    "another type": lambda v, a: (v.double(), a),
    "mirrored and said": lambda v, a: mirrored(v, a, False),
    "canonical and said": lambda v, a: canonical(v, a, False),
    "cropped and said": lambda v, a: cropped(v, a, False),
    "coarser and said": lambda v, a: coarser(v, a, False),
    "windowed": lambda v, a: (v.float().clamp(v.float().quantile(0.2) if v.numel() < 1e6 else 10, 1e9), a),
}


def is_changed(path, change):
    """Some volumes are stored the way a liar says they are."""
    image = nibabel.load(path)
    values = torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32))
    found, _ = change(values, torch.from_numpy(image.affine))
    return found.shape != values.shape or not torch.equal(found.float(), values)


@pytest.mark.parametrize("name", [SLOW(n) if n in ("mirrored along all", "J×I×K", "cropped") else n for n in LIARS])
def test_a_loader_that_moves_voxels_in_silence_is_named(path, name):
    change = LIARS[name]
    if is_changed(path, change):
        with pytest.raises(PlacementError, match="Transform 1 of the preprocessing, Own,"):
            plan_inversion(chain_on(path, Compose([loader(change), Resized(IMAGE, (64, 64, 64))])))


def test_a_loader_that_says_what_it_did_is_believed_and_the_map_lies_right(path):
    """Truth is the original itself: the input that the network gets, put back, shows what the volume shows."""
    wrong = []
    volume = np.asarray(nibabel.load(path).dataobj, dtype=np.float32)
    for name, change in HONEST.items():
        trace = chain_on(path, Compose([loader(change), Orientationd(IMAGE, "RAS", labels=None)]))
        plan = plan_inversion(trace)
        heat = trace.image.as_tensor()[0].float()
        for put in (place_by_affine, place_by_operations):
            placed = put(heat - heat.min(), trace)
            inside = field_of_view(trace).mask()
            r = np.corrcoef(placed.array[inside], volume[inside])[0, 1]
            if placed.array.shape != volume.shape or r < (0.75 if name in ("windowed", "coarser and said") else 0.995):
                wrong.append((name, put.__name__, placed.array.shape, r))
        if plan.agreement.verdict == "mismatch" or not plan.affine_holds:
            wrong.append((name, plan))
    assert not wrong


class OrientedLoader(LoadImage):
    """MONAI's own loader, and Orientation at once, as libraries offer it."""

    def __call__(self, filename, reader=None):
        return Orientation("RAS", labels=None)(EnsureChannelFirst()(super().__call__(filename, reader)))


OWN_FIRST_STEPS = {
    "a loader that also orients": [OrientedLoader(image_only=True), Resize((40, 44, 36))],
    "an inner lazy chain": [
        Compose(
            [LoadImage(image_only=True), EnsureChannelFirst(), Orientation("RAS", labels=None), Spacing((3, 3, 3))],
            lazy=True,
        ),
        Resize((40, 44, 36)),
    ],
}


class Copy(torch.nn.Module):
    """Copies a channel of its input, so that the map is the input itself."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 1, 1, bias=False)
        torch.nn.init.ones_(self.layer.weight)

    def forward(self, x):
        return self.layer(x).mean((2, 3, 4))


@pytest.mark.parametrize(
    ("name", "lazy"),
    [
        ("a loader that also orients", True),
        ("an inner lazy chain", None),
        ("an inner lazy chain", False),
        pytest.param("a loader that also orients", False, marks=pytest.mark.slow),
        pytest.param("a loader that also orients", None, marks=pytest.mark.slow),
        pytest.param("an inner lazy chain", True, marks=pytest.mark.slow),
    ],
)
def test_the_honest_affine_of_a_first_step_is_not_overwritten(name, lazy):
    steps = OWN_FIRST_STEPS[name]
    found = explain(Copy(), Compose(steps, lazy=lazy), str(DEMO), target=0, layer="layer", regression=True)
    volume = np.asarray(nibabel.load(DEMO).dataobj, dtype=float)
    assert found.heatmap.shape == volume.shape
    heat = found.heatmap.get_fdata()
    mirrors = [np.corrcoef(heat.ravel(), np.flip(volume, axes).ravel())[0, 1] for axes in ((), (0,), (1,), (0, 1))]
    assert int(np.argmax(mirrors)) == 0 and mirrors[0] > 0.9


@pytest.mark.slow
def test_a_heatmap_has_the_volumes_shape_or_is_refused():
    for change in (LIARS["K×J×I"], LIARS["cropped"]):
        with pytest.raises(PlacementError, match="Transform 1 of the preprocessing, Own"):
            explain(Copy(), Compose([loader(change), Resized(IMAGE, (40, 40, 40))]), str(DEMO), target=0)
    found = explain(Copy(), Compose([loader(HONEST["cropped and said"])]), str(DEMO), target=0, regression=True)
    assert found.heatmap.shape == nibabel.load(DEMO).shape
    assert found.result.field_of_view.share == pytest.approx(
        np.prod(1 - np.array([20, 11, 6]) / found.heatmap.shape), rel=1e-6
    )
    assert not found.heatmap.get_fdata()[:20].any()


def moved(name, change):
    """A step that moves voxels by 4×4 ``change`` of index and leaves affine and history as they are."""

    def apply(image):
        matrix = change(np.array(image.shape[1:]))
        values = ndimage.affine_transform(image[0].numpy(), matrix[:3, :3], matrix[:3, 3], order=1)[None]
        return MetaTensor(torch.from_numpy(values), meta=image.meta, applied_operations=image.applied_operations)

    apply.__name__ = name
    return apply


def shift(*offset):
    def matrix(shape):
        found = np.eye(4)
        found[:3, 3] = offset
        return found

    return matrix


def zoom(factor):
    def matrix(shape):
        found = np.diag([factor, factor, factor, 1.0])
        found[:3, 3] = (shape - 1) / 2 * (1 - factor)
        return found

    return matrix


def turn(degrees):
    def matrix(shape):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        found = np.eye(4)
        found[:2, :2] = [[c, -s], [s, c]]
        centre = (shape - 1) / 2
        found[:3, 3] = centre - found[:3, :3] @ centre
        return found

    return matrix


@pytest.mark.parametrize("name", ["Diagonal", "Zoomed", SLOW("AlongK"), SLOW("All")])
def test_a_contradicted_step_stays_contradicted_however_well_the_whole_agrees(path, name):
    """Whatever a step was caught at, it never ends as verified: not by the whole chain, not by a replay."""
    changes = {"Diagonal": shift(3, -2, 2), "Zoomed": zoom(1.05), "AlongK": shift(0, 0, 2), "All": shift(2, 2, 2)}
    for make in (lambda f: f, Lambda):
        step = make(moved(name, changes[name]))
        trace = chain_on(path, Compose([LoadImage(image_only=True), EnsureChannelFirst(), step, Resize((64, 64, 64))]))
        try:
            plan = plan_inversion(trace)
        except PlacementError:
            continue
        assert not trace.monitor.contradictions, plan.agreement
        assert "mismatch" not in " ".join(s.evidence for s in trace.steps), plan.agreement


NO_INVERSE = {
    "Lambdad": lambda f: Lambdad(IMAGE, f),
    "Lambdad that inverts to the same": lambda f: Lambdad(IMAGE, f, inv_func=lambda x: x),
    "Lambdad that adds noise": lambda f: Lambdad(IMAGE, f, inv_func=lambda x: x * 1.001),
    "RandLambdad": lambda f: RandLambdad(IMAGE, f, prob=1.0),
    "an inner chain": lambda f: Compose([Lambdad(IMAGE, f)], map_items=False),
    "one of several": lambda f: SomeOf([Lambdad(IMAGE, f)], num_transforms=1),
}


@pytest.mark.parametrize("name", [SLOW(one) if number > 0 else one for number, one in enumerate(NO_INVERSE)])
def test_a_replay_counts_only_where_it_undoes_the_step(name):
    """The default inverse of Lambda does nothing and counts as an inverse all the same."""
    make = NO_INVERSE[name]
    for name, change in {"Shifted": shift(2, 2, 2), "Zoomed": zoom(1.07), "Turned": turn(5)}.items():
        steps = [LoadImaged(IMAGE), EnsureChannelFirstd(IMAGE), make(moved(name, change)), ScaleIntensityd(IMAGE)]
        trace = chain_on(DEMO, Compose(steps))
        if not trace.monitor.contradictions:
            continue  # what is too small to be noticed is another question
        with pytest.raises(PlacementError, match="Transform 3 of the preprocessing"):
            plan_inversion(trace)
        with pytest.raises(PlacementError, match="Transform 3 of the preprocessing"):
            plan_inversion(trace, "operations")
    assert trace.monitor.contradictions or name != "Shifted"


def test_a_step_whose_inverse_undoes_it_is_replayed():
    def back(image):
        return MetaTensor(
            image.as_tensor().roll((-3, 2), (1, 3)), meta=image.meta, applied_operations=image.applied_operations
        )

    def forth(image):
        return MetaTensor(
            image.as_tensor().roll((3, -2), (1, 3)), meta=image.meta, applied_operations=image.applied_operations
        )

    # (MONAI's Lambdad takes an inv_func and never calls it.)
    steps = [LoadImage(image_only=True), EnsureChannelFirst(), Lambda(forth, inv_func=back), ScaleIntensity()]
    plan = plan_inversion(chain_on(DEMO, Compose(steps)))
    assert (plan.inverse, plan.affine_holds, plan.agreement.verdict) == ("operations", False, "verified")


def test_a_mismatch_without_a_named_step_is_refused():
    """Each step is below what is noticed, together they are not: nothing that a replay could undo is known."""

    def creep(image):
        return MetaTensor(image.as_tensor().roll(1, 1), meta=image.meta, applied_operations=image.applied_operations)

    class Still:  # an intensity transform by its module, as far as anybody can tell
        def __call__(self, image):
            return creep(image)

    Still.__module__ = "monai.transforms.intensity.array"
    steps = [LoadImage(image_only=True), EnsureChannelFirst(), *[Still()] * 6]
    trace = chain_on(DEMO, Compose(steps))
    assert trace.monitor.overall().verdict == "mismatch" and not trace.monitor.contradictions
    with pytest.raises(PlacementError, match="preprocessing as a whole does not keep its affine"):
        plan_inversion(trace)


# Lazy chains ---------------------------------------------------------------------------------------------------------


def step_for(rng):
    axes = lambda low, high: tuple(rng.randint(low, high) for _ in range(3))
    return rng.choice(
        [
            lambda: CenterSpatialCropd(IMAGE, axes(18, 40)),
            lambda: SpatialPadd(IMAGE, axes(30, 56)),
            lambda: ResizeWithPadOrCropd(IMAGE, axes(20, 48)),
            lambda: SpatialCropd(IMAGE, roi_start=axes(0, 8), roi_end=axes(20, 40)),
            lambda: Flipd(IMAGE, rng.randint(0, 2)),
            lambda: Orientationd(IMAGE, rng.choice(["RAS", "LPS", "ASR"]), labels=None),
            lambda: Spacingd(IMAGE, axes(2, 3), mode=rng.choice(["bilinear", "nearest"])),
            lambda: Resized(IMAGE, axes(24, 44)),
            lambda: Zoomd(IMAGE, rng.choice([0.8, 1.3]), keep_size=rng.random() < 0.5, padding_mode="constant"),
            lambda: Rotated(IMAGE, (0.0, 0.0, rng.uniform(-0.4, 0.4)), padding_mode="zeros"),
            lambda: Affined(IMAGE, scale_params=(1.1, 0.9, 1.0), padding_mode="zeros"),
            lambda: ScaleIntensityd(IMAGE, minv=None, maxv=None, factor=0.0),
            lambda: ApplyPendingd(IMAGE),
        ]
    )()


SHAPE = (36, 32, 28)


@pytest.fixture(scope="module")
def lazy_file(tmp_path_factory):
    rng = np.random.default_rng(3)
    array = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 2)
    return write_nifti(
        Volume((array * 4000).astype(np.int16), GEOMETRIES["oblique LPS"], "v"),
        tmp_path_factory.mktemp("lazy") / "v.nii",
    )


def truly_seen(path, chain):
    """The truth, by MONAI itself: a volume of ones and of its own coordinates goes through the very same chain; which
    voxels of the original have a whole voxel of the input close by that shows them is then known."""
    image = nibabel.load(path)
    index = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in SHAPE], indexing="ij"))
    data = {
        IMAGE: MetaTensor(
            torch.from_numpy(np.concatenate([np.ones((1, *SHAPE), np.float32), index])),
            affine=torch.from_numpy(image.affine),
        )
    }
    out = chain(data)[IMAGE]
    ones, where = out.as_tensor()[0], out.as_tensor()[1:].reshape(3, -1)
    whole = (ones.ravel() > 0.99) & (ones.ravel() < 1.01)
    return whole, where


@pytest.mark.parametrize("seed", range(48))
def test_a_lazy_chain_loses_nothing_that_the_network_saw(lazy_file, seed):
    rng = random.Random(seed)
    steps = [step_for(rng) for _ in range(rng.randint(3, 5))]
    inner = rng.random() < 0.3
    spatial = [Compose(steps[:2], lazy=True), *steps[2:]] if inner else steps
    lazy = rng.choice([True, True, None]) if inner else True
    try:
        whole, where = truly_seen(lazy_file, Compose(spatial, lazy=lazy))
    except Exception:
        pytest.skip("MONAI refuses this chain itself")
    if not whole.any():
        pytest.skip("nothing is left")
    chain = Compose([LoadImaged(IMAGE), EnsureChannelFirstd(IMAGE), *spatial], lazy=lazy)
    trace = trace_preprocessing(chain, [lazy_file])
    seen = np.zeros(SHAPE, bool)
    voxels = np.round(where[:, whole].numpy()).astype(int)
    seen[tuple(np.clip(v, 0, n - 1) for v, n in zip(voxels, SHAPE))] = True
    # All within the rim of a voxel: modes disagree about half of one, and this truth is rounded to another half.
    region = field_of_view(trace).mask()
    assert not (seen & ~ndimage.binary_dilation(region)).any(), "seen, and not in the field of view"
    for put in (place_by_affine, place_by_operations):
        placed = put(torch.ones(6, 6, 6), trace)
        lost = seen & ~ndimage.binary_dilation(placed.array > 0.5, iterations=1 if put is place_by_affine else 2)
        assert not lost.any(), put.__name__
    if not any(isinstance(s, (SpatialCropd, CenterSpatialCropd, ResizeWithPadOrCropd)) for s in steps):
        return
    # And the region is no more than what was there, but for a rim of one voxel.
    near = ndimage.binary_dilation(seen, iterations=3)
    assert (region & ~near).sum() <= 0.05 * region.sum()


@pytest.mark.parametrize("lazy", [True, False])
def test_crop_then_pad_cuts_off_only_where_it_is_executed_one_by_one(lazy_file, lazy):
    steps = [
        LoadImaged(IMAGE),
        EnsureChannelFirstd(IMAGE),
        CenterSpatialCropd(IMAGE, (12, 12, 12)),
        SpatialPadd(IMAGE, (40, 40, 40)),
    ]
    trace = trace_preprocessing(Compose(steps, lazy=lazy), [lazy_file])
    share = 1.0 if lazy else 12**3 / np.prod(SHAPE)
    for put in (place_by_affine, place_by_operations):
        placed = put(torch.ones(4, 4, 4), trace)
        assert placed.region.share == pytest.approx(share) and (placed.array > 0.99).mean() == pytest.approx(share)


class Warpd(MapTransform, InvertibleTransform):
    """Rolls each slice by another number of voxels: invertible, and no affine can say it."""

    def move(self, image, sign):
        values = torch.stack(
            [image.as_tensor()[..., k].roll(sign * (k // 8 % 7), 1) for k in range(image.shape[-1])], -1
        )
        return MetaTensor(values, meta=image.meta, applied_operations=image.applied_operations)

    def __call__(self, data):
        warped = self.move(data[IMAGE], 1)
        self.push_transform(warped)
        return data | {IMAGE: warped}

    def inverse(self, data):
        self.pop_transform(data[IMAGE])
        return data | {IMAGE: self.move(data[IMAGE], -1)}


def test_going_back_by_transforms_measures_its_share():
    steps = [LoadImaged(IMAGE), EnsureChannelFirstd(IMAGE), Warpd(IMAGE), CenterSpatialCropd(IMAGE, (80, 80, 60))]
    trace = chain_on(DEMO, Compose(steps))
    placed, placement = place(torch.ones(4, 4, 4), trace, InversionPlan("operations", False, trace.monitor.overall()))
    assert placement.inverse == "operations" and placed.region.planes is None
    assert placed.region.share == pytest.approx((placed.array > 0).mean(), rel=1e-3) and placed.region.share < 0.6
