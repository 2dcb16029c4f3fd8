"""What the result says of its own heatmap: hot spots, structures and channels, from a request to the report."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json

import nibabel
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, world_grid
from monai.inferers import SlidingWindowInferer
from monai.transforms import CenterSpatialCrop, EnsureChannelFirst
from support import SLOW

from CAMOverlayLib import explain as explain_model
from CAMOverlayLib.contract.errors import MethodError, NotSeenError, TargetError
from CAMOverlayLib.contract.findings import Threshold
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.request import Request, Result
from CAMOverlayLib.contract.target import StructureFile, VolumeFile
from CAMOverlayLib.demo import DEMO_BUNDLE, DEMO_VOLUME, demo_lesion
from CAMOverlayLib.engine import api
from CAMOverlayLib.engine.pipeline import explain
from CAMOverlayLib.reading.hot_spots import find_hot_spots, findings_csv, label_hot_spots, level_of


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Everything asked at once about the demo: result, heatmap, its image, and the lesion's mask."""
    folder = tmp_path_factory.mktemp("demo")
    image = nibabel.load(DEMO_VOLUME)
    array, affine = np.asarray(image.dataobj), image.affine
    np.save(folder / "brain.npy", np.asfortranarray(array))
    lesion = demo_lesion()
    mask = np.linalg.norm(world_grid(array.shape, affine) - lesion.centre, axis=-1) <= 2 * lesion.radius
    labels = np.zeros(array.shape, np.uint8)
    labels[mask] = 2
    labels[: array.shape[0] // 4][~mask[: array.shape[0] // 4]] = 7
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "around.nii.gz")
    volume = {"path": str(folder / "brain.npy"), "affine": affine.tolist(), "name": "brain"}
    asked = Request.from_dict(
        {
            "volumes": [volume],
            "model": ModelSource(str(DEMO_BUNDLE), trust=True).to_dict(),
            "output_folder": str(folder),
            "structures": [f"lesion,left={folder / 'around.nii.gz'}"],
            "method": "refined",
        }
    )
    result = explain(asked)
    return result, np.load(result.heatmap.path), affine, mask


def test_the_hottest_region_of_the_demo_lies_in_its_lesion(demo):
    result, heatmap, _, mask = demo
    hottest = result.findings[0]
    assert hottest.region == 1 and hottest.structure == "lesion" and mask[hottest.peak]
    assert (hottest.peak, hottest.peak_ras) == (result.peak, result.peak_ras)
    assert demo_lesion().distance(hottest.peak_ras) < 2 * demo_lesion().radius
    inside, left = result.structures
    assert (inside.name, left.name) == ("lesion", "left")
    assert inside.holds_peak and inside.enrichment > 5 and inside.p_value < 0.05
    assert not left.holds_peak and left.enrichment < 1
    assert inside.share == pytest.approx(heatmap[mask].sum(dtype=float) / heatmap.sum(dtype=float))


def test_table_file_report_and_label_map_agree_to_the_voxel(demo):
    result, heatmap, affine, _ = demo
    assert result.threshold == Threshold()
    assert [s.to_dict() | {"structure": ""} for s in result.findings] == [
        s.to_dict() for s in find_hot_spots(heatmap, Grid(heatmap.shape, affine))
    ]
    labels, count = label_hot_spots(heatmap, level_of(heatmap, result.threshold))
    assert count == len(result.findings)
    report = json.loads(result.to_json())
    assert Result.from_dict(report) == result
    table = list(csv.DictReader(io.StringIO(findings_csv(result.findings))))
    for spot, line, told in zip(result.findings, table, report["findings"], strict=True):
        region = labels == spot.region
        assert labels[spot.peak] == spot.region and heatmap[spot.peak] == heatmap[region].max() == np.float32(
            spot.maximum
        )
        assert region.sum() * abs(np.linalg.det(affine[:3, :3])) == pytest.approx(spot.volume_mm3)
        assert [int(line[f"peak_{axis}"]) for axis in "ijk"] == told["peak"] == list(spot.peak)
        assert float(line["volume_mm3"]) == told["volume_mm3"] == spot.volume_mm3
        assert line["structure"] == told["structure"] == spot.structure


# Channels ------------------------------------------------------------------------------------------------------------


class Weighted(torch.nn.Module):
    """Two outputs; the second is the mean over places of a weighted sum of the channels, so the shares are known."""

    def __init__(self, weights, everywhere=False):
        super().__init__()
        self.conv = torch.nn.Conv3d(len(weights), 2, 1, bias=False)
        self.conv.weight.data.zero_()
        self.conv.weight.data[1] = torch.tensor(weights).view(-1, 1, 1, 1)
        self.everywhere = everywhere

    def forward(self, x):
        found = self.conv(x)
        return found if self.everywhere else found.mean((2, 3, 4))


def two_volumes():
    random = np.random.default_rng(0)
    affine = GEOMETRIES["oblique"]
    return [(random.random((20, 18, 16)).astype(np.float32) + n, affine) for n in range(2)]


@pytest.mark.parametrize("windows", [False, True], ids=["whole", "windows"])
def test_shares_of_channels_are_gradient_times_input(windows):
    volumes, weights = two_volumes(), (3.0, -1.0)
    settings = {"inferer": SlidingWindowInferer((10, 9, 8), 2, overlap=0)} if windows else {}
    network = Weighted(weights, everywhere=windows)
    found = explain_model(
        network, [EnsureChannelFirst()], volumes, target=1, method="saliency", channel_shares=True, **settings
    ).result
    sums = [abs(weight) * volume.sum(dtype=float) for weight, (volume, _) in zip(weights, volumes)]
    assert list(found.channels) == ["volume 1", "volume 2"]
    if windows:  # only where the class is predicted
        hot = 3 * volumes[0][0] - volumes[1][0] > 0
        sums = [abs(weight) * volume[hot].sum(dtype=float) for weight, (volume, _) in zip(weights, volumes)]
    assert list(found.channels.values()) == pytest.approx(np.array(sums) / sum(sums), rel=1e-4)
    assert sum(found.channels.values()) == pytest.approx(1)


def test_shares_are_computed_only_where_asked_for_and_where_there_are_several_channels():
    volumes = two_volumes()
    network = Weighted((3.0, -1.0))
    assert explain_model(network, [EnsureChannelFirst()], volumes, target=1, method="saliency").result.channels == {}
    one = explain_model(
        Weighted((3.0,)), [EnsureChannelFirst()], volumes[0], target=1, method="saliency", channel_shares=True
    )
    assert one.result.channels == {}
    nothing = explain_model(network, [EnsureChannelFirst()], volumes, target=0, method="saliency", channel_shares=True)
    assert nothing.result.channels == {} and nothing.result.findings == ()


def test_shares_of_an_ensemble_are_of_all_members_and_change_nothing_else(monkeypatch):
    volumes, weights = two_volumes(), [(3.0, -1.0), (1.0, 2.0)]
    model = functools.partial(api.Model, others=(Weighted(weights[1]),))
    monkeypatch.setattr(api, "Model", model)
    one, other = (
        explain_model(
            Weighted(weights[0]),
            [EnsureChannelFirst()],
            volumes,
            target=1,
            method="integratedgradients",
            channel_shares=on,
        ).result
        for on in (False, True)
    )
    sums = [sum(abs(w[n]) for w in weights) * volume.sum(dtype=float) for n, (volume, _) in enumerate(volumes)]
    assert list(other.channels.values()) == pytest.approx(np.array(sums) / sum(sums), rel=1e-4)
    assert "2 networks averaged" in one.applied
    for name in ("applied", "findings", "warnings", "magnitude", "peak", "prediction", "target", "layer", "method"):
        assert getattr(other, name) == getattr(one, name), name


def test_no_gradient_at_the_input_is_one_sentence():
    class Cut(Weighted):
        def forward(self, x):
            return super().forward(x.detach())

    with pytest.raises(MethodError, match="no shares of its channels") as raised:
        explain_model(Cut((1.0, 1.0)), [EnsureChannelFirst()], two_volumes(), method="occlusion", channel_shares=True)
    assert raised.value.setting == "channel_shares"


# What is asked -------------------------------------------------------------------------------------------------------


def asked(tmp_path, structures=(), volume=None, **options):
    volume = volume or two_volumes()[0]
    chain = [EnsureChannelFirst(), *options.pop("chain", [])]
    return explain_model(
        Weighted((1.0,), True), chain, volume, target=1, method="saliency", structures=structures, **options
    ).result


def saved(path, array, affine):
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def test_masks_on_any_grid_and_names_of_any_kind(tmp_path):
    affine = GEOMETRIES["oblique"]
    fine = affine @ np.diag([-0.5, 0.5, 0.5, 1])
    fine[:3, 3] = (affine @ [19.25, -0.25, -0.25, 1])[:3]  # twice as fine, and the first axis the other way round
    labels = np.zeros((20, 18, 16), np.uint8)
    labels[3:9, 4:8, 5:9], labels[12:15, 3:6, 2:5] = 1, 4
    same = saved(tmp_path / "organs.nii.gz", labels, affine)
    other = saved(tmp_path / "fine.nii", labels[::-1].repeat(2, 0).repeat(2, 1).repeat(2, 2), fine)
    one = asked(tmp_path, [same]).structures
    two = asked(tmp_path, (f"organs 1,organs 4={other}",)).structures
    assert [s.name for s in one] == ["organs 1", "organs 4"] and one == two
    np.save(tmp_path / "x.npy", labels == 4)
    exported = VolumeFile(str(tmp_path / "x.npy"), affine.tolist(), "the cube")
    (cube,) = asked(tmp_path, exported).structures
    assert cube.name == "the cube" and cube == dataclasses.replace(one[1], name="the cube")


def test_what_the_network_did_not_see_is_a_warning(tmp_path):
    affine = GEOMETRIES["oblique"]
    edge, middle = np.zeros((20, 18, 16), np.uint8), np.zeros((20, 18, 16), np.uint8)
    edge[:2], middle[8:12, 8:12, 8:12] = 1, 1
    files = [saved(tmp_path / f"{name}.nii.gz", mask, affine) for name, mask in (("edge", edge), ("middle", middle))]
    found = asked(tmp_path, files, chain=[CenterSpatialCrop((12, 12, 12))])
    assert [one.name for one in found.structures] == ["middle"]
    assert found.field_of_view.share == pytest.approx(12**3 / (20 * 18 * 16))
    assert any(warning.startswith("Nothing of structure 'edge' was seen") for warning in found.warnings)
    # What was seen is what is compared with, not the whole volume.
    assert found.structures[0].enrichment == pytest.approx(found.structures[0].share * 12**3 / 4**3)


def test_wrong_structures_and_thresholds_are_one_sentence_before_anything_is_computed(tmp_path):
    affine = GEOMETRIES["oblique"]
    shape = (20, 18, 16)
    far = affine.copy()
    far[:3, 3] += 900
    (tmp_path / "text.nii.gz").write_text("no image")
    for structures, error, words in [
        (tmp_path / "absent.nii.gz", TargetError, "Structure '.*absent.nii.gz' cannot be read"),
        (tmp_path / "text.nii.gz", TargetError, "Structure '.*text.nii.gz' cannot be read"),
        (saved(tmp_path / "none.nii.gz", np.zeros(shape, np.uint8), affine), TargetError, "none.* is empty"),
        (saved(tmp_path / "far.nii.gz", np.ones(shape, np.uint8), far), NotSeenError, "Nothing of 'far' lies in the"),
        (saved(tmp_path / "4d.nii.gz", np.ones((*shape, 2), np.uint8), affine), TargetError, "is 4-D"),
        (
            saved(tmp_path / "map.nii.gz", np.full(shape, 0.3, np.float32), affine),
            TargetError,
            "0.3, which is no label",
        ),
        (f"a,b={saved(tmp_path / 'one.nii.gz', np.ones(shape, np.uint8), affine)}", TargetError, "and 2 names"),
        ([5], TargetError, "'5' is no structure"),
        (5, TargetError, "'5' is no structure"),
        ([" "], TargetError, "' ' is no structure"),
    ]:
        with pytest.raises(error, match=words):
            asked(tmp_path, structures)
    for wrong in ("loud", "1.5", "-1", "101%", "share=2", "nan", "", "%"):
        with pytest.raises(MethodError, match=r"The threshold '.*' is none\. Give heat from 0 to 1") as raised:
            asked(tmp_path, findings_threshold=wrong)
        assert raised.value.setting == "findings_threshold"


@pytest.mark.parametrize("text", ["0.7", "95%", "SHARE=0.25", *map(SLOW, ["share=0.5", "0", "100%"])])
def test_thresholds_as_they_are_typed(tmp_path, text):
    found = asked(tmp_path, findings_threshold=text)
    assert found.threshold == Threshold.of(text) == Threshold.of(str(Threshold.of(text)))
    assert found.findings and Result.from_json(found.to_json()) == found


def test_a_request_names_its_files_wherever_it_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.nii").write_text("")
    made = Request((), ModelSource("/b"), "/o", structures=["liver, spleen=x.nii.gz", "a=b.nii", "~/y.nii"]).absolute()
    assert made.structures[0] == StructureFile(str(tmp_path / "x.nii.gz"), ("liver", "spleen"))
    assert made.structures[1] == StructureFile(str(tmp_path / "a=b.nii"))
    assert made.structures[2].file.endswith("/y.nii") and "~" not in made.structures[2].file
    assert Request.from_json(made.to_json()) == made
