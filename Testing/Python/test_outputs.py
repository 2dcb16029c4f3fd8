"""How a command ends: inputs and old results stay as they were, signals clean up, and one line says what was wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
from support import REPOSITORY, SLOW

from CAMOverlayLib.cli import output as outputs
from CAMOverlayLib.cli import terminal
from CAMOverlayLib.cli.main import FILES, main
from CAMOverlayLib.contract.errors import CAMOverlayError, DeviceError, OutputError, UntrustedBundleError

COMMAND = [sys.executable, "-m", "CAMOverlayLib"]
HERE = os.environ | {"PYTHONPATH": str(REPOSITORY / "CAMOverlay"), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def head(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 500, (20, 20, 20)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "head.nii.gz")
    return tmp_path / "head.nii.gz"


def said(capfd, *arguments):
    code = main([str(one) for one in arguments])
    out, err = capfd.readouterr()
    return code, out, [line for line in err.splitlines() if line.startswith("cam-overlay")]


# Inputs and old results ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["volume", "link to the volume", "mask", "trail"])
def test_an_input_is_never_replaced(make_bundle, tmp_path, head, capfd, where):
    out = tmp_path / "out"
    out.mkdir()
    name = "forward-01-LoadImaged.nii.gz" if where == "trail" else "heatmap.nii.gz"
    inside = out / name
    if where == "link to the volume":
        inside.symlink_to(head)
    else:
        inside.write_bytes(head.read_bytes())
    before = inside.read_bytes()
    volume = inside if where in ("volume", "trail") else head
    asked = [
        "explain",
        volume,
        "--bundle",
        make_bundle(),
        "--trust",
        "--output",
        tmp_path / "other" if where == "trail" else out,
    ]
    asked += ["--trail", out] if where == "trail" else []
    asked += ["--target", f"1@mask={inside}"] if where == "mask" else []
    code, printed, lines = said(capfd, *asked)
    assert code == 2 and printed == "" and len(lines) == 1
    assert f"would be replaced by the result '{name}'" in lines[0]
    assert inside.read_bytes() == before and os.listdir(out) == [name] and not (tmp_path / "other").exists()


@pytest.mark.parametrize("spoilt", ["a folder", "a link to nothing"])
@pytest.mark.parametrize("name", FILES)
def test_what_cannot_be_replaced_is_found_before_anything_is_computed(make_bundle, tmp_path, head, capfd, name, spoilt):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).mkdir() if spoilt == "a folder" else (out / name).symlink_to(tmp_path / "nowhere")
    (out / "notes.txt").write_text("mine")
    code, _, lines = said(capfd, "explain", head, "--bundle", make_bundle(), "--trust", "--output", out)
    assert code == 2 and f"is {spoilt} where a result is to be written" in lines[0] and len(lines) == 1
    assert sorted(os.listdir(out)) == sorted([name, "notes.txt"])


def test_files_of_all_folders_move_together_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for name in ("1", "2"):
        (tmp_path / "a" / name).write_text("old")
    places = [outputs.Output(tmp_path / "a", ("1", "2")), outputs.Output(tmp_path / "deep/b", ("3",))]

    def fill():
        with outputs.finished_folders(places) as (a, b):
            for path in (a / "1", a / "2", b / "3"):
                path.write_text("new")

    really = os.replace
    monkeypatch.setattr(
        os,
        "replace",
        lambda one, other: (
            (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error"))
            if str(other).endswith("b/3")
            else really(one, other)
        ),
    )
    with pytest.raises(OutputError, match="Input/output error.*Nothing was replaced"):
        fill()
    assert [(tmp_path / "a" / name).read_text() for name in ("1", "2")] == ["old", "old"]
    assert os.listdir(tmp_path) == ["a"] and sorted(os.listdir(tmp_path / "a")) == ["1", "2"]
    monkeypatch.undo()
    fill()
    assert [(tmp_path / "a" / name).read_text() for name in ("1", "2")] == ["new", "new"]
    assert (tmp_path / "deep/b/3").read_text() == "new" and sorted(os.listdir(tmp_path / "a")) == ["1", "2"]


# Signals ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="no such signals")
@pytest.mark.parametrize(
    ("number", "stage"),
    [(signal.SIGTERM, "Preprocessing"), pytest.param(signal.SIGHUP, "Running the network", marks=pytest.mark.slow)],
)
def test_a_signal_cleans_up(make_bundle, tmp_path, head, number, stage):
    (tmp_path / "out").mkdir()
    (tmp_path / "tmp").mkdir()
    command = [
        *COMMAND,
        "explain",
        str(head),
        "--bundle",
        str(make_bundle()),
        "--trust",
        "--output",
        str(tmp_path / "out"),
    ]
    run = subprocess.Popen(
        command, env=HERE | {"TMPDIR": str(tmp_path / "tmp")}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    lines = []
    for line in run.stderr:
        lines.append(line)
        if stage in line:
            run.send_signal(number)
            break
    out, err = run.communicate(timeout=60)
    assert run.returncode == 128 + number, err
    assert out == "" and "Traceback" not in err and "interrupted; nothing was written" in err
    assert os.listdir(tmp_path / "out") == [] and os.listdir(tmp_path / "tmp") == []


def test_what_a_killed_process_left_is_swept_and_what_lives_stays(tmp_path):
    pytest.importorskip("fcntl")
    code = (
        "import sys, os, time; from pathlib import Path; from CAMOverlayLib.cli import output\n"
        "with output.finished_folders([output.Output(Path(sys.argv[1]), ())]) as (folder,):\n"
        "    print(folder, flush=True); time.sleep(100)\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=HERE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        dead, alive = (type(tmp_path)(run.stdout.readline().strip()) for run in runs)
        runs[0].kill()
        runs[0].wait()
        long_ago = time.time() - 3600
        for folder in (dead, alive):
            os.utime(folder / outputs.LOCK, (long_ago, long_ago))
        with outputs.finished_folders([outputs.Output(tmp_path, ())]):
            assert not dead.exists() and alive.exists()
    finally:
        for run in runs:
            run.kill()
            run.wait()


# What is said -------------------------------------------------------------------------------------------------------


def test_only_a_full_disk_is_told_as_one(tmp_path):
    full = outputs.told(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert isinstance(full, OutputError) and "Free some disk space" in str(full)
    other = outputs.told(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "model.pt")), tmp_path)
    assert "model.pt' cannot be used: Permission denied" in str(other) and "disk space" not in str(other)


@pytest.mark.parametrize("what", ["sys.exit(0)", "sys.exit(3)", "raise SystemExit"])
def test_code_of_a_model_that_ends_the_program_is_an_error(make_bundle, tmp_path, head, capfd, what):
    bundle = make_bundle()
    (bundle / "scripts").mkdir()
    (bundle / "scripts/__init__.py").write_text(f"import sys\n\n\ndef end(x):\n    {what}\n")
    config = bundle / "configs/inference.json"
    config.write_text(
        config.read_text().replace(
            '{\n        "_target_": "NormalizeIntensityd"',
            '{"_target_": "Lambdad", "keys": "image", '
            '"func": "$__import__(\'scripts\').end"},\n      {\n        "_target_": "NormalizeIntensityd"',
        )
    )
    assert "Lambdad" in config.read_text()
    code, out, lines = said(capfd, "explain", head, "--bundle", bundle, "--trust", "--output", tmp_path / "out")
    assert code == 2 and out == "" and len(lines) == 1 and not (tmp_path / "out").exists()
    assert "ended the program" in lines[0]


@pytest.mark.parametrize("encoding", ["ascii", SLOW("cp437"), SLOW("shift_jis"), SLOW("cp1252")])
@pytest.mark.slow
def test_any_encoding_of_the_terminal(make_bundle, encoding):
    bundle = make_bundle(classes=("gesund", "Läsion 脳", "√"))
    run = subprocess.run(
        [*COMMAND, "inspect", "--bundle", str(bundle)], env=HERE | {"PYTHONIOENCODING": encoding}, capture_output=True
    )
    assert run.returncode == 0 and run.stderr == b"" and b"gesund" in run.stdout


def test_a_reader_that_goes_away_and_streams_that_are_closed(make_bundle, zygote):
    arguments = f"-m CAMOverlayLib inspect --bundle {make_bundle()}"
    inspect, quick = f"{sys.executable} {arguments}", f"{zygote.python} {arguments}"
    piped = subprocess.run(
        ["bash", "-c", f"{{ sleep 0.5; exec {quick}; }} | true; echo ${{PIPESTATUS[0]}}"],
        env=HERE,
        capture_output=True,
        text=True,
    )
    assert piped.stdout.strip() == str(terminal.PIPE_CLOSED) and piped.stderr == ""
    closed = subprocess.run(["bash", "-c", f"{inspect} 2>&-"], env=HERE, capture_output=True, text=True)
    assert closed.returncode == 0 and "lesion" in closed.stdout
    if os.path.exists("/dev/full"):
        full = subprocess.run(["bash", "-c", f"{quick} > /dev/full"], env=HERE, capture_output=True, text=True)
        assert full.returncode == 2 and "cannot be printed" in full.stderr and len(full.stderr.splitlines()) == 1


def test_anything_else_is_one_line_and_the_traceback_is_there_on_request(capfd, monkeypatch):
    def fails():
        raise KeyError("x\ny")

    assert terminal.guarded(fails) == 2
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1 and "KeyError" in err and terminal.DEBUG in err
    monkeypatch.setenv(terminal.DEBUG, "1")
    assert terminal.guarded(fails) == 2 and "Traceback" in capfd.readouterr().err


def test_a_setting_is_named_as_the_command_line_calls_it():
    assert terminal.in_options(UntrustedBundleError("It runs code.")) == "It runs code. Say so with --trust."
    assert "--device" in terminal.in_options(DeviceError("Device 'cuda' does not exist.", setting="device"))
    assert terminal.in_options(CAMOverlayError("Plain.")) == "Plain."


def test_the_computation_names_no_option_of_any_program():
    """Each face says in its own words what a setting is called there."""
    import ast
    import re

    library = REPOSITORY / "CAMOverlay/CAMOverlayLib"
    writer = library / "engine/bundle/writer.py"  # its read-me says how to use a bundle with the command line
    for path in [*library.glob("engine/**/*.py"), *library.glob("contract/*.py"), library / "logic.py"]:
        if path == writer:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"(?<![\w-])--[a-z]", node.value), (path.name, node.lineno, node.value)
