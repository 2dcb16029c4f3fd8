"""What the network said of every voxel: held against MONAI's own postprocessing, and answers known otherwise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from geometries import GEOMETRIES
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    CenterSpatialCropd,
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    Flipd,
    Invertd,
    LoadImaged,
    Orientationd,
    Resized,
    ScaleIntensityd,
    Spacingd,
)
from scipy import ndimage
from support import snapshot

from CAMOverlayLib import explain
from CAMOverlayLib.contract.errors import Cancelled, MethodError
from CAMOverlayLib.contract.field_of_view import Region, Slab
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.engine.geometry import blocks as blocks_module
from CAMOverlayLib.engine.geometry.blocks import blocks
from CAMOverlayLib.engine.geometry.resample import resample

SHAPE = (22, 20, 18)
CLASSES = ("background", "liver", "spleen")


def volume(affine, shape=SHAPE, seed=3):
    """Smooth blobs, so that interpolation says something, and no symmetry, so that the alignment is plain."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.normal(size=(1, 1, 6, 6, 6)).astype(np.float32))
    array = torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    return np.round(200 * array + 500).astype(np.int16), affine


def network(outputs=3, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    return UNet(3, 1, outputs, (4, 8), (2,), dropout=dropout).eval()


def chain(*steps):
    return Compose(
        [LoadImaged("image"), EnsureChannelFirstd("image"), *steps, ScaleIntensityd("image"), EnsureTyped("image")]
    )


def by_monai(net, preprocessing, source, tmp_path, sigmoid=False):
    """Probabilities, K×I×J×K, and labels of MONAI's own pipeline: Activations, Invertd (linear), AsDiscrete."""
    import nibabel

    path = tmp_path / "volume.nii.gz"
    nibabel.save(nibabel.Nifti1Image(*source), path)
    data = preprocessing({"image": str(path)})
    with torch.no_grad():
        data["pred"] = MetaTensor(net(data["image"].as_tensor()[None])[0])
    post = Compose(
        [
            Activationsd("pred", sigmoid=sigmoid, softmax=not sigmoid),
            Invertd("pred", preprocessing, orig_keys="image", nearest_interp=False, to_tensor=True),
        ]
    )
    found = post(data)["pred"]
    decided = AsDiscreted("pred", argmax=not sigmoid, threshold=0.5 if sigmoid else None)({"pred": found})["pred"]
    return found.numpy(), decided.numpy()


def said(net, preprocessing, source, also, **options):
    found = explain(net, preprocessing, source, also=also, checks="none", classes=CLASSES, **options)
    return found, {name: np.asarray(image.dataobj) for name, image in found.further.items()}


# Prediction, probability, entropy ------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", ["LPS", "permuted and left-handed"])
def test_on_a_chain_that_only_flips_and_crops_it_is_monais_answer_voxel_for_voxel(tmp_path, geometry):
    source, net = volume(GEOMETRIES[geometry]), network()
    preprocessing = chain(Orientationd("image", "RAS"), Flipd("image", 1), CenterSpatialCropd("image", (16, 16, 14)))
    probabilities, labels = by_monai(net, preprocessing, source, tmp_path)
    found, maps = said(net, preprocessing, source, "prediction,probability,entropy", target="liver")
    seen = probabilities.sum(0) > 0.5
    assert 0 < seen.mean() < 1 and found.result.field_of_view.share == pytest.approx(seen.mean())
    assert maps["prediction"].dtype == np.uint8 and len(np.unique(labels[0][seen])) == 3
    np.testing.assert_array_equal(maps["prediction"][seen], labels[0][seen])
    np.testing.assert_allclose(maps["probability"][seen], probabilities[1][seen], atol=1e-6)
    p = probabilities.astype(np.float64)[:, seen]
    np.testing.assert_allclose(maps["entropy"][seen], -(p * np.log2(p)).sum(0), atol=1e-5)
    for one in maps.values():
        assert not one[~seen].any()
    for one in (found.heatmap, *found.further.values()):
        np.testing.assert_allclose(one.affine, source[1])
    said_of = {one.name: one for one in found.result.further}
    assert said_of["prediction"].classes == CLASSES and not said_of["prediction"].overlapping
    assert said_of["entropy"].highest == pytest.approx(np.log2(3)) and maps["entropy"].max() <= np.log2(3) + 1e-5
    counts = np.bincount(maps["prediction"].ravel(), minlength=3)
    millilitres = counts * abs(np.linalg.det(source[1][:3, :3])) / 1000
    assert f"liver {millilitres[1]:.3g} ml" in said_of["prediction"].words


SPACING = Spacingd("image", (1.3, 1.3, 1.7), mode="bilinear")


@pytest.mark.parametrize("geometry", ["LPS", "oblique"])
@pytest.mark.parametrize("steps", [[SPACING], [SPACING, Resized("image", (26, 26, 26), mode="trilinear")]], ids=len)
def test_where_the_grid_changes_the_one_resampling_explains_what_differs(tmp_path, geometry, steps):
    """MONAI's inverse goes back step by step and interpolates in each; this goes back once, and after one step that
    resamples it is the same."""
    source, net = volume(GEOMETRIES[geometry], (30, 28, 26)), Tolerant().eval()
    preprocessing = chain(Orientationd("image", "RAS"), *steps)
    probabilities, labels = by_monai(net, preprocessing, source, tmp_path)
    _, maps = said(net, preprocessing, source, ("prediction", "probability"), target=1)
    inside = (slice(2, -2),) * 3  # MONAI's samples at the border come from what it pads
    apart = np.abs(maps["probability"] - probabilities[1])[inside]
    same = (maps["prediction"] == labels[0])[inside]
    print(f"{geometry}: {apart.mean():.1e} apart on average, {apart.max():.1e} at most; labels {same.mean():.3%}")
    assert (apart.mean() < 1e-5 and apart.max() < 1e-3) if len(steps) == 1 else (apart.mean() < 0.02)
    assert same.mean() > (0.9999 if len(steps) == 1 else 0.93)
    margin = np.sort(probabilities, 0)
    undecided = (margin[-1] - margin[-2])[inside][~same]
    assert undecided.max(initial=0) <= 2 * apart.max(), "labels differ only where two classes are nearly equal"


def test_the_operations_replayed_are_invertd_itself(tmp_path):
    source, net = volume(GEOMETRIES["LPS"]), Tolerant().eval()
    preprocessing = chain(Spacingd("image", (1.4, 1.4, 1.4), mode="bilinear"))
    probabilities, labels = by_monai(net, preprocessing, source, tmp_path)
    _, maps = said(net, preprocessing, source, "prediction,probability,entropy", target=1, inverse="operations")
    np.testing.assert_allclose(maps["probability"], probabilities[1], atol=1e-5)
    assert (maps["prediction"] == labels[0]).mean() > 0.9999


def test_classes_that_may_share_voxels_have_a_bit_each(tmp_path):
    source, net = volume(GEOMETRIES["permuted"]), network()
    preprocessing = chain(Orientationd("image", "RAS"))
    probabilities, masks = by_monai(net, preprocessing, source, tmp_path, sigmoid=True)
    found, maps = said(net, preprocessing, source, "prediction,probability,entropy", target=2, multilabel=True)
    for n in range(3):
        np.testing.assert_array_equal(maps["prediction"] >> n & 1, masks[n])
    np.testing.assert_allclose(maps["probability"], probabilities[2], atol=1e-6)
    p = probabilities[2].astype(np.float64)
    np.testing.assert_allclose(maps["entropy"], -p * np.log2(p) - (1 - p) * np.log2(1 - p), atol=1e-5)
    one = next(one for one in found.result.further if one.name == "prediction")
    assert one.overlapping and one.highest == 7 and one.classes == CLASSES


def test_windows_are_blended_before_they_are_decided_upon():
    source, net = volume(GEOMETRIES["LPS"], (24, 20, 16)), network()
    inferer = SlidingWindowInferer((16, 16, 16), overlap=0.5, mode="gaussian")
    _, maps = said(net, chain(), source, "prediction,probability", target=1, inferer=inferer)
    image = torch.from_numpy(source[0].astype(np.float32))[None, None]
    image = (image - image.min()) / (image.max() - image.min())
    with torch.no_grad():
        probabilities = inferer(image, net).softmax(1)[0].numpy()
    np.testing.assert_array_equal(maps["prediction"], probabilities.argmax(0))
    np.testing.assert_allclose(maps["probability"], probabilities[1], atol=1e-5)


def test_pictures_are_put_together_slice_by_slice():
    torch.manual_seed(1)
    net = UNet(2, 1, 3, (4, 8), (2,)).eval()
    source = volume(GEOMETRIES["anisotropic"], (16, 14, 6))
    preprocessing = Compose([LoadImaged("image"), EnsureChannelFirstd("image"), EnsureTyped("image")])
    _, maps = said(net, preprocessing, source, "prediction,probability,entropy", target=1, slices="coronal")
    found = np.zeros((3, *source[0].shape), np.float32)
    with torch.no_grad():
        for j in range(14):  # cut as radiologists look at it, left and top turned; the network gets it so
            picture = np.ascontiguousarray(source[0][::-1, j, ::-1]).astype(np.float32)
            found[:, ::-1, j, ::-1] = net(torch.from_numpy(picture)[None, None]).softmax(1)[0].numpy()
    np.testing.assert_allclose(maps["probability"], found[1], atol=1e-5)
    assert (maps["prediction"] == found.argmax(0)).mean() > 0.999
    np.testing.assert_allclose(maps["entropy"], -(found * np.log2(found)).sum(0), atol=1e-4)


def test_a_network_of_one_answer_says_so_and_a_wrong_name_is_a_sentence():
    net = torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool3d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )
    source = volume(GEOMETRIES["LPS"])
    found, maps = said(net.eval(), chain(), source, "prediction,entropy")
    assert not maps and not found.result.further
    assert [
        w
        for w in found.result.warnings
        if "one answer for the whole volume" in w and "no prediction, entropy to show" in w
    ]
    found, _ = said(network(1), chain(), source, "probability", regression=True)
    assert any("numbers, not probabilities" in words for words in found.result.warnings)
    found, _ = said(network(1), chain(), source, "probability?,prediction?", regression=True)
    assert not any("probabilities" in words for words in found.result.warnings)
    with pytest.raises(
        MethodError, match="no 'uncertainty' to compute beside the heatmap; choose from prediction"
    ) as caught:
        said(net, chain(), source, "uncertainty")
    assert caught.value.setting == "also"


def test_more_classes_than_bits_is_a_sentence():
    found, maps = said(
        network(33), chain(), volume(GEOMETRIES["LPS"]), "prediction,probability", target=1, multilabel=True
    )
    assert list(maps) == ["probability"]
    assert any("33 classes that may share voxels" in words for words in found.result.warnings)


# Blocks --------------------------------------------------------------------------------------------------------------


def turned(angle: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


AFFINES = {
    "finer": np.diag([0.4, 0.5, 0.7, 1]),
    "turned over and permuted": np.array([[0, -0.7, 0, 9], [0.6, 0, 0, 1], [0, 0, -0.5, 8], [0, 0, 0, 1]]),
    "coarser": np.diag([2.3, 1.7, 1.4, 1]),
    "oblique": turned(0.5) @ np.diag([0.7, 0.8, 0.9, 1]),
    "oblique and coarser": turned(0.3) @ np.diag([1.9, 2.2, 1.5, 1]),
}


@pytest.mark.parametrize("name", AFFINES)
def test_blocks_hold_the_values_at_the_voxels_centres(name, monkeypatch):
    monkeypatch.setattr(blocks_module, "LARGEST", 6)
    monkeypatch.setattr(blocks_module, "SMALLEST", 3)
    source, target = Grid((11, 10, 12), np.diag([1.1, 1.2, 0.9, 1])), Grid((14, 13, 17), AFFINES[name])
    maps = torch.rand(4, *source.shape, generator=torch.Generator().manual_seed(0))
    slabs = [Slab(np.array([0.0, 1, 0]), 2.0, 9.0)]
    slabs += [Slab(np.array([1.0, 0.4, 0]), 1.0, 12.0)] if "oblique" in name else []
    region = Region(target.shape, slabs)
    found = np.full((4, *target.shape), np.nan, np.float32)
    found[:] = 0
    numbers = []
    for block in blocks(maps, source, target, region, lambda part: (part[[3, 1]], [3, 1])):
        found[(block.numbers, *block.place)] = block.values
        numbers.append(block.number)
    assert len(numbers) > 10 and numbers == sorted(numbers)
    index = np.stack(np.meshgrid(*map(np.arange, target.shape), indexing="ij"))
    at = np.tensordot(source.index_from(target)[:3, :3], index, 1) + source.index_from(target)[:3, 3, None, None, None]
    for n in (1, 3):
        truth = ndimage.map_coordinates(maps[n].double().numpy(), at, order=1, mode="nearest") * region.mask()
        np.testing.assert_allclose(found[n], truth, atol=3e-6)
        if "coarser" not in name:  # where a voxel is no larger than a value's it is the same as for one map
            np.testing.assert_allclose(found[n], resample(maps[n], source, target, region), atol=3e-6)
    assert not found[[0, 2]].any()


def peak_memory(work) -> float:
    """MiB by which the resident memory of this process rises at most while it works."""
    try:
        with open("/proc/self/clear_refs", "w") as reset:
            reset.write("5")
    except OSError:
        pytest.skip("the system does not say how much memory was used at most")

    def resident(name):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024

    before = resident("VmRSS")
    work()
    return resident("VmHWM") - before


def test_a_hundred_classes_are_never_all_on_the_volumes_grid(monkeypatch):
    """104 classes, 112 × 112 × 96 voxels: as float volumes 478 MiB. This holds a block of them, some copies of it in
    the making, and the labels."""
    from types import SimpleNamespace

    from CAMOverlayLib.engine.said.prediction import voxelwise_volumes
    from CAMOverlayLib.engine.said.subject import Subject

    monkeypatch.setattr(blocks_module, "BLOCK_VALUES", 2**21)  # 8 MiB
    shape, classes = (112, 112, 96), 104
    output = 6 * torch.randn(1, classes, 20, 20, 16, generator=torch.Generator().manual_seed(0))
    prediction = SimpleNamespace(classes=tuple(map(str, range(classes))), activation="softmax")
    explained = SimpleNamespace(prediction=prediction, outputs=[output])
    step = lambda number, count, words: None

    def volumes_of(shape):
        to_edges = np.diag([*np.array(shape) / (20, 20, 16), 1])
        to_edges[:3, 3] = (np.array(shape) / (20, 20, 16) - 1) / 2  # both grids begin at one edge
        grid, small = Grid(shape, np.eye(4)), Grid((20, 20, 16), to_edges)
        trace = SimpleNamespace(volume_grid=grid, input_grid=small, executed=())
        inputs = SimpleNamespace(grid=grid, stack=None, traces=[trace])
        subject = Subject(None, inputs, [SimpleNamespace(inverse="affine")], explained, None)
        return voxelwise_volumes(subject, ("prediction", "entropy"), step)[0]

    volumes_of((28, 28, 24))  # what the libraries load and set aside once is theirs
    made = []
    rise = peak_memory(lambda: made.extend(volumes_of(shape)))
    whole = np.prod(shape) * classes * 4 / 2**20
    print(f"{rise:.0f} MiB at most, of {whole:.0f}")
    assert rise < 0.2 * whole
    labels = made[0].array
    middle = torch.nn.functional.interpolate(output.softmax(1), size=shape, mode="trilinear")[0, :, 60:70, 60:70, 40:50]
    assert (labels[60:70, 60:70, 40:50] == middle.argmax(0).numpy()).mean() > 0.9999
    entropy = -(middle * middle.clamp(min=1e-30).log2()).sum(0)
    np.testing.assert_allclose(made[1].array[60:70, 60:70, 40:50], entropy, atol=1e-3)


# Disagreement --------------------------------------------------------------------------------------------------------


class Pointwise(torch.nn.Module):
    """A choice between 0 and a multiple of the voxel's value, which dropout takes away in half of the passes."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 2, 1, bias=False)
        self.drop = torch.nn.Dropout(0.5)
        with torch.no_grad():
            self.layer.weight[:] = torch.tensor([0.0, 3.0]).reshape(2, 1, 1, 1, 1)

    def forward(self, image):
        return self.layer(self.drop(image))


def test_dropout_where_the_deviation_is_known():
    """Dropped, the probability is ½; kept and doubled, that of 6 x: the deviation is half of what lies between."""
    source = volume(GEOMETRIES["LPS"], (16, 16, 12))
    image = (source[0] - source[0].min()) / np.ptp(source[0])
    net = Pointwise().eval()
    before = snapshot(net)
    state = torch.random.get_rng_state()
    found, maps = said(net, chain(), source, "disagreement", target=1)
    assert torch.equal(state, torch.random.get_rng_state())
    for left, right in zip(snapshot(net)[1:], before[1:], strict=True):
        assert left == right
    truth = (1 / (1 + np.exp(-6 * image)) - 0.5) / 2
    variance = maps["disagreement"].astype(np.float64) ** 2
    ratio = variance.sum() / (truth**2).sum()
    # The sample variance of n yes-or-no draws around ½ deviates by √2 / n, almost: of all voxels together by far less.
    assert ratio == pytest.approx(1, abs=4 * np.sqrt(2) / 20 / np.sqrt(image.size))
    words = {one.name: one.words for one in found.result.further}
    assert "20 passes with the network's dropout (1 layer)" in words["disagreement"]
    assert set(maps) == {"disagreement", "heat_disagreement"}
    assert maps["disagreement"].max() <= found.result.further[0].highest
    _, same = said(net, chain(), source, "disagreement", target=1)
    np.testing.assert_array_equal(same["disagreement"], maps["disagreement"])


def gathered(net, preprocessing, source, passes=20, **model):
    """Means and deviations on the network's own grid, of a network that is explained as :func:`explain` does it."""

    from CAMOverlayLib.engine import said as room
    from CAMOverlayLib.engine.said.disagreement import gather
    from CAMOverlayLib.engine.said.opinions import opinions

    kept = []
    original = room.disagreement_volumes

    def look(subject, wanted, step):
        import dataclasses

        subject = dataclasses.replace(subject, model=dataclasses.replace(subject.model, **model))
        found = opinions(subject, step, passes)
        kept.append((found, gather(subject, found)))
        return original(subject, wanted, step)

    room.disagreement_volumes = look
    try:
        result = explain(net, preprocessing, source, target=1, also="disagreement", checks="none", classes=CLASSES)
    finally:
        room.disagreement_volumes = original
    return (*kept[0], result)


@pytest.mark.slow
def test_dropout_agrees_with_two_hundred_independent_passes():
    source, net = volume(GEOMETRIES["LPS"], (16, 16, 12)), network(dropout=0.3)
    found, spread, _ = gathered(net, chain(), source, passes=200)
    image = torch.from_numpy(source[0].astype(np.float32))[None, None]
    image = (image - image.min()) / (image.max() - image.min())
    net.train()  # its own way of dropping; batch statistics it has none
    torch.manual_seed(77)
    with torch.no_grad():
        passes = np.stack([net(image).softmax(1)[0, 1].numpy().astype(np.float64) for _ in range(200)])
    net.eval()
    ours, mean = spread.probability[0].deviation().numpy().astype(np.float64), spread.probability[0].mean.numpy()
    assert spread.probability[0].count == 200 and "200 passes" in found.words
    theirs = passes.std(0, ddof=1)
    # The error of a mean of 200 is its deviation / √200, and that of a deviation √((κ − 1) / 4) times as much.
    error = theirs * np.sqrt(2 / 200)
    assert np.abs(mean - passes.mean(0)).max() < 6 * error.max()
    assert (np.abs(mean - passes.mean(0)) / error).std() < 1.5
    fourth = ((passes - passes.mean(0)) ** 4).mean(0) / theirs**4
    off = (ours - theirs) / (theirs * np.sqrt((fourth - 1) / 4 * 2 / 200))
    assert np.abs(off).mean() < 1.2 and abs(off.mean()) < 1
    assert theirs.mean() == pytest.approx(ours.mean(), rel=0.1)


class Tolerant(torch.nn.Module):
    """Says liver where it is bright around, and looks a little to one side: mirroring changes little, but something."""

    def __init__(self, outputs=3):
        super().__init__()
        self.layer = torch.nn.Conv3d(1, 4, 3, padding=1)
        self.last = torch.nn.Conv3d(4, outputs, 1)
        torch.manual_seed(0)
        with torch.no_grad():
            self.layer.weight[:] = 1 / 27 + 0.004 * torch.randn(4, 1, 3, 3, 3)
            self.layer.bias[:] = torch.tensor([-0.3, -0.4, -0.5, -0.6])
            self.last.weight[:] = 12 * torch.tensor([[-1.0], [1.0], [-2.0]])[:outputs, :, None, None, None]
            self.last.bias[:] = torch.tensor([0.0, -0.5, -1.0])[:outputs]

    def forward(self, image):
        return self.last(self.layer(image))


def mirrored(net, image, axes):
    from itertools import combinations

    from monai.transforms import Flip

    found = []
    for count in range(len(axes) + 1):
        for some in combinations(axes, count):
            flip = Flip(spatial_axis=some) if some else (lambda one: one)
            with torch.no_grad():
                answer = net(torch.as_tensor(flip(image[0]))[None])[0].softmax(0)
            found.append(np.asarray(flip(answer)))
    return np.stack(found)


def test_mirroring_where_it_is_tolerated_equals_independent_answers():
    source, net = volume(GEOMETRIES["LPS"], (16, 14, 12)), Tolerant().eval()
    found, spread, result = gathered(net, chain(), source)
    image = torch.from_numpy(source[0].astype(np.float32))[None, None]
    image = (image - image.min()) / (image.max() - image.min())
    answers = mirrored(net, image, (0, 1, 2))
    assert found.count == len(answers) == 8 and "mirrored along I, J and K in all 7 ways" in found.words
    np.testing.assert_allclose(spread.probability[0].mean, answers[:, 1].mean(0), atol=1e-6)
    np.testing.assert_allclose(spread.probability[0].deviation(), answers[:, 1].std(0, ddof=1), atol=1e-6)
    shown = np.asarray(result.further["disagreement"].dataobj)
    np.testing.assert_allclose(shown, answers[:, 1].std(0, ddof=1), atol=1e-6)
    heat = np.asarray(result.further["heat_disagreement"].dataobj)
    assert heat.max() > 0 and heat.max() <= result.result.further[1].highest
    assert any("overlap of the answers: I " in one.words for one in result.result.further)


def test_what_the_training_says_of_mirroring_counts():
    """One window as large as the image: nnU-Net's own average over mirrored windows is the mean of these opinions."""
    from CAMOverlayLib.engine.nnunet.windows import NnunetWindows

    source, net = volume(GEOMETRIES["LPS"], (16, 14, 12)), network()
    found, spread, _ = gathered(net, chain(), source, mirror_axes=(0, 2), inferer=NnunetWindows((16, 14, 12), (0, 2)))
    image = torch.from_numpy(source[0].astype(np.float32))[None, None]
    image = (image - image.min()) / (image.max() - image.min())
    answers = mirrored(net, image, (0, 2))
    assert found.count == 4 and "along I and K" in found.words and "as in its training" in found.words
    np.testing.assert_allclose(spread.probability[0].mean, answers[:, 1].mean(0), atol=1e-5)
    np.testing.assert_allclose(spread.probability[0].deviation(), answers[:, 1].std(0, ddof=1), atol=1e-5)


def test_the_networks_of_an_ensemble_have_given_their_opinions_by_the_time(tmp_path, monkeypatch):
    import dataclasses

    from CAMOverlayLib.engine import api

    source, nets = volume(GEOMETRIES["LPS"], (16, 14, 12)), [network(seed=n) for n in range(3)]
    calls = []
    for net in nets:
        net.register_forward_hook(lambda *_: calls.append(1))
    original = api.explain_model
    monkeypatch.setattr(
        api,
        "explain_model",
        lambda model, *rest: original(dataclasses.replace(model, others=tuple(nets[1:])), *rest),
    )
    found, maps = said(nets[0], chain(), source, "prediction,disagreement", target=1)
    asked = len(calls)
    calls.clear()
    said(nets[0], chain(), source, "", target=1)
    assert asked == len(calls), "no pass more"
    image = torch.from_numpy(source[0].astype(np.float32))[None, None]
    image = (image - image.min()) / (image.max() - image.min())
    with torch.no_grad():
        scores = np.stack([net(image)[0].numpy() for net in nets])
        each = np.stack([net(image).softmax(1)[0, 1].numpy() for net in nets])
    np.testing.assert_array_equal(maps["prediction"], scores.mean(0).argmax(0))
    np.testing.assert_allclose(maps["disagreement"], each.std(0, ddof=1), atol=1e-6)
    assert maps["heat_disagreement"].max() > 0
    assert all("over 3 networks of one training" in one.words for one in found.result.further[1:])


@pytest.mark.slow
def test_one_opinion_is_no_disagreement_and_a_number_is_no_map():
    source = volume(GEOMETRIES["LPS"], (16, 14, 12))
    found, maps = said(network(), chain(), source, "disagreement", target=1)
    assert not maps
    assert any("one network, it has no dropout, and it does not tolerate mirroring" in w for w in found.result.warnings)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv3d(1, 4, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool3d(1),
        torch.nn.Flatten(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(4, 3),
    ).eval()
    found, maps = said(net, chain(), source, "disagreement", target=1)
    assert list(maps) == ["heat_disagreement"] and maps["heat_disagreement"].any()
    assert any("'liver'" in w and " ± " in w and "20 passes" in w for w in found.result.warnings)
    found, maps = said(net, chain(), source, "disagreement", target=1, method="occlusion")
    assert not maps and any("maps of Occlusion sensitivity take too long" in w for w in found.result.warnings)


def test_cancelling_among_the_opinions_leaves_the_network_as_it_was():
    net, seen = network(dropout=0.2), []
    before, state = snapshot(net), torch.random.get_rng_state()

    def cancel(progress):
        if progress.stage == "also" and "pass" in progress.message:
            seen.append(progress.fraction)
            if len(seen) == 5:
                raise Cancelled("stop")

    with pytest.raises(Cancelled):
        explain(net, chain(), volume(GEOMETRIES["LPS"], (16, 14, 12)), also="disagreement", report=cancel)
    assert seen == sorted(seen) and torch.equal(state, torch.random.get_rng_state())
    for left, right in zip(snapshot(net)[1:], before[1:], strict=True):
        assert left == right
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before[0].items())
