"""What the worker tests share."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

from CAMOverlayLib.contract.errors import WorkerError
from CAMOverlayLib.contract.request import Request
from CAMOverlayLib.worker.client import Run, Worker


def explain(worker: Worker, request: Request, **options) -> Run:
    return worker.explain(request, folders=(request.output_folder,), **options)


def wait_for_stage(run, stage: str, seconds: float = 60) -> None:
    """Let a run go on until it is at a stage."""
    end = time.monotonic() + seconds
    while run.progress.stage != stage:
        assert not run.ended, run.error
        assert time.monotonic() < end, run.progress
        run._worker._transport.pump(0.01)


def exists(pid: int) -> bool:
    """Whether a process is there; one that has ended and was not asked how is gone."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    if os.path.isdir("/proc/self"):
        return False
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return True
    return False


def vanishes(pid: int, seconds: float = 2.0) -> bool:
    end = time.monotonic() + seconds
    while exists(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def gone(condition, seconds: float = 10.0) -> bool:
    """Whether a condition comes true within so many seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def nothing_is_left(request: Request, pid: int) -> bool:
    return vanishes(pid) and not os.path.exists(request.output_folder)


def fails(run: Run, *words: str, kind: type[Exception] = WorkerError) -> str:
    """The run ends in one error with these words, told once; returns the message."""
    with pytest.raises(kind) as caught:
        run.wait(60)
    message = str(caught.value)
    assert type(caught.value) is kind and run.state == "failed"
    for word in words:
        assert word in message, message
    print(message)
    return message


def wrapper(path: Path, *lines: str) -> Path:
    """A shell script in the place of a Python."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)
    return path
