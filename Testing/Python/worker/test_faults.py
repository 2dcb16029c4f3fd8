"""Whatever happens to the process: one clear message, nothing left, and the next run works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from worker.helpers import exists, explain, fails, nothing_is_left, vanishes, wait_for_stage, wrapper

from CAMOverlayLib.contract.errors import CAMOverlayError, Cancelled, DeviceError, OutputError, PreprocessingError
from CAMOverlayLib.worker import client
from CAMOverlayLib.worker.client import Worker
from CAMOverlayLib.worker.protocol import LONGEST_MESSAGE, PROTOCOL


@pytest.fixture
def survives(victim, fault_bundle, ask):
    """A function that runs a faulty bundle, expects its message, and that nothing is left of it."""

    def run(*steps, words, kind=client.WorkerError, **options):
        request, pid = ask(fault_bundle(*steps, **options)), victim.pid
        message = fails(explain(victim, request), *words, kind=kind)
        assert not os.path.exists(request.output_folder)
        return message, pid

    return run


ENDS = {
    "leaves": ({"what": "leave", "value": 7}, "ended with exit code 7 (Preprocessing)"),
    "crashes": ({"what": "crash"}, "ended by signal 11 (SIGSEGV) (Preprocessing)"),
    "kills itself": ({"what": "kill"}, "it was killed (signal 9)"),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_process_ends_in_the_middle(survives, victim, fault_bundle, ask, name):
    step, words = ENDS[name]
    message, pid = survives({"what": "print", "value": "famous-last-words"}, step, words=[words, "famous-last-words"])
    assert vanishes(pid)
    if name == "crashes":
        assert "Segmentation fault" in message and "faults.py" in message  # where it was
        explain(victim, ask(fault_bundle())).wait(60)


def test_rubbish_out_of_the_process_itself(survives):
    """A step of the bundle finds the way back to Slicer and writes on it."""
    steps = {"what": "say", "value": "Epoch 1/10\n"}, {"what": "sleep", "value": 60}
    _message, pid = survives(*steps, words=["something that is not an answer: 'Epoch 1/10' is not JSON"])
    assert vanishes(pid)


RUBBISH = {
    "half a message": ('{"type": "answer", "run": "1", "val', "not an answer", "is not JSON"),
    "an unknown message": ('{"type": "gossip"}', "no message that is known here"),
    "another run": ('{"type": "answer", "run": "other", "value": {}}', "a run 'other' that it was not asked for"),
    "no result": ('{"type": "answer", "run": "1", "value": {"heatmap": 3}}', "returned a result that is not whole"),
    "not a number": ('{"type": "report", "run": "1", "progress": {"stage": "forward"}}', "not a whole 'report'"),
}


@pytest.fixture
def impostor(tmp_path):
    """A function that makes a program which starts like a worker and answers its first call with some shell command."""

    def make(command, pid=0, protocol=PROTOCOL):
        hello = f'{{"type": "hello", "pid": {pid}, "python": "3", "executable": "", "protocol": {protocol}}}'
        lines = f"echo '{hello}'", """echo '{"type": "ready"}'""", "read call", "echo last-words >&2", command
        return Worker(wrapper(tmp_path / "python", *lines))

    return make


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish_on_the_way_back(impostor, ask, name):
    line, *words = RUBBISH[name]
    with impostor(f"echo '{line}'; exec sleep 60") as worker:
        request = ask("/bundle")
        run = explain(worker, request)
        pid = worker._transport.pid
        message = fails(run, *words)
        assert not os.path.exists(request.output_folder)
        if name != "no result":  # that one was a message, and the process may go on
            assert vanishes(pid) and "last-words" in message


def test_a_line_without_end(impostor, ask):
    with impostor("exec cat /dev/zero") as worker:
        request = ask("/bundle")
        message = fails(explain(worker, request), "begins a line of more than 16 MiB")
        assert len(message) < 500 and not os.path.exists(request.output_folder)


def test_cut_off_in_the_middle_of_an_answer(impostor, ask):
    with impostor("""printf '{"type": "answer", "run": "1", "value": {"heatm'""") as worker:
        request = ask("/bundle")
        fails(explain(worker, request), "ended with exit code 0 in the middle of an answer", "last-words")
        assert not os.path.exists(request.output_folder)


@pytest.mark.parametrize("fault", ["missing", "short", "empty"])
@pytest.mark.some(2)
def test_a_result_without_its_whole_array(worker, fault_bundle, ask, monkeypatch, fault):
    """The file is spoilt between the answer and its use."""
    request = ask(fault_bundle())
    path = Path(request.output_folder) / "heatmap.npy"
    whole = client._check_array

    def spoil(file):
        path.unlink() if fault == "missing" else os.truncate(path, 0 if fault == "empty" else path.stat().st_size - 100)
        whole(file)

    monkeypatch.setattr(client, "_check_array", spoil)
    fails(explain(worker, request), "returned a result that is not whole")
    monkeypatch.undo()
    assert not os.path.exists(request.output_folder)
    explain(worker, ask(fault_bundle())).wait(60)


def test_a_hang_is_noticed(zygote, fault_bundle, ask):
    """No sign of life at all: the process is stopped from outside."""
    with Worker(zygote.python, hang_after=1.5) as worker:
        request = ask(fault_bundle({"what": "stop"}))
        worker.call("versions", {}).wait(60)
        pid = worker.pid
        fails(explain(worker, request), "gave no sign of life for 1.5 s and was ended (Preprocessing)")
        assert nothing_is_left(request, pid)


def test_a_hang_that_holds_the_interpreter_leaves_its_place_in_the_log(zygote, fault_bundle, ask):
    with Worker(zygote.python, hang_after=2) as worker:
        request = ask(fault_bundle({"what": "hold the interpreter"}))
        worker.call("versions", {}).wait(60)
        pid = worker.pid
        message = fails(explain(worker, request), "gave no sign of life for 2 s and was ended (Preprocessing)")
        assert "hold_the_interpreter" in message
        assert nothing_is_left(request, pid)


def test_long_work_is_no_hang(worker, fault_bundle, ask):
    worker._hang_after, usual = 3, worker._hang_after  # three beats, so that a busy machine may miss some
    try:
        explain(worker, ask(fault_bundle({"what": "busy in C++", "value": 4.5}))).wait(60)
    finally:
        worker._hang_after = usual


def test_exceptions_that_end_other_programs_do_not_end_this_one(worker, fault_bundle, ask):
    # Another content has a process of its own, so each is asked twice.
    for plan, words, kind in (
        ({"what": "exit", "value": 3}, ("ended the program (sys.exit(3))",), {}),
        ({"what": "raise", "value": "x"}, ("KeyError",), {"kind": PreprocessingError}),
    ):
        bundle = fault_bundle(plan)
        fails(explain(worker, ask(bundle)), *words, **kind)
        pid = worker.pid
        fails(explain(worker, ask(bundle)), *words, **kind)
        assert worker.pid == pid
    explain(worker, ask(fault_bundle())).wait(60)


@pytest.mark.parametrize("what", ["allocate", pytest.param("allocate in torch", marks=pytest.mark.slow)])
def test_out_of_memory(fault_bundle, ask, tmp_path, what):
    """The address space is limited to a little more than the libraries take."""
    python = wrapper(tmp_path / "python", "ulimit -v 6000000", f'exec "{sys.executable}" "$@"')
    with Worker(python) as worker:
        request = ask(fault_bundle({"what": what, "value": 20e9}))
        message = fails(explain(worker, request), "Not enough memory (Preprocessing)", "or crop or", kind=DeviceError)
        assert len(message) < 250
        assert not os.path.exists(request.output_folder)
        explain(worker, ask(fault_bundle())).wait(60)


def test_not_even_enough_memory_for_the_libraries(fault_bundle, ask, tmp_path):
    python = wrapper(tmp_path / "python", "ulimit -v 300000", f'exec "{sys.executable}" "$@"')
    with Worker(python) as worker:
        request = ask(fault_bundle())
        fails(explain(worker, request), "cannot load the libraries", "not enough memory: close other programs")
        assert not os.path.exists(request.output_folder)


def test_full_disk(worker, fault_bundle, ask, tmp_path):
    """A tiny file system in memory where one may be mounted."""
    import subprocess

    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.name != "posix"
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", disk], capture_output=True).returncode
    ):
        pytest.skip("no file system may be mounted here; the next test limits the size of files instead")
    try:
        bundle = fault_bundle()
        folder = disk / "run"
        folder.mkdir()
        request = ask(bundle, output=str(folder))
        fails(explain(worker, request), "No space left on device", "Free some disk space", kind=OutputError)
        assert list(disk.iterdir()) == []
        pid = worker.pid  # of this content's own process
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    explain(worker, ask(bundle)).wait(60)
    assert worker.pid == pid


def test_files_that_cannot_grow(fault_bundle, ask, tmp_path):
    python = wrapper(tmp_path / "python", "ulimit -f 4", f'exec "{sys.executable}" "$@"')
    with Worker(python) as worker:
        request = ask(fault_bundle())
        fails(explain(worker, request), "Cannot write", "File too large", kind=OutputError)
        assert not os.path.exists(request.output_folder)


def test_the_run_folder_disappears(worker, fault_bundle, ask):
    import shutil

    request = ask(fault_bundle({"what": "sleep", "value": 0.3}))
    run = explain(worker, request)
    wait_for_stage(run, "preprocess")
    shutil.rmtree(request.output_folder)
    with pytest.raises(CAMOverlayError, match=request.output_folder):
        run.wait(60)
    explain(worker, ask(fault_bundle())).wait(60)


@pytest.mark.parametrize("protocol", [PROTOCOL + 1, 0, 10**12])
def test_another_version_of_the_exchange(impostor, ask, protocol):
    with impostor("exec sleep 60", protocol=protocol) as worker:
        request = ask("/bundle")
        run = explain(worker, request)
        pid = worker._transport.pid
        fails(run, f"speaks version {protocol} of the exchange and this program version {PROTOCOL}", "Restart Slicer")
        assert nothing_is_left(request, pid)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_number_that_is_not_the_childs_is_never_signalled(impostor, ask):
    """Whatever process the greeting names, only the child is ended: not a stranger, not Slicer, not all of them."""
    stranger = subprocess.Popen(
        ["sleep", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        for claimed in (stranger.pid, os.getpid(), os.getppid(), 1, 0, -1, -stranger.pid, 2**40):
            with impostor("exec sleep 60", pid=claimed) as worker:
                run = explain(worker, ask("/bundle"))
                while run.state != "running":
                    worker._transport.pump(0.01)
                child = worker._transport.pid
                assert worker.pid == child
                worker.stop()
                assert vanishes(child) and exists(stranger.pid), claimed
    finally:
        stranger.kill()
        stranger.wait()


def test_what_the_process_started_ends_with_it(victim, fault_bundle, ask, tmp_path):
    """A bundle's loader may start processes of its own."""
    ends = {
        "stop": lambda run, pid: victim.stop(),
        "cancel": lambda run, pid: run.cancel(),
        "its own end": lambda run, pid: victim._transport._process.stdin.close(),
    }
    for number, (how, end) in enumerate(ends.items()):
        noted = tmp_path / f"child{number}"
        run = explain(victim, ask(fault_bundle({"what": "start a child and sleep", "value": str(noted)})))
        wait_for_stage(run, "preprocess")
        while not noted.exists() or not noted.read_text():
            victim._transport.pump(0.01)
        child, pid = int(noted.read_text()), victim.pid
        assert exists(child)
        end(run, pid)
        with pytest.raises((Cancelled, CAMOverlayError)):
            run.wait(10)
        assert vanishes(child) and vanishes(pid), how


def test_causes_in_a_circle(worker, fault_bundle, ask):
    message = fails(explain(worker, ask(fault_bundle({"what": "raise in a circle"}))), "the o", kind=PreprocessingError)
    assert len(message) < 1000
    explain(worker, ask(fault_bundle())).wait(60)


def test_an_exception_that_cannot_be_printed(worker, fault_bundle, ask):
    request = ask(fault_bundle({"what": "raise what cannot be printed"}))
    fails(explain(worker, request), "Unprintable, without a reason", kind=PreprocessingError)


def test_an_exception_of_fifty_megabytes(worker, fault_bundle, ask):
    message = fails(
        explain(worker, ask(fault_bundle({"what": "raise megabytes", "value": 5e7}))), "xxx", kind=PreprocessingError
    )
    assert len(message) <= LONGEST_MESSAGE


def test_an_answer_that_is_too_long_to_pass_on_says_so():
    """Else the other side would take it for rubbish, and end the process."""
    import threading

    from CAMOverlayLib.contract.errors import WorkerError
    from CAMOverlayLib.worker.protocol import Answer, Lines, Ready, decode
    from CAMOverlayLib.worker.server import Channel

    there, here = os.pipe()
    heard = []
    reader = threading.Thread(target=lambda: heard.extend(iter(lambda: os.read(there, 1 << 20), b"")))
    reader.start()
    channel = Channel(here)
    with pytest.raises(WorkerError, match="50 MB of text where 17 MB can be passed on"):
        channel.send(Answer("1", {"text": "x" * 50_000_000}))
    long = Answer("1", {"text": "x" * 15_000_000})
    channel.send(long)
    channel.send(Ready())
    os.close(here)
    reader.join()
    os.close(there)
    lines = Lines()
    assert [decode(line) for data in heard for line in lines.feed(data)] == [long, Ready()]
