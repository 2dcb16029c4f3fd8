"""What is done before the process is asked and after it answered, in pieces: whatever happens meanwhile, a run ends
once."""

from __future__ import annotations

import os
import signal
import time

import pytest

from CAMOverlayLib.contract.errors import Cancelled, OutputError, PlacementError, WorkerError
from CAMOverlayLib.contract.pieces import TURN


class Work:
    """Pieces that are counted; it may be told what to do at one of them."""

    def __init__(self, count: int = 20, at: int = -1, do=lambda: None, value="value") -> None:
        self.count, self.at, self.do, self.value = count, at, do, value
        self.done, self.closed = 0, False

    def __call__(self, answer=None):
        try:
            for self.done in range(1, self.count + 1):
                if self.done == self.at:
                    self.do()
                yield TURN
            return self.value
        finally:
            self.closed = True


def ask(worker, prepare=None, finish=lambda answer: answer, **options):
    return worker.call("versions", {}, prepare=prepare() if prepare else None, finish=finish, **options)


def test_before_and_after(worker):
    before, after, told = Work(), Work(), []
    run = ask(worker, before, after, on_result=told.append)
    assert not run.ended and before.done == 1, "it returns after the first piece"
    assert run.wait(60) == "value" and told == ["value"] and (before.done, after.done) == (20, 20)


def test_the_process_is_not_asked_before_all_is_ready(worker):
    seen = []
    before = Work(at=20, do=lambda: seen.append(run.sent))
    run = ask(worker, before)
    assert "torch" in run.wait(60) and seen == [False]


@pytest.mark.parametrize(
    ("at", "kind"), [(2, OutputError("full")), (2, PlacementError("edited")), (2, ZeroDivisionError("oops"))]
)
@pytest.mark.parametrize("where", ["before", "after"])
def test_an_error_in_the_middle(worker, tmp_path, where, at, kind):
    def fail():
        raise kind

    work, told, pid = Work(at=at, do=fail), [], worker.pid
    folder = tmp_path / "run"
    folder.mkdir()
    options = {"prepare": work} if where == "before" else {"finish": work}
    run = ask(worker, **options, on_error=told.append, folders=(str(folder),))
    expected = type(kind) if not isinstance(kind, ZeroDivisionError) else WorkerError
    with pytest.raises(expected, match=str(kind)):
        run.wait(60)
    assert told == [run.error] and run.state == "failed" and not folder.exists() and work.closed
    assert "torch" in ask(worker).wait(60) and worker.pid == pid, "the process is as it was"


def test_an_error_in_the_first_piece_is_the_callers(worker):
    def fail():
        raise OutputError("full")

    with pytest.raises(OutputError):
        ask(worker, Work(at=1, do=fail))
    assert "torch" in ask(worker).wait(60)


@pytest.mark.parametrize("where", ["prepare", "finish"])
@pytest.mark.parametrize("inside", [False, True], ids=["from the loop", "from within"])
def test_cancel(worker, where, inside):
    told, pid = [], worker.pid
    work = Work(count=1000, at=5 if inside else -1, do=lambda: run.cancel())
    run = ask(worker, **{where: work}, on_error=told.append)
    if not inside:
        for _ in range(2000):
            if work.done >= 5:
                break
            worker._transport.pump(0.01)
        run.cancel()
    with pytest.raises(Cancelled):
        run.wait(10)
    assert [type(error) for error in told] == [Cancelled] and work.closed and work.done < 20
    assert "torch" in ask(worker).wait(60) and worker.pid == pid, "the process is still warm"


@pytest.mark.parametrize("where", ["prepare", "finish"])
def test_another_run_takes_its_place(worker, where):
    work = Work(count=1000, at=5, do=lambda: following.append(ask(worker, Work(), Work(value="second"))))
    following: list = []
    run = ask(worker, **{where: work})
    with pytest.raises(Cancelled):
        run.wait(10)
    assert following[0].wait(60) == "second" and work.closed


def test_a_process_that_dies_while_the_result_is_shown_takes_nothing_with_it(victim):
    work = Work(count=50, at=3, do=lambda: os.kill(victim.pid, getattr(signal, "SIGKILL", signal.SIGTERM)))
    assert ask(victim, finish=work).wait(60) == "value"
    assert "torch" in ask(victim).wait(120), "and the next run starts another"


def test_a_process_that_dies_while_all_is_made_ready_is_started_again(victim):
    work = Work(count=50, at=3, do=lambda: os.kill(victim.pid, getattr(signal, "SIGKILL", signal.SIGTERM)))
    assert "torch" in ask(victim, prepare=work).wait(120) and work.done == 50


@pytest.mark.parametrize("where", ["prepare", "finish"])
def test_stop_ends_it(victim, where):
    work = Work(count=10_000)
    run = ask(victim, **{where: work})
    for _ in range(2000):
        if work.done >= 5:
            break
        victim._transport.pump(0.01)
    victim.stop()
    assert run.state == "cancelled" and work.closed and victim.pid == 0


def test_a_large_folder_goes_without_keeping_anybody_waiting(worker, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with open(folder / "large", "wb") as file:
        file.truncate(300 << 20)  # without its bytes
    ask(worker, folders=(str(folder),)).wait(60)
    end = time.monotonic() + 10
    while folder.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
