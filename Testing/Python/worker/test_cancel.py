"""Cancel and a sudden end at every stage of a run: what blocks there is a pipe nobody reads, a sleep, or the
processor."""

from __future__ import annotations

import dataclasses
import os
import time

import pytest
from worker.helpers import exists, explain, fails, nothing_is_left, vanishes, wait_for_stage

from CAMOverlayLib.contract.errors import Cancelled

FOR_EVER = 600


def block_volume(fault_bundle, ask):
    request = ask(fault_bundle())
    pipe = request.output_folder + ".volume"
    os.mkfifo(pipe)
    return dataclasses.replace(request, volumes=(dataclasses.replace(request.volumes[0], path=pipe),))


def block_bundle(fault_bundle, ask):
    return ask(fault_bundle(config={"network_def": f"$__import__('time').sleep({FOR_EVER})"}))


def block_preprocess(fault_bundle, ask):
    return ask(fault_bundle({"what": "sleep", "value": FOR_EVER}))


def block_preprocess_in_cpp(fault_bundle, ask):
    return ask(fault_bundle({"what": "busy in C++", "value": FOR_EVER}))


def block_preprocess_holding_the_interpreter(fault_bundle, ask):
    return ask(fault_bundle({"what": "hold the interpreter"}))


def block_forward(fault_bundle, ask):
    return ask(fault_bundle(network={"_target_": "scripts.faults.sleepy_network", "forward": FOR_EVER}))


def block_backward(fault_bundle, ask):
    return ask(fault_bundle(network={"_target_": "scripts.faults.sleepy_network", "backward": FOR_EVER}), layer="0")


def block_inverse(fault_bundle, ask):
    step = {"_target_": "scripts.faults.SleepyInverse", "keys": "image", "seconds": FOR_EVER}
    return ask(fault_bundle(step), inverse="operations")


def block_write(fault_bundle, ask):
    request = ask(fault_bundle())
    os.mkfifo(os.path.join(request.output_folder, "heatmap.npy"))
    return request


STAGES = {
    "volume": block_volume,
    "bundle": block_bundle,
    "preprocess": block_preprocess,
    "forward": block_forward,
    "backward": block_backward,
    "inverse": block_inverse,
    "write": block_write,
}
HARDER = {
    "preprocess, busy in C++": block_preprocess_in_cpp,
    "preprocess, holding the interpreter": block_preprocess_holding_the_interpreter,
}


def cancelled_in(run) -> float:
    started = time.monotonic()
    run.cancel()
    with pytest.raises(Cancelled):
        run.wait(10)
    return time.monotonic() - started


@pytest.mark.parametrize("name", STAGES | HARDER)
@pytest.mark.some(5)
def test_cancel_acts_within_a_second(victim, fault_bundle, ask, name):
    request, pid = (STAGES | HARDER)[name](fault_bundle, ask), victim.pid
    run = explain(victim, request)
    wait_for_stage(run, name.split(",")[0])
    time.sleep(0.15)  # well into what blocks
    seconds = cancelled_in(run)
    print(f"cancel latency, {name}: {seconds:.3f} s")
    assert seconds < 1 and run.state == "cancelled"
    assert nothing_is_left(request, pid)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.some(3)
def test_killed_at_every_stage(victim, fault_bundle, ask, stage):
    request, pid = STAGES[stage](fault_bundle, ask), victim.pid
    run = explain(victim, request)
    wait_for_stage(run, stage)
    os.kill(pid, 9)
    fails(run, "it was killed (signal 9), as systems do when memory runs out", "Apply starts a new one")
    assert nothing_is_left(request, pid)
    if stage == "inverse":  # once is enough: starting again takes seconds
        explain(victim, ask(fault_bundle())).wait(60)


def test_cancel_between_two_layers_keeps_the_process_warm(worker, fault_bundle, ask):
    bundle = fault_bundle(network={"_target_": "scripts.faults.sleepy_network", "forward": 0.1, "layers": 10})
    run = explain(worker, ask(bundle))
    wait_for_stage(run, "forward")
    pid = worker.pid
    seconds = cancelled_in(run)
    print(f"cancel latency, forward, between layers: {seconds:.3f} s")
    assert seconds < 0.5
    explain(worker, ask(bundle)).wait(60)
    assert worker.pid == pid


def test_cancel_between_two_transforms_keeps_the_process_warm(worker, fault_bundle, ask):
    bundle = fault_bundle(*[{"what": "sleep", "value": 0.1}] * 15)
    run = explain(worker, ask(bundle))
    wait_for_stage(run, "preprocess")
    pid = worker.pid
    seconds = cancelled_in(run)
    print(f"cancel latency, preprocess, between transforms: {seconds:.3f} s")
    assert seconds < 0.5
    explain(worker, ask(bundle)).wait(60)
    assert worker.pid == pid


def test_cancel_twice_and_after_the_end(worker, fault_bundle, ask):
    run = explain(worker, ask(fault_bundle({"what": "sleep", "value": 0.2})))
    run.cancel()
    assert cancelled_in(run) < 1
    run = explain(worker, ask(fault_bundle()))
    run.wait(60)
    run.cancel()
    assert run.state == "done"


def test_a_cancel_that_crosses_the_answer_is_a_cancel(worker, fault_bundle, ask):
    request = ask(fault_bundle())
    run = explain(worker, request)
    wait_for_stage(run, "preprocess")
    time.sleep(0.5)  # the answer is under way, but was not read
    assert cancelled_in(run) < 1 and not os.path.exists(request.output_folder)
    explain(worker, ask(fault_bundle())).wait(60)


def test_while_the_libraries_load(fault_bundle, ask):
    from CAMOverlayLib.worker.client import Worker

    with Worker() as worker:
        request = ask(fault_bundle())
        run = explain(worker, request)
        assert cancelled_in(run) < 0.1  # at once, and the process goes on starting
        assert worker.pid and not os.path.exists(request.output_folder)
        run = explain(worker, ask(fault_bundle()))
        while worker.hello is None:
            worker._transport.pump(0.01)
        seconds = cancelled_in(run)
        print(f"cancel latency, import: {seconds:.3f} s")
        assert seconds < 0.1
        pid, request = worker.pid, ask(fault_bundle())
        run = explain(worker, request)
        os.kill(pid, 9)
        fails(run, "killed (signal 9)", "while it loaded the libraries")
        assert nothing_is_left(request, pid)


def test_the_end_of_slicer_at_once_also_when_busy_in_cpp(tmp_path, fault_bundle, ask):
    """A process that uses a worker is killed with SIGKILL, as a crash of Slicer would."""
    import subprocess
    import sys
    from pathlib import Path

    request = block_preprocess_in_cpp(fault_bundle, ask)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from CAMOverlayLib.contract.request import Request\n"
        "from CAMOverlayLib.worker.client import Worker\n"
        "def show(progress): print(worker.pid, progress.stage, flush=True)\n"
        "worker, request = Worker(), Request.from_json(sys.argv[2])\n"
        "worker.explain(request, folders=(request.output_folder,), on_progress=show).wait()\n"
    )
    library = Path(__file__).resolve().parents[3] / "CAMOverlay"
    parent = subprocess.Popen(
        [sys.executable, "-c", program, library, request.to_json()], stdout=subprocess.PIPE, text=True
    )
    for line in parent.stdout:
        pid, stage = line.split()
        if stage == "preprocess":
            break
    time.sleep(0.5)
    assert exists(int(pid)) and os.path.exists(request.output_folder)
    started = time.monotonic()
    parent.kill()
    assert vanishes(int(pid), 2) and not os.path.exists(request.output_folder)
    print(f"gone {time.monotonic() - started:.3f} s after Slicer was killed")
    parent.wait()
