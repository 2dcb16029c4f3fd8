"""Many volumes: the list, what lies on disk, going on after an end of any kind, and heatmaps that equal those of
``explain`` bit for bit."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter

import nibabel
import numpy as np
import pytest
from Cohort import material
from support import REPOSITORY
from worker.ssh_server import children

from CAMOverlayLib import explain_many
from CAMOverlayLib.cli.main import main
from CAMOverlayLib.cohort.cases import Case, cases_of
from CAMOverlayLib.cohort.folder import being_made, look, publish, sweep
from CAMOverlayLib.cohort.plan import planned
from CAMOverlayLib.cohort.table import COLUMNS
from CAMOverlayLib.contract.errors import CAMOverlayError, CohortError, UntrustedBundleError
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.options import Options
from CAMOverlayLib.contract.request import Result
from CAMOverlayLib.contract.whole_files import PREFIX

QUICK = {"trust": True, "keep": ("heatmap",), "checks": "none"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    material.write_bundle(folder / "bundle")
    material.write_list(folder / "list.csv", material.write_volumes(folder / "volumes", 4, (18, 20, 16)))
    return folder


def column(table, name):
    """Of what `explain_many` returns: a pandas table, or records where pandas is not installed."""
    return set(table[name]) if hasattr(table, "columns") else {row[name] for row in table}


def read(table):
    with open(table, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def heat(folder):
    return np.asarray(nibabel.load(folder / "heatmap.nii.gz").dataobj)


def begun(output):
    events = [json.loads(line) for log in (output / "log").iterdir() for line in log.read_text().splitlines()]
    return Counter(one["id"] for one in events if one["event"] == "begun")


def listed(tmp_path, text, name="list.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


# The list -----------------------------------------------------------------------------------------------------------


def test_a_table_says_everything_and_the_rest_is_carried_along(tmp_path):
    text = "\ufeffVolume;mask;Label;target;id;to_template;site\n\n"
    text += "a/T1.nii.gz;m.nii;lesion;1;p 1;a.mat;Ulm\n/x/b.nii;;;;;Identity;\n"
    first, second = cases_of(listed(tmp_path, text))
    assert first == Case(
        "p 1",
        (f"{tmp_path}/a/T1.nii.gz",),
        f"{tmp_path}/m.nii",
        "lesion",
        "1",
        {"mask": f"{tmp_path}/m.nii", "to_template": f"{tmp_path}/a.mat", "site": "Ulm"},
    )
    assert second.carried["to_template"] == "Identity"  # a word, and no file
    assert second.id == "x_b" and second.volumes == ("/x/b.nii",) and second.mask == ""


def test_channels_are_columns_in_the_models_order(tmp_path):
    path = listed(tmp_path, "FLAIR,t1,age\nf.nii,t.nii,40\n")
    (case,) = cases_of(path, ("T1", "flair"))
    assert case.volumes == (f"{tmp_path}/t.nii", f"{tmp_path}/f.nii") and case.carried == {"age": "40"}
    (case,) = cases_of(listed(tmp_path, "volume_2,volume_1\nb.nii,a.nii\n"))
    assert [os.path.basename(one) for one in case.volumes] == ["a.nii", "b.nii"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image\na.nii\n", "The list has the columns image. Name the image files in the column 'volume', or one per"),
        ("volume,id\na.nii,x\nb.nii,X\n", "Line 3 of 'list.csv' has the id 'X', as line 2 of 'list.csv'"),
        ("volume,id\n\na.nii,../up\n", "Line 3 of 'list.csv' has the id '../up', which cannot name a folder"),
        ("volume\na.nii,b,c\n", "Line 2 of 'list.csv' has 3 values, and there are 1 columns (volume)"),
        ("volume,mask\n,m.nii\n", "Line 2 of 'list.csv' names no file in the column 'volume'"),
        ('volume\n"a.nii\n', "Line 2 of 'list.csv' is not CSV"),
        ("volume,Volume\na,b\n", "Line 1 of 'list.csv' names the column 'volume' twice"),
        ("volume\n", "The list '"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_with_its_line(tmp_path, text, words):
    with pytest.raises(CohortError) as error:
        cases_of(listed(tmp_path, text))
    assert str(error.value).startswith(words)


def test_folders_patterns_and_records(tmp_path):
    for name in ("s1/a.nii.gz", "s2/a.nii.gz", ".hidden/c.nii", "out/cases/x/heatmap.nii.gz", "notes.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [one.id for one in cases_of(tmp_path, output=tmp_path / "out")] == ["s1_a", "s2_a"]
    assert [one.id for one in cases_of(str(tmp_path / "s*" / "*.nii.gz"))] == ["s1_a", "s2_a"]
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame([{"volume": "/d/a.nii", "label": None, "age": 3}, {"volume": "/d/b.nii", "label": "x"}])
    first, second = cases_of(table)
    assert (first.label, second.label, first.carried["age"], second.carried["age"]) == ("", "x", "3.0", "")
    with pytest.raises(CohortError, match="There is no 'nothing'"):
        cases_of("nothing")
    with pytest.raises(CohortError, match="There is not an image in"):
        cases_of(str(tmp_path / "*.mgz"))


# What lies on disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def plan(data, tmp_path):
    options = Options(checks="none")
    return planned(tmp_path / "out", ModelSource(str(data / "bundle"), trust=True), options=options, keep=("heatmap",))


def test_a_case_is_there_whole_or_not_at_all(plan, tmp_path):
    case = Case("one", (str(tmp_path / "a.nii"),))
    with being_made(plan) as made:
        (made / "report.json").write_text("{}")
        assert look(plan, case).state == "missing"
        assert publish(plan, case, made, "done", {"hit": 1}, [])
    assert look(plan, case).is_done and look(plan, case).row["hit"] == 1
    assert look(plan, Case("one", (str(tmp_path / "b.nii"),))).state == "changed"
    with being_made(plan) as made:  # another process was slower
        (made / "report.json").write_text("slower")
        assert not publish(plan, case, made, "done", {}, [])
    assert (plan.folder / "cases" / "one" / "report.json").read_text() == "{}"
    assert [one.name for one in (plan.folder / "cases").iterdir()] == ["one"]


def test_what_was_left_half_written_by_processes_that_are_no_more_goes(plan):
    ended, unasked = (subprocess.Popen([sys.executable, "-c", ""]) for _ in range(2))
    ended.wait()
    os.waitid(os.P_PID, unasked.pid, os.WEXITED | os.WNOWAIT)  # its number stays until somebody asks how it ended
    with being_made(plan) as mine:
        theirs = [mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{p.pid}-")) for p in (ended, unasked)]
        elsewhere = mine.with_name(f"{PREFIX}elsewhere-{ended.pid}-0")
        for one in (*theirs, elsewhere):
            one.mkdir()
        sweep(plan)
        assert mine.is_dir() and elsewhere.is_dir() and not any(one.exists() for one in theirs)
        unasked.wait()
        os.utime(elsewhere, (0, 0))
        sweep(plan)
        assert mine.is_dir() and not elsewhere.exists()


def test_a_folder_without_its_report_is_computed_again(plan, tmp_path):
    case = Case("one", (str(tmp_path / "a.nii"),))
    (plan.folder / "cases" / "one").mkdir(parents=True)
    assert look(plan, case).state == "changed"


# Computing ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    """All four computed in this process."""
    output = tmp_path_factory.mktemp("done") / "out"
    table = explain_many(data / "list.csv", data / "bundle", output, **QUICK)
    return output, table


def test_heatmaps_equal_those_of_explain_bit_for_bit(data, done, tmp_path):
    output, _ = done
    volume = data / "volumes" / "volume-001.nii.gz"
    words = ["explain", volume, "--bundle", data / "bundle", "--trust", "--checks", "none", "--report", "none"]
    assert main([*map(str, words), "--output", str(tmp_path / "one")]) == 0
    there = output / "cases" / "volumes_volume-001"
    assert heat(there).any() and np.array_equal(heat(there), heat(tmp_path / "one"))
    ours, theirs = (nibabel.load(folder / "heatmap.nii.gz") for folder in (there, tmp_path / "one"))
    assert np.array_equal(ours.affine, theirs.affine)
    result = Result.from_json((there / "report.json").read_text())
    assert result.provenance.volumes == (str(volume),) and "mask-001" in str(result.provenance.options.structures)


def test_the_table_tells_of_each_case_what_its_report_does(data, done):
    output, table = done
    rows = read(output / "cohort.csv")
    assert list(rows[0]) == [*COLUMNS, "mask", "site"]
    assert [row["state"] for row in rows] == ["done"] * 4 and [row["site"] for row in rows][:2] == ["site 0", "site 1"]
    for row in rows:
        result = Result.from_json((output / "cases" / row["id"] / "report.json").read_text())
        (mask,) = result.structures
        assert mask.name == "mask" and row["hit"] == str(int(mask.holds_peak))
        assert float(row["share"]) == pytest.approx(mask.share, rel=1e-5)
        assert float(row["enrichment"]) == pytest.approx(mask.enrichment, rel=1e-5)
        assert float(row["probability"]) == pytest.approx(max(result.prediction.probabilities), rel=1e-5)
        assert row["prediction"] == result.prediction.name and row["placement"] == result.placement.verdict
        # The share by hand: all heat within the ball, of all heat.
        ball = np.asarray(nibabel.load(row["mask"]).dataobj) != 0
        values = heat(output / "cases" / row["id"]).astype(float)
        assert float(row["share"]) == pytest.approx(values[ball].sum() / values.sum(), rel=1e-4)
    assert len(table) == 4 and column(table, "label") == {"healthy", "lesion"}


def test_the_same_command_has_nothing_to_compute_and_writes_the_page(data, done, capfd):
    output, table = done
    words = [
        "cohort",
        data / "list.csv",
        "--model",
        data / "bundle",
        "--trust",
        "--output",
        output,
        "--segmentations",
        "mask",
    ]
    assert main([*map(str, words), "--keep", "heatmap", "--checks", "none"]) == 0
    assert "0 to compute" in capfd.readouterr().out
    page = (output / "cohort.html").read_text(encoding="utf-8")
    assert all(name in page for name in column(table, "id")) and "healthy" in page


def test_a_second_run_computes_what_is_missing_changed_or_failed(data, done, tmp_path):
    source, _ = done
    output = tmp_path / "out"
    subprocess.run(["cp", "-rp", str(source), str(output)], check=True)
    rows = read(data / "list.csv")
    before = {one: (output / "cases" / one / "case.json").stat().st_mtime_ns for one in os.listdir(output / "cases")}
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"nothing")
    rows[2]["volume"] = str(bad)
    rows[2]["id"] = "volumes_volume-002"
    rows[0]["label"] = "artefact"
    table = explain_many(rows, data / "bundle", output, **QUICK)
    records = read(output / "cohort.csv")
    assert [one["state"] for one in records] == ["done", "done", "failed", "done"], table
    assert records[0]["label"] == "artefact" and "bad.nii.gz' cannot be read" in records[2]["error"]
    place = output / "cases" / "volumes_volume-002"
    assert {one.name for one in place.iterdir()} == {"case.json", "error.json"}
    assert json.loads((place / "error.json").read_text())["kind"] == "VolumeError"
    for one in before:
        assert one == place.name or (output / "cases" / one / "case.json").stat().st_mtime_ns == before[one]
    bad.write_bytes((data / "volumes" / "volume-002.nii.gz").read_bytes())
    explain_many(rows, data / "bundle", output, **QUICK)
    assert {one["state"] for one in read(output / "cohort.csv")} == {"done"}
    assert np.array_equal(heat(place), heat(source / "cases" / place.name))


def test_other_options_and_another_model_are_noticed_and_never_mixed(data, done, tmp_path):
    output, _ = done
    before = (output / "cohort.json").read_bytes()
    with pytest.raises(CohortError, match="computed otherwise: method gradcam then, layercam now"):
        explain_many(data / "list.csv", data / "bundle", output, method="layercam", **QUICK)
    other = material.write_bundle(tmp_path / "bundle", seed=1)
    with pytest.raises(CohortError, match="of another model"):
        explain_many(data / "list.csv", other, output, **QUICK)
    with pytest.raises(CohortError, match="kept heatmap then, picture now"):
        explain_many(data / "list.csv", data / "bundle", output, **QUICK | {"keep": ("picture",)})
    assert (output / "cohort.json").read_bytes() == before
    moved = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", str(data / "bundle"), str(moved)], check=True)
    explain_many(data / "list.csv", moved, output, **QUICK)  # the same content is the same model, wherever it lies
    assert set(begun(output).values()) == {1}


def test_what_is_wrong_with_all_cases_is_said_once_and_nothing_is_written(data, tmp_path):
    asked = (data / "list.csv", data / "bundle", tmp_path / "out")
    with pytest.raises(UntrustedBundleError):
        explain_many(*asked)
    with pytest.raises(CAMOverlayError, match="no method 'gradcan'|gradcan"):
        explain_many(*asked, **QUICK, method="gradcan")
    with pytest.raises(CohortError, match="There is no 'film' to keep; choose of heatmap, picture, report, scene"):
        explain_many(*asked, **QUICK | {"keep": ("film",)})
    with pytest.raises(TypeError, match="'metod'"):
        explain_many(*asked, **QUICK, metod="gradcam")
    assert not (tmp_path / "out").exists()


def test_a_dry_run_looks_at_everything_and_computes_nothing(data, tmp_path, capfd):
    words = ["--model", str(data / "bundle"), "--trust", "--output", str(tmp_path / "out"), "--dry-run"]
    assert main(["cohort", str(data / "list.csv"), *words]) == 0
    out = capfd.readouterr().out
    assert "4; 4 to compute" in out and "at most" in out and "nothing was computed" in out
    rows = listed(tmp_path, f"volume\n{tmp_path}/none.nii\n{data}/volumes/volume-000.nii.gz\n")
    assert main(["cohort", str(rows), *words]) == 2
    seen = capfd.readouterr()
    assert "none.nii' does not exist" in seen.out and "1 of 2 cases have files that cannot" in seen.err
    assert not (tmp_path / "out").exists()


# Scenes -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    network = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8],
               "strides": [2]}  # fmt: skip
    return material.write_bundle(tmp_path_factory.mktemp("segmenter") / "bundle", network=network)


def test_a_scene_of_a_case_is_the_one_that_explain_writes(data, segmenter, tmp_path, monkeypatch):
    """Of the second case of a process, which has but one scene."""
    from CAMOverlayLib import case_scene
    from CAMOverlayLib.scene import core

    monkeypatch.setattr(case_scene, "_made", {core.ensureScene()})  # other tests have made it
    output, volumes = tmp_path / "out", [data / "volumes" / f"volume-00{n}.nii.gz" for n in range(2)]
    settings = QUICK | {"keep": ("scene",), "also": "probability,prediction"}
    explain_many(volumes, segmenter, output, **settings)
    words = ["explain", volumes[1], "--model", segmenter, "--trust", "--checks", "none", "--report", "none"]
    assert main([*map(str, words), "--also", settings["also"], "--output", str(tmp_path / "one")]) == 0
    first, second = (output / "cases" / f"volume-00{n}" for n in range(2))
    files = {"case.json", "report.json", "findings.csv", "scene.mrb", "probability.nii.gz", "prediction.nii.gz"}
    assert {one.name for one in first.iterdir()} == files == {one.name for one in second.iterdir()}
    ours, theirs = (in_scene(one / "scene.mrb") for one in (second, tmp_path / "one"))
    assert ours == theirs and any(name.endswith("probability.nrrd") for name in ours)


def in_scene(path):
    """The files of volumes and segmentations in a scene, and what nodes its description lists; but for the report."""
    with zipfile.ZipFile(path) as file:
        names = {name.partition("/")[2]: name for name in file.namelist()}
        scene = file.read(next(name for name in names.values() if name.endswith(".mrml"))).decode()
        nodes = re.findall(r'<(\w+)\s+id="(\w+)" name="([^"]*)"', scene)
        data = {name: file.read(whole) for name, whole in names.items() if name.startswith("Data/") and name != "Data/"}
    return data | {"nodes": nodes}


def test_a_process_without_slicers_core_or_with_a_scene_of_its_own_refuses(data, tmp_path, monkeypatch):
    asked = (data / "list.csv", data / "bundle", tmp_path / "out")
    program = "import sys; sys.modules['slicer'] = None\nfrom CAMOverlayLib.case_scene import problem; print(problem())"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "CAMOverlay")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert "pip install 'cam-overlay[core]'" in done.stdout

    from CAMOverlayLib.scene import core

    core.ensureScene()
    with pytest.raises(CohortError, match="This process holds a Slicer scene already"):
        explain_many(*asked, **QUICK | {"keep": ("scene",)})
    assert not any((tmp_path / "out" / "cases").glob("*"))


# Ends of every kind -------------------------------------------------------------------------------------------------


def test_a_command_that_is_killed_loses_what_was_under_way_and_no_more(data, done, tmp_path):
    """Two worker processes; the command is killed after the first case, and the rest is computed in another order."""
    source, _ = done
    output = tmp_path / "out"
    words = ["cohort", data / "list.csv", "--model", data / "bundle", "--trust", "--output", output, "--workers", "2"]
    command = [sys.executable, "-m", "CAMOverlayLib", *words, "--keep", "heatmap", "--checks", "none"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "CAMOverlay"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(list(map(str, command)), env=environment, stderr=subprocess.DEVNULL) as running:
        while running.poll() is None and not any((output / "cases").glob("[!.]*")):
            time.sleep(0.02)
        workers = children(running.pid)  # also one that has begun no case yet, and has no log
        running.send_signal(signal.SIGKILL)
    end = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, workers))
    first = {one.name for one in (output / "cases").glob("[!.]*")}
    assert first and workers
    rows = list(reversed(read(data / "list.csv")))
    explain_many([row | {"id": case_id(row)} for row in rows], data / "bundle", output, **QUICK)
    ours, theirs = ({row["id"]: row | {"seconds": ""} for row in read(one / "cohort.csv")} for one in (output, source))
    assert ours == theirs
    for name in os.listdir(source / "cases"):
        assert np.array_equal(heat(output / "cases" / name), heat(source / "cases" / name))
    assert not [one for one in os.listdir(output / "cases") if one.startswith(".")]
    counts = begun(output)
    assert max(counts.values()) <= 2 and all(counts[name] == 1 for name in first)


def case_id(row):
    return "volumes_" + os.path.basename(row["volume"]).removesuffix(".nii.gz")


def alive(number):
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_two_commands_do_not_work_in_one_folder(plan):
    from CAMOverlayLib.cohort.folder import alone

    with alone(plan), pytest.raises(CohortError, match="Another command is at work"), alone(plan):
        pass
