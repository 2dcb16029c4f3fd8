"""A process on another machine: the real ``ssh`` to a server on the loopback address (see ``ssh_server``)."""

from __future__ import annotations

import dataclasses
import filecmp
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import venv
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support import SLOW
from worker.helpers import explain, fails, gone, vanishes, wait_for_stage, wrapper
from worker.ssh_server import children
from worker.test_cancel import FOR_EVER, cancelled_in

from CAMOverlayLib.contract.bundle_content import ContentHash, content_hash
from CAMOverlayLib.contract.errors import BundleError, OutputError, UntrustedBundleError, WorkerError
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.worker.client import Worker
from CAMOverlayLib.worker.interpreter import LIBRARY
from CAMOverlayLib.worker.protocol import Beat, Messages, Piece, ProtocolError, encode
from CAMOverlayLib.worker.remote import shipment
from CAMOverlayLib.worker.remote.code import code
from CAMOverlayLib.worker.remote.parcel import Parcel
from CAMOverlayLib.worker.remote.place import place_of
from CAMOverlayLib.worker.remote.shelf import Shelf
from CAMOverlayLib.worker.remote.shipment import Shipment
from CAMOverlayLib.worker.remote.stream import Arriving, parts_of, pieces
from CAMOverlayLib.worker.transport import PipeTransport

# Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "login", "port", "path"),
    [
        ("ssh://gpu-box/opt/env", "gpu-box", None, "/opt/env"),
        ("ssh://me@10.0.0.7:2222/opt/env/", "me@10.0.0.7", 2222, "/opt/env"),
        ("SSH://me@gpu.example.org/~/env s/bin/python", "me@gpu.example.org", None, "~/env s/bin/python"),
        ("ssh://[fe80::1%eth0]:22/opt/my%20env", "fe80::1%eth0", 22, "/opt/my env"),
    ],
)
def test_a_place_is_named_as_an_address(given, login, port, path):
    place = place_of(given)
    assert (place.login, place.port, place.path) == (login, port, path)
    assert Worker(given)._python == given  # and is not taken for a path of this computer


@pytest.mark.parametrize("given", [None, "", "/opt/env", "python3", Path("env")])
def test_any_other_name_is_of_this_computer(given):
    assert place_of(given) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("ssh://gpu-box", "says no place on gpu-box"),
        ("ssh://gpu-box/", "says no place on gpu-box"),
        ("ssh:///opt/env", "names no Python on another machine"),
        ("ssh://me@@gpu-box/opt/env", "names no Python on another machine"),
        ("ssh://gpu-box:99999/opt/env", "ports go from 1 to 65535"),
        ("ssh://me:secret@gpu-box/opt/env", "A password does not belong"),
        ("ssh://-oProxyCommand=touch%20x/opt/env", "may begin with a hyphen"),
        ("ssh://-l@gpu-box/opt/env", "may begin with a hyphen"),
        ("ssh://gpu-box/opt/%0Aenv", "says no place on gpu-box"),
    ],
)
def test_what_is_none_is_said_before_anything_starts(given, words):
    worker = Worker(given, transport=PipeTransport())
    with pytest.raises(WorkerError, match=words) as caught:
        worker.call("versions", {})
    assert worker.pid == 0 and "secret" not in str(caught.value)


def test_without_ssh_on_this_computer(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WorkerError, match="Install OpenSSH"):
        Worker("ssh://gpu-box/opt/env", transport=PipeTransport()).start()


def test_a_model_on_another_machine_needs_that_machine(worker, ask):
    run = explain(worker, ask("ssh:/data/model"))
    fails(run, "'ssh:/data/model' is a model on another machine", kind=BundleError)


# Files on their way -----------------------------------------------------------------------------------------------


def sent(path, name="out/a.npy"):
    return list(pieces("1", name, path))


@pytest.mark.parametrize("size", [0, 1, 300_000, 2_000_001])
def test_a_file_arrives_as_it_was_whatever_the_pieces_of_the_stream(tmp_path, size):
    path = tmp_path / "from"
    path.write_bytes(np.random.default_rng(0).bytes(size))
    stream = b"".join(encode(piece) + content + encode(Beat()) for piece, content, _count in sent(path))
    messages, arriving, whole = Messages(), Arriving(tmp_path / "to" / "file"), False
    for start in range(0, len(stream), 65_521):
        for message, content in messages.feed(stream[start : start + 65_521]):
            if isinstance(message, Piece):
                assert not whole and not (tmp_path / "to" / "file").exists()
                whole = arriving.take(message, content)
    assert whole and filecmp.cmp(path, tmp_path / "to" / "file", shallow=False) and not messages.rest()
    assert os.listdir(tmp_path / "to") == ["file"]


def test_a_file_is_absent_unless_it_is_complete(tmp_path):
    path, place = tmp_path / "from", tmp_path / "to" / "file"
    path.write_bytes(np.random.default_rng(0).bytes(1_000_000))
    (first, content, _count), *_rest = sent(path)
    spoilt = [
        (dataclasses.replace(first, last=True), content),
        (dataclasses.replace(first, length=1000), content),
        (first, content[:5] + bytes(len(content) - 5)),
        (dataclasses.replace(first, length=1000, last=True), zlib.compress(bytes(1 << 26))),  # 64 MB out of 64 kB
    ]
    for piece, data in spoilt:
        arriving = Arriving(place)
        with pytest.raises(ProtocolError):
            arriving.take(piece, data)
        arriving.close()
        assert os.listdir(place.parent) == []


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../a", "out/../../a", "out//a", "out/./a", "out/a\0b"])
def test_a_name_on_the_way_leads_down_only(name):
    with pytest.raises(ProtocolError):
        parts_of(name)


def test_what_is_sent_computes_and_nothing_else_does(tmp_path):
    """The files that are sent are all that the worker imports of this package."""
    import json
    import subprocess

    _name, data = code()
    assert data.startswith(b"%d\n" % (len(data) - data.index(b"\n") - 1))
    for path, text in json.loads(zlib.decompress(data.partition(b"\n")[2])).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    rooms = sorted(path.name for path in (tmp_path / "CAMOverlayLib").iterdir())
    assert rooms == ["__init__.py", "contract", "engine", "reading", "worker"]
    program = "import CAMOverlayLib, CAMOverlayLib.worker.server; print(CAMOverlayLib.__file__)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith(str(tmp_path)), done.stderr


@pytest.mark.parametrize("version", [(2, 7), (3, 6)])
def test_an_old_python_over_there_says_so(version):
    """In a grammar that it can read, and before it needs anything that it lacks."""
    import ast
    import subprocess

    source = (LIBRARY / "CAMOverlayLib/worker/remote/boot.py").read_text(encoding="ascii")
    if version >= (3, 6):
        ast.parse(source, feature_version=version)
    program = f"import sys; sys.version_info = {(*version, 0)}; exec({source!r})"
    settings = b'{"code": "0", "hang_after": 1}\n'
    done = subprocess.run([sys.executable, "-c", program], input=settings, capture_output=True)
    assert done.returncode == 1 and b"is version %d.%d; 3.10 or later is needed" % version in done.stdout


# A server ---------------------------------------------------------------------------------------------------------


def without_time(value):
    """A result as plain values, without seconds, addresses in memory, and the folder in which its arrays lie."""
    if isinstance(value, dict):
        return {k: without_time(v) for k, v in value.items() if k not in ("seconds", "timings")}
    if isinstance(value, (list, tuple)):
        return [without_time(one) for one in value]
    if isinstance(value, str):  # parameters of transforms may be objects, which have addresses
        return re.sub(r" at 0x[0-9a-f]+>", ">", os.path.basename(value) if value.endswith(".npy") else value)
    return value


def differences(one, other, where=""):
    if type(one) is type(other) and isinstance(one, (dict, list)) and len(one) == len(other):
        for key in one if isinstance(one, dict) else range(len(one)):
            yield from differences(one[key], other[key], f"{where}.{key}")
    elif one != other:
        yield where, one, other


def run_folder(server) -> list[str]:
    """What a connection keeps over there between two runs."""
    (folder,) = server.left()
    return sorted(os.listdir(server.far / "tmp" / folder))


@pytest.fixture
def full(ask, fault_bundle, tmp_path):
    """A function that makes a request with every kind of file in it."""
    labels = np.zeros((24, 20, 16), np.uint8)
    labels[4:12, 4:12, 4:12], labels[14:20, 4:12, 4:12] = 1, 2
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([1, 1, 2, 1])), tmp_path / "labels.nii.gz")
    bundle = fault_bundle()
    structures = (f"one,two={tmp_path / 'labels.nii.gz'}",)

    def make(name, **options):
        steps = tmp_path / f"steps-{name}"
        steps.mkdir()
        return ask(options.pop("bundle", bundle), structures=structures, intermediates_folder=str(steps), **options)

    return make


def same_here_and_there(here, there, own, result):
    """All that is said, and every byte of every array that was written."""
    assert list(differences(without_time(result.to_dict()), without_time(own.to_dict()))) == []
    for one, other in ((here.output_folder, there.output_folder),
                       (here.intermediates_folder, there.intermediates_folder)):  # fmt: skip
        names = sorted(os.listdir(one))
        assert names and names == sorted(os.listdir(other))
        assert filecmp.cmpfiles(one, other, names, shallow=False)[0] == names
    assert result.heatmap.path == os.path.join(there.output_folder, "heatmap.npy")


SEGMENTER = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
}


def test_the_result_is_that_of_this_computer(far, server, full, worker, make_bundle, tmp_path):
    """With all that can be sent and come back: structures, a mask, further volumes, every step's volume."""
    bundle, mask = make_bundle(network=SEGMENTER), f"lesion@mask={tmp_path / 'labels.nii.gz'}"
    asked = {"bundle": bundle, "also": ("probability", "entropy"), "target": mask}
    here, there = (full(name, **asked) for name in ("here", "there"))
    own, stages = worker.explain(here).wait(60), []
    result = far.explain(there, on_progress=lambda progress: stages.append(progress.stage)).wait(60)
    same_here_and_there(here, there, own, result)
    assert result.provenance.target == mask and len(result.structures) == 2
    assert len(result.further) == 2 and {"send", "forward", "fetch"} <= set(stages)
    assert run_folder(server) == ["lock", "tmp"] and far.pid == far._transport.pid != far.hello.pid


@pytest.mark.slow
def test_a_real_start_over_there_where_nothing_of_this_package_lies(server, full, worker):
    here, there = full("here"), full("there")
    own = worker.explain(here).wait(60)
    shutil.rmtree(server.far / "cache", ignore_errors=True)
    with Worker(server.url(sys.prefix), transport=PipeTransport()) as far:
        result = far.explain(there).wait(120)
        environment = Path(f"/proc/{far.hello.pid}/environ").read_bytes().split(b"\0")
        assert f"PYTHONPATH={server.far}/cache/cam-overlay/code/{code()[0]}".encode() in environment
    same_here_and_there(here, there, own, result)
    cache = server.far / "cache" / "cam-overlay"
    assert os.listdir(cache / "code") == [code()[0]]
    (model,) = os.listdir(cache / "models")
    assert model == content_hash(Path(there.model.path)) == result.provenance.content_hash


@pytest.mark.slow
def test_the_commands_computation(server, python, ask, fault_bundle):
    """What ``--python`` names: this process, another Python, and one on another machine, whose process is gone then."""
    from CAMOverlayLib.cli.computation import computation
    from CAMOverlayLib.logic import computeHere

    request, stages = ask(fault_bundle()), []
    with computation(None, request.model) as compute:
        assert compute is computeHere
    with computation(server.url(python), request.model) as compute:
        result = compute(request, lambda progress: stages.append(progress.stage))
    assert np.load(result.heatmap.path).max() == 1 and {"send", "fetch"} <= set(stages)
    assert gone(lambda: not server.left())
    with (
        pytest.raises(WorkerError, match="There is no '/no/env' on 127"),
        computation(server.url("/no/env"), request.model) as compute,
    ):
        compute(request, lambda progress: None)


@pytest.mark.slow
def test_the_command_line_computes_there_too(server, python, ask, fault_bundle, tmp_path, capfd):
    """Here, in another Python, and on another machine, with a model that is sent and one that lies there."""
    from CAMOverlayLib.cli.main import main

    bundle = fault_bundle()
    voxels = np.random.default_rng(0).normal(100, 20, (24, 20, 16)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 2, 1])), tmp_path / "v.nii.gz")
    maps = {}
    for name, words in {
        "own": ["--model", bundle],
        "another": ["--model", bundle, "--python", sys.prefix],
        "there": ["--model", bundle, "--python", server.url(python)],
        "lies there": ["--model", f"ssh:{bundle}", "--python", server.url(python)],
    }.items():
        out = tmp_path / name
        asked = ["explain", tmp_path / "v.nii.gz", *words, "--output", out, "--trust", "--report", "none"]
        assert main(list(map(str, asked))) == 0, capfd.readouterr().err
        maps[name] = np.asarray(nibabel.load(out / "heatmap.nii.gz").dataobj)
        assert sorted(os.listdir(out)) == ["findings.csv", "heatmap.nii.gz", "overlay.png", "report.json", "scene.mrb"]
    assert maps["own"].max() == 1
    for name in ("another", "there", "lies there"):
        np.testing.assert_array_equal(maps["own"], maps[name])
    capfd.readouterr()
    for python, words in ((server.url("/no/env"), "There is no '/no/env' on 127.0.0.1"), ("/no/env", "does not exist")):
        asked = ["explain", tmp_path / "v.nii.gz", "--model", bundle, "--output", tmp_path / "no", "--python", python]
        assert main(list(map(str, asked))) == 2
        assert words in capfd.readouterr().err and not (tmp_path / "no").exists()


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """A function that runs ``cam-overlay`` and returns what it printed; it leaves nothing among the temporary files."""
    from CAMOverlayLib.cli.main import main
    from CAMOverlayLib.scene import core

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def run(*words) -> str:
        core.ensureScene().Clear(0)  # a process that runs one command has an empty one
        capfd.readouterr()
        code = main(list(map(str, words)))
        seen = capfd.readouterr()
        assert code == 0, seen.err
        assert os.listdir(tmp_path / "temporary") == []
        return seen.out

    return run


@pytest.mark.slow
def test_a_comparison_is_the_same_there(server, python, fault_bundle, tmp_path, command):
    """Of classes and of models, with one that is sent and one that lies there: every map, and all that is said."""
    bundle, other, url = fault_bundle(), fault_bundle(), server.url(python)
    voxels = np.random.default_rng(0).normal(100, 20, (24, 20, 16)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 2, 1])), tmp_path / "v.nii.gz")
    classes, models = ["--targets", "0,1", "--one-scale"], ["--model", other]

    def compared(name, *words):
        out = tmp_path / name
        said = command("compare", tmp_path / "v.nii.gz", *words, "--output", out, "--trust", "--checks", "none")
        assert gone(lambda: not server.left()), server.left()
        told = json.loads((out / "compare.json").read_text())
        maps = {path.name: path.read_bytes() for path in sorted(out.glob("*.nii.gz"))}
        assert len(told["items"]) == 2 and len(maps) == 4 and not told["not_explained"]
        return said.replace(str(out), "OUT"), without_time(told), maps

    for what in (models, classes):
        said, told, maps = compared(f"own{what[0]}", "--model", bundle, *what)
        again, same, copied = compared(f"there{what[0]}", "--model", bundle, *what, "--python", url)
        assert again == said and copied == maps and list(differences(same, told)) == []
    again, _told, used = compared("lies there", "--model", f"ssh:{bundle}", *classes, "--python", url)
    assert again == said and used == maps


@pytest.mark.slow
def test_an_inspection_is_the_same_there(server, python, fault_bundle, command):
    """Trusted or not, with a model that is sent and one that lies there; and of a network without a bundle."""
    url, network = server.url(python), json.dumps({name: SEGMENTER[name] for name in SEGMENTER if name != "_target_"})
    bundle = fault_bundle()
    for trust in (["--trust"], []):
        own = command("inspect", "--model", bundle, *trust)
        assert ("transforms" in own and "layers, for an input" in own) if trust else "would run" in own
        for model in (bundle, f"ssh:{bundle}"):
            assert command("inspect", "--model", model, *trust, "--python", url) == own
            assert gone(lambda: not server.left()), server.left()
    words = ["inspect", "--network", "UNet", "--network-args", network, "--random-weights"]
    assert command(*words, "--python", url) == command(*words)


@pytest.mark.slow
def test_what_is_wrong_there_is_said_of_every_command(server, python, fault_bundle, tmp_path, capfd):
    from CAMOverlayLib.cli.main import main

    bundle, url = fault_bundle(), server.url(python)
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)), tmp_path / "v.nii.gz")
    compare = ["compare", tmp_path / "v.nii.gz", "--targets", "0,1", "--output", tmp_path / "no", "--trust"]
    for command in (compare, ["inspect", "--trust"]):
        for model, place, words in (
            (bundle, server.url("/no/env"), "There is no '/no/env' on 127.0.0.1"),
            ("ssh:/no/model", url, "ssh:/no/model"),
            (f"ssh:{bundle}", None, f"'ssh:{bundle}' is a model on another machine"),
        ):
            asked = [*command, "--model", model, *(["--python", place] if place else [])]
            assert main(list(map(str, asked))) == 2
            seen = capfd.readouterr()
            assert words in seen.err and not (tmp_path / "no").exists() and seen.out == "", seen


@pytest.mark.slow
def test_a_model_is_sent_once_and_the_process_stays_warm(far, server, full):
    first, second = full("a"), full("b", bundle=full("c").model.path)
    far.explain(first).wait(60)
    cached = server.far / "cache/cam-overlay/models" / content_hash(Path(first.model.path))
    (before,) = [path.stat().st_mtime_ns for path in cached.iterdir()]
    pid, seen = far.pid, []
    far.explain(second, on_progress=lambda progress: seen.append(progress.message)).wait(60)
    assert far.pid == pid and [path.stat().st_mtime_ns for path in cached.iterdir()] == [before]
    assert run_folder(server) == ["lock", "tmp"]


@pytest.mark.slow
def test_another_model_gets_another_process_unasked(far, ask, fault_bundle):
    explain(far, ask(fault_bundle())).wait(60)
    pid = far.pid
    other = ask(fault_bundle(classes=("a", "b", "c")))
    assert explain(far, other).wait(60).prediction.classes == ("a", "b", "c")
    assert far.pid != pid


@pytest.mark.slow
def test_trust_is_in_a_content_there_as_here(far, server, ask, fault_bundle):
    bundle = fault_bundle()
    trusted = content_hash(bundle)
    explain(far, ask(bundle, trust=False, trusted_hash=trusted)).wait(60)
    run = explain(far, ask(bundle, trust=False, trusted_hash="0" * 64))
    fails(run, str(bundle), kind=UntrustedBundleError)
    run = explain(far, ask(bundle, trust=False))
    message = fails(run, kind=UntrustedBundleError)
    assert "cam-overlay://" not in message and str(server.far) not in message


@pytest.mark.slow
def test_links_become_files_and_trust_follows_the_content(far, ask, fault_bundle, tmp_path):
    bundle = fault_bundle()
    weights = tmp_path / "weights.pt"
    shutil.move(bundle / "models/model.pt", weights)
    (bundle / "models/model.pt").symlink_to(weights)
    own = content_hash(bundle)
    copied = ContentHash(bundle, copied=True)
    assert list(copied.steps()) is not None and copied.value != own
    result = explain(far, ask(bundle, trust=False, trusted_hash=own)).wait(60)
    assert result.provenance.content_hash == own
    assert result.provenance.model == ModelSource(str(bundle), False, own)
    assert result.bundle == str(bundle)


@pytest.mark.slow
def test_a_model_that_lies_there_is_used_where_it_lies(far, server, ask, fault_bundle):
    there = server.far / "models" / "mine"
    shutil.copytree(fault_bundle(), there, dirs_exist_ok=True)
    result = explain(far, ask(f"ssh:{there}")).wait(60)
    assert result.bundle == f"ssh:{there}" == result.provenance.model.path
    message = fails(explain(far, ask("ssh:/no/such/model")), "ssh:/no/such/model", kind=BundleError)
    assert "'/no" not in message


def test_a_model_that_is_nowhere(far, ask):
    fails(explain(far, ask("/no/such/bundle")), "'/no/such/bundle' does not exist", "ssh:/path", kind=BundleError)


# Cancelled --------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(ask, export, fault_bundle, monkeypatch):
    """A request whose volume takes a while to send, whatever compresses it."""
    monkeypatch.setattr(shipment, "WINDOW", 64 << 10)
    array = np.random.default_rng(0).integers(-32000, 32000, (128, 128, 96), np.int16)
    return ask(fault_bundle(), volumes=(export(array, np.eye(4), "large"),))


def fetching(far, server, ask, fault_bundle, tmp_path):
    """A run that has much to send back."""
    (tmp_path / "steps").mkdir()
    run = explain(far, ask(fault_bundle({"what": "sleep", "value": 0.5}), intermediates_folder=str(tmp_path / "steps")))
    wait_for_stage(run, "preprocess")
    (folder,) = server.left()
    (place,) = (server.far / "tmp" / folder).glob("run-*/steps")
    (place / "zz.nii.gz").write_bytes(np.random.default_rng(0).bytes(24_000_000))
    return run


@pytest.fixture
def at(far, server, ask, fault_bundle, large, tmp_path):
    """A function that returns a run that is at a stage, and stays there long enough."""

    def run_at(stage):
        if stage == "fetch":
            run = fetching(far, server, ask, fault_bundle, tmp_path)
        elif stage == "send":
            run = explain(far, large)
        elif stage == "preprocess":
            run = explain(far, ask(fault_bundle({"what": "sleep", "value": FOR_EVER})))
        else:
            network = {"_target_": "scripts.faults.sleepy_network", stage: FOR_EVER}
            run = explain(far, ask(fault_bundle(network=network), layer="0"))
        wait_for_stage(run, stage)
        return run

    return run_at


def nothing_is_here(run, tmp_path) -> bool:
    """Neither the run's folder nor anything in that of its steps."""
    return not any(map(os.path.exists, run.call.folders)) and not list(tmp_path.glob("steps/*"))


@pytest.mark.parametrize("stage", ["send", SLOW("preprocess"), "forward", SLOW("fetch")])
def test_cancel_is_heard_within_a_second(far, server, at, tmp_path, stage):
    run = at(stage)
    seconds = cancelled_in(run)
    print(f"cancel latency over there, {stage}: {seconds:.3f} s")
    assert seconds < 1 and run.state == "cancelled" and nothing_is_here(run, tmp_path)
    if far.pid:  # still warm: what was under way belongs to nobody, and is gone
        assert gone(lambda: run_folder(server) == ["lock", "tmp"])
        far.call("versions", {}).wait(60)
    else:
        assert gone(lambda: not server.left())


# Broken -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["send", SLOW("preprocess"), SLOW("forward"), "backward", "fetch"])
def test_a_connection_cut_is_a_failed_run_with_its_reason(far, server, at, tmp_path, stage):
    run = at(stage)
    pids = far.hello.pid, far.pid
    server.cut()
    message = fails(run, "The connection to 127.0.0.1 broke", "Apply starts a new one")
    assert far.log.strip().splitlines()[-1].strip(". \r") in message.splitlines()[0]  # ssh's own last words
    assert all(map(vanishes, pids)) and nothing_is_here(run, tmp_path)
    assert gone(lambda: not server.left())


@pytest.mark.slow
def test_cut_between_two_runs_is_mended_unasked(far, server, ask, fault_bundle):
    bundle, pid = fault_bundle(), far.hello.pid
    explain(far, ask(bundle)).wait(60)
    server.cut()
    assert vanishes(pid)
    explain(far, ask(bundle)).wait(60)


@pytest.mark.slow
def test_cut_at_the_start(server, python):
    with Worker(server.url(wrapper(server.far / "slow", "sleep 30")), transport=PipeTransport()) as worker:
        run = worker.call("versions", {})
        if server.sshd:
            assert gone(lambda: any(children(pid) for pid in children(server._process.pid)))
        else:
            time.sleep(1.0)
        server.cut()
        fails(run, "There is no connection to 127.0.0.1", "closed", "Try 'ssh -p")


@pytest.mark.slow
def test_killed_over_there(far, server, ask, fault_bundle):
    """As systems do when memory runs out: the process that waits for it removes what it had."""
    run = explain(far, ask(fault_bundle({"what": "sleep", "value": FOR_EVER})))
    wait_for_stage(run, "preprocess")
    os.kill(far.hello.pid, signal.SIGKILL)
    fails(run, "killed (signal 9)")
    assert gone(lambda: not server.left())


@pytest.mark.slow
def test_the_user_ends_and_nothing_stays(far, server, large):
    run = explain(far, large)
    wait_for_stage(run, "send")
    pid = far.hello.pid
    os.kill(far.pid, signal.SIGKILL)  # and with it its input, as when this program is killed
    assert vanishes(pid) and gone(lambda: not server.left())
    run.cancel()
    far.stop()


@pytest.mark.slow
def test_what_a_power_cut_left_goes_with_the_next_connection(server, python):
    left = server.far / "tmp" / "cam-overlay-left"
    (left / "run-1").mkdir(parents=True)
    (left / "lock").touch()
    other = server.far / "tmp" / "cam-overlay-not-a-connection"
    other.mkdir()
    with Worker(server.url(python), transport=PipeTransport()) as worker:
        worker.call("versions", {}).wait(60)
        assert not left.exists() and other.exists()
        with Worker(server.url(python), transport=PipeTransport()) as second:  # which leaves the first one's alone
            second.call("versions", {}).wait(60)
            assert len(server.left()) == 3
        worker.call("versions", {}).wait(60)
    other.rmdir()


@pytest.mark.slow
def test_no_room_over_there(far, server, large):
    """The run fails with the reason of the far side, and the process stays."""
    (folder,) = server.left()
    (server.far / "tmp" / folder / "run-2").write_text("a file where a folder should be made")
    fails(explain(far, large), "The other machine cannot keep", "TMPDIR", kind=OutputError)
    far.call("versions", {}).wait(60)


def test_a_slow_line_does_not_hold_this_side():
    """What is written to a process that does not read waits elsewhere."""
    transport = PipeTransport()

    class Nobody:
        def on_exit(self, end): ...

        on_output = on_log = on_exit

        def on_tick(self): ...

    transport.start(["/bin/sleep", "30"], dict(os.environ), "/", Nobody())
    transport.write(bytes(8 << 20))  # far more than a pipe holds: this returns
    transport.kill()
    transport.join(5)
    assert transport.pid == 0


def test_nobody_who_answers_may_write_elsewhere(tmp_path):
    ship = Shipment(None, Parcel(folders={"out": str(tmp_path)}), "h", write=None, later=None, report=None, failed=None)
    for name in ("out/../a", "steps/a", "out/.a", "out/a/b", "elsewhere/a", "/a"):
        with pytest.raises(ProtocolError):
            ship.take(Piece("1", name, 0, 0, last=True), b"")
    shelf = Shelf(str(tmp_path / "far"), str(tmp_path / "cache"))
    with pytest.raises(ProtocolError):
        shelf.take(Piece("1", "../../a", 0, 0, last=True), b"")
    assert os.listdir(tmp_path) == []


# What is wrong with a connection ----------------------------------------------------------------------------------


def asked(server, url, *words):
    with Worker(url, transport=PipeTransport(), start_within=60) as worker:
        message = fails(worker.call("versions", {}), *words)
        assert worker.pid == 0 and len(message.splitlines()[0]) < 500
    return message


def test_a_host_key_that_is_another_one_is_refused(server, python):
    server.know("other")
    try:
        asked(server, server.url(python), "The key of 127.0.0.1 is not the one that is known from before")
    finally:
        server.know("host")


@pytest.mark.slow
def test_a_host_that_is_not_known_is_refused(server, python):
    server.known.write_text("")
    try:
        asked(server, server.url(python), "is not among the hosts that ssh knows", "Connect once with 'ssh -p")
        assert server.known.read_text() == ""
    finally:
        server.know("host")


@pytest.mark.slow
def test_a_login_that_is_refused(server, python):
    (server.folder / "authorized").rename(server.folder / "kept")
    shutil.copy(server.folder / "other.pub", server.folder / "authorized")
    try:
        if not server.sshd:  # which reads it once
            server.cut()
        asked(server, server.url(python), "127.0.0.1 refused the login", "Permission denied", "ssh-copy-id")
    finally:
        (server.folder / "kept").rename(server.folder / "authorized")
        if not server.sshd:
            server.cut()


@pytest.mark.slow
def test_a_machine_that_is_not_there(server):
    asked(server, "ssh://127.0.0.1:1/opt/env", "127.0.0.1 cannot be reached", "Connection refused")
    asked(server, "ssh://no-such-machine.invalid/opt/env", "There is no machine 'no-such-machine.invalid'")


def test_an_environment_that_is_not_there(server):
    asked(server, server.url("/no/such/env"), "There is no '/no/such/env' on 127.0.0.1", "Name a Python interpreter")
    asked(server, server.url("/usr/share"), "'/usr/share' on 127.0.0.1 is no Python that can be started")
    name = 'it\'s "$HOME" `x` env'
    asked(server, server.url(f"/no/{name}"), f"There is no '/no/{name}' on 127.0.0.1")


@pytest.mark.slow
def test_something_that_is_no_python(server):
    asked(server, server.url("/bin/ls"), "ended with exit code 2 before it answered; it may be no Python")


@pytest.mark.slow
def test_packages_that_are_missing_there(server, tmp_path):
    venv.create(tmp_path / "bare", symlinks=True, with_pip=False)
    python = tmp_path / "bare" / "bin" / "python"
    asked(server, server.url(tmp_path / "bare"), "127.0.0.1: The Python", "lacks numpy, torch, monai and nibabel",
          f"'{python} -m pip install")  # fmt: skip


@pytest.mark.slow
def test_a_name_of_the_users_own_configuration(server):
    asked(server, "ssh://gpu-box/no/such/env", "There is no '/no/such/env' on gpu-box")


@pytest.mark.slow
def test_a_greeting_over_there_is_no_obstacle(server, zygote, python):
    greeting = wrapper(server.far / "greets", "echo Welcome to the cluster", f'exec "{python}" "$@"')
    with Worker(server.url(greeting), transport=PipeTransport()) as worker:
        worker.call("versions", {}).wait(60)
        assert "Welcome to the cluster" in worker.log
