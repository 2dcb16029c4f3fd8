"""The command line says of hot spots, structures and channels what its files say, in the voxels of the user's file."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pytest
from test_file_grids import CHAIN, SEGMENTER, SHAPE, oriented, write

from CAMOverlayLib.contract.request import Result
from CAMOverlayLib.reading.hot_spots import label_hot_spots, level_of


def explained(capfd, *arguments):
    from CAMOverlayLib.cli.main import main

    code = main(["explain", *map(str, arguments)])
    return code, *capfd.readouterr()


@pytest.mark.parametrize("codes", ["RAS", "LAS", "PIL"])
@pytest.mark.some(2)
def test_table_file_report_and_words_agree_to_the_voxel(make_bundle, tmp_path, capfd, codes):
    path = write(tmp_path / "head.nii.gz", oriented(codes))
    labels = np.ones(SHAPE, np.uint8)
    labels[:, :, : SHAPE[2] // 2] = 2  # one half each, in the file's own voxels
    affine = nibabel.load(path).affine
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "halves.nii.gz")
    out = tmp_path / "out"
    model = ["--model", make_bundle(network=SEGMENTER, chain=CHAIN), "--trust", "--output", out, "--target", "1"]
    asked = ["--structures", f"upper,lower={tmp_path / 'halves.nii.gz'}", "--threshold", "90%"]
    code, said, error = explained(capfd, path, *model, *asked)
    assert code == 0, error
    report = Result.from_json((out / "report.json").read_text(encoding="utf-8"))
    heatmap = np.asarray(nibabel.load(out / "heatmap.nii.gz").dataobj).astype(np.float32)
    with (out / "findings.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    regions, count = label_hot_spots(heatmap, level_of(heatmap, report.threshold))
    assert str(report.threshold) == "90%" and len(table) == len(report.findings) == min(count, 50) > 3
    for spot, line in zip(report.findings, table):
        assert tuple(int(line[f"peak_{axis}"]) for axis in "ijk") == spot.peak
        assert regions[spot.peak] == spot.region == int(line["region"])
        assert heatmap[spot.peak] == heatmap[regions == spot.region].max()
        np.testing.assert_allclose((affine @ [*spot.peak, 1])[:3], spot.peak_ras, atol=1e-3)
        assert line["structure"] == spot.structure == ("", "upper", "lower")[labels[spot.peak]]
        assert float(line["volume_mm3"]) == pytest.approx(np.count_nonzero(regions == spot.region) * 4.5)
    assert report.findings[0].peak == report.peak
    for one, value in zip(report.structures, (1, 2), strict=True):
        assert one.share == pytest.approx(heatmap[labels == value].sum(dtype=float) / heatmap.sum(dtype=float))
        assert one.holds_peak == (labels[report.peak] == value)
        assert f"structure    {one.name}: {one.share:.1%} of all heat" in said
    shown = [line for line in said.splitlines() if line.startswith("hot spot")]
    assert len(shown) == 3 and str(report.peak) in shown[0]
    assert f"and {len(table) - 3} more above 90%, see findings.csv" in said
    assert "written" in said and "findings.csv" in said.splitlines()[-1]
    assert report.timings["findings"] > 0


def test_the_scenes_node_names_the_same_peaks_in_its_own_voxels(make_bundle, tmp_path):
    from CAMOverlayLib.cli.file_grids import OnFileGrids
    from CAMOverlayLib.logic import OverlayLogic, computeHere
    from CAMOverlayLib.scene import core
    from CAMOverlayLib.scene.io import volumes
    from CAMOverlayLib.scene.overlay import node as overlay

    path = write(tmp_path / "head.nii.gz", oriented("LAS"))
    node = core.loadVolume(path)
    there = OnFileGrids([str(path)], [node], computeHere, tmp_path / "heatmap.nii.gz")
    bundle = make_bundle(network=SEGMENTER, chain=CHAIN)
    shown = OverlayLogic(there).process(node, bundle, trust=True, target=1, findingsThreshold="95%")
    in_node, in_file = overlay.resultOf(shown).findings, there.result.findings
    assert len(in_node) == len(in_file) > 1 and in_node[0].peak == volumes.peakIJK(shown)
    for one, other in zip(in_node, in_file):
        assert one.peak == (*other.peak[:2], SHAPE[2] - 1 - other.peak[2])
        np.testing.assert_allclose(volumes.worldFromIJK(shown, one.peak), one.peak_ras, atol=1e-3)
        assert (one.peak_ras, one.volume_mm3, one.share) == (other.peak_ras, other.volume_mm3, other.share)


def test_channels_are_named_and_printed(make_bundle, tmp_path, capfd):
    paths = [write(tmp_path / name, oriented("RAS")) for name in ("T1.nii.gz", "T2.nii.gz")]
    chain = [CHAIN[0], {"_target_": "EnsureChannelFirstd", "keys": "image"}, *CHAIN[2:]]
    bundle = make_bundle(network=SEGMENTER | {"in_channels": 2}, chain=chain, channels=2)
    out = tmp_path / "out"
    code, said, error = explained(capfd, *paths, "--model", bundle, "--trust", "--output", out, "--channel-shares")
    assert code == 0, error
    channels = json.loads((out / "report.json").read_text(encoding="utf-8"))["channels"]
    assert list(channels) == ["T1", "T2"] and sum(channels.values()) == pytest.approx(1)
    assert f"channels     T1 {channels['T1']:.1%}, T2 {channels['T2']:.1%}" in said


def test_what_is_wrong_is_one_line_and_no_structure_is_replaced(make_bundle, tmp_path, capfd):
    path = write(tmp_path / "head.nii.gz", oriented("RAS"))
    out = tmp_path / "out"
    model = [path, "--model", make_bundle(network=SEGMENTER, chain=CHAIN), "--trust", "--output", out]
    for asked, words in [
        (["--threshold", "hot"], "The threshold 'hot' is none."),
        (["--structures", tmp_path / "absent.nii"], "absent.nii' cannot be read"),
        (["--structures", path], "different values, and a label map has at most 300. Is it an image?"),
    ]:
        code, _, error = explained(capfd, *model, *asked)
        errors = [line for line in error.splitlines() if "error" in line]
        assert code == 2 and len(errors) == 1 and words in errors[0], error
        assert not out.exists()
    out.mkdir()
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4)), out / "heatmap.nii.gz")
    before = (out / "heatmap.nii.gz").read_bytes()
    code, _, error = explained(capfd, *model, "--structures", f"mine={out / 'heatmap.nii.gz'}")
    assert code == 2 and "would be replaced" in error and (out / "heatmap.nii.gz").read_bytes() == before
