"""The same on QProcess, as inside Slicer: signals, a living event loop, and the end of Slicer."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from support import hosted
from worker.helpers import exists, explain, fails, nothing_is_left, vanishes, wait_for_stage, wrapper

from CAMOverlayLib.contract.errors import Cancelled, PlacementError

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(scope="module")
def host():
    with hosted("worker") as host:
        yield host


@pytest.fixture(scope="module")
def qt_worker(host, zygote):
    from CAMOverlayLib.worker.client import Worker
    from CAMOverlayLib.worker.transport import QtTransport

    worker = Worker(zygote.python)
    assert isinstance(worker._transport, QtTransport)
    yield worker
    worker.stop()


@pytest.fixture
def worker(host, qt_worker):
    host.clear()
    qt_worker.call("versions", {}).wait(120)
    yield qt_worker
    host.checkNoErrors()


def test_a_run_needs_nobody_who_waits(host, worker, fault_bundle, ask):
    told, seen = [], []
    request = ask(fault_bundle())
    explain(worker, request, on_result=told.append, on_progress=lambda p: seen.append(p.stage))
    host.wait(lambda: told, 60)
    assert told[0].prediction.classes and "write" in seen and not os.path.exists(request.output_folder)


def test_on_another_machine(host, server, python, fault_bundle, ask, worker):
    """There and back with nobody who waits, then a connection that is cut."""
    from CAMOverlayLib.worker.client import Worker

    far, told, stages = Worker(server.url(python)), [], []
    here, there = ask(fault_bundle()), ask(fault_bundle())
    own = worker.explain(here).wait(60)
    far.explain(there, on_result=told.append, on_progress=lambda p: stages.append(p.stage))
    host.wait(lambda: told, 60)
    np.testing.assert_array_equal(np.load(told[0].heatmap.path), np.load(own.heatmap.path))
    assert {"send", "fetch"} <= set(stages)
    request = ask(fault_bundle({"what": "sleep", "value": 600}))
    run = explain(far, request)
    wait_for_stage(run, "preprocess")
    pids = far.pid, far.hello.pid
    server.cut()
    fails(run, "The connection to 127.0.0.1 broke", "Preprocessing")
    assert all(map(vanishes, pids)) and not os.path.exists(request.output_folder)
    far.stop()


def test_errors_and_the_log_arrive(host, worker, fault_bundle, ask):
    fails(
        explain(worker, ask(fault_bundle({"what": "print", "value": "hello-there"}, {"what": "exit", "value": 3}))),
        "ended the program (sys.exit(3))",
    )
    host.wait(lambda: "hello-there" in worker.log)


@pytest.mark.parametrize(
    "what", [{"what": "sleep", "value": 600}, {"what": "hold the interpreter"}], ids=["sleeping", "busy"]
)
def test_cancel_acts_within_a_second(host, worker, fault_bundle, ask, what):
    request, pid, told = ask(fault_bundle(what)), worker.pid, []
    run = explain(worker, request, on_error=told.append)
    wait_for_stage(run, "preprocess")
    host.idle(0.2)
    started = time.monotonic()
    run.cancel()
    host.wait(lambda: run.ended)
    print(f"cancel latency under Qt: {time.monotonic() - started:.3f} s")
    assert time.monotonic() - started < 1 and [type(e) for e in told] == [Cancelled]
    assert nothing_is_left(request, pid)


def test_a_crash_and_the_next_run(host, worker, fault_bundle, ask):
    request, pid = ask(fault_bundle({"what": "print", "value": "famous-last-words"}, {"what": "kill"})), worker.pid
    fails(explain(worker, request), "killed (signal 9)", "famous-last-words")
    assert nothing_is_left(request, pid)
    request = ask(fault_bundle({"what": "leave", "value": 7}))
    fails(explain(worker, request), "ended with exit code 7 (Preprocessing)")
    explain(worker, ask(fault_bundle())).wait(60)


def test_two_in_a_row_over_a_kill(host, worker, fault_bundle, ask):
    """The first has to be killed, and the second starts in the slot that hears of its end."""
    first = explain(worker, ask(fault_bundle({"what": "sleep", "value": 600})))
    wait_for_stage(first, "preprocess")
    second = explain(worker, ask(fault_bundle()))
    second.wait(60)
    assert first.state == "cancelled"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\x01", "cannot be started"),
        (b"#!/bin/sh\nexit 3\n", "ended with exit code 3"),
        (b"#!/bin/sh\nexec yes\n", "not an answer"),
    ],
    ids=["not a program", "exits at start", "talks rubbish"],
)
def test_wrong_pythons(host, tmp_path, content, words):
    from CAMOverlayLib.worker.client import Worker

    python = wrapper(tmp_path / "python")
    python.write_bytes(content)
    with Worker(python) as worker:
        fails(worker.call("versions", {}), words)


def test_the_event_loop_goes_on_during_a_run(host, worker, fault_bundle, tmp_path, monkeypatch):
    """From start() to the overlay, without export and import; Slicer's window would not notice."""
    import slicer.util

    from CAMOverlayLib.logic import OverlayLogic

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    voxels = np.random.default_rng(0).normal(100, 20, (24, 20, 16)).astype(np.int16)
    volume = slicer.util.addVolumeFromArray(voxels, name="Head")
    logic, told = OverlayLogic(worker=worker), []
    steps = {"what": "busy in C++", "value": 1.0}, *[{"what": "sleep", "value": 0.01}] * 4
    logic.start(volume, fault_bundle(*steps), trust=True, onResult=told.append)
    with host.heartbeat() as beat:
        host.wait(lambda: told, 60)
    print(beat.report())
    # 50 ms is the aim; on a machine that other programs use too, a single longer one says nothing.
    assert sorted(beat.gapsMs)[-3] < 50 and beat.longestGapMs < 500 and told[0].GetName().startswith("Head")
    # process() waits, and Slicer lives on meanwhile.
    bundle = fault_bundle(*steps)  # another, of which nothing is remembered
    with host.heartbeat() as beat:
        assert logic.process(volume, bundle, trust=True) is not None
    print(beat.report())
    assert len(beat.gapsMs) > 50 and sorted(beat.gapsMs)[-3] < 100
    assert not list(tmp_path.glob("CAMOverlay-*"))


def test_the_scene_is_closed_during_a_run(host, worker, fault_bundle):
    import slicer
    import slicer.util

    from CAMOverlayLib.logic import OverlayLogic

    volume = slicer.util.addVolumeFromArray(np.ones((24, 20, 16), np.int16), name="Head")
    run = OverlayLogic(worker=worker).start(volume, fault_bundle({"what": "sleep", "value": 0.4}), trust=True)
    host.wait(lambda: run.progress.stage == "preprocess", 60)
    slicer.mrmlScene.Clear(0)
    fails(run, "'Head' was removed from the scene", kind=PlacementError)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


PROGRAM = """
import os, sys
sys.path[:0] = sys.argv[1:3]
from SlicerHost import start
host = start(mainWindow=False)
from CAMOverlayLib.contract.request import Request
from CAMOverlayLib.worker.client import Worker
request = Request.from_json(sys.argv[3])
worker = Worker()
run = worker.explain(request, folders=(request.output_folder,))
host.wait(lambda: run.progress.stage == "preprocess", 60)
print(worker.pid, flush=True)
if sys.argv[4] == "quits":
    host.stop()
else:
    host.idle(60)
"""


@pytest.mark.parametrize("how", ["quits", "is killed"])
@pytest.mark.some(1)
def test_slicer(fault_bundle, ask, how):
    request = ask(fault_bundle({"what": "busy in C++", "value": 600}))
    paths = [str(Path(__file__).resolve().parents[n] / p) for n, p in ((3, "CAMOverlay"), (3, "Testing"))]
    slicer = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *paths, request.to_json(), how], stdout=subprocess.PIPE, text=True
    )
    pid = int(slicer.stdout.readline())
    if how == "is killed":
        assert exists(pid) and os.path.exists(request.output_folder)
        time.sleep(0.3)
        slicer.kill()
    started = time.monotonic()
    assert vanishes(pid, 2) and slicer.wait(20) is not None and not os.path.exists(request.output_folder)
    print(f"Slicer {how}: gone after {time.monotonic() - started:.3f} s")
