"""A child process and its three streams, in two ways: by Qt inside Slicer, and by Python's own means elsewhere.

Neither ever blocks. What the child does is told to a :class:`Listener`, always on the thread that uses the transport.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

TICK = 0.05
"""Seconds between two ticks."""


@dataclass(frozen=True)
class Exit:
    """How a process ended: exit code, or the signal that ended it, or why it never began."""

    code: int = 0
    signal: int = 0
    problem: str = ""


class Listener(Protocol):
    """Who is told what the child does."""

    def on_output(self, data: bytes) -> None: ...

    def on_log(self, data: bytes) -> None: ...

    def on_exit(self, end: Exit) -> None: ...

    def on_tick(self) -> None: ...

    def on_quit(self) -> None:
        """Slicer is about to end."""


class Transport(Protocol):
    """A child process that can be started again after it ended."""

    def start(self, command: list[str], environment: dict[str, str], folder: str, listener: Listener) -> None:
        """Start it; whether that worked is told later."""

    @property
    def pid(self) -> int: ...

    def write(self, data: bytes) -> None: ...

    def kill(self) -> None: ...

    def tick(self, on: bool) -> None:
        """Let the listener's clock tick, or not."""

    def pump(self, seconds: float) -> None:
        """Wait at most so long and tell what happened meanwhile."""

    def join(self, seconds: float) -> None:
        """Wait for the end of a process that was killed, and tell it."""

    def later(self, call: Callable[[], None]) -> None:
        """Call it once everything else that waits in the event loop has had its turn."""


def default_transport() -> Transport:
    """Qt's inside Slicer, the plain one elsewhere."""
    if getattr(sys.modules.get("slicer"), "app", None) is not None:
        try:
            return QtTransport()
        except ImportError:
            pass
    return PipeTransport()


class QtTransport:
    """On ``qt.QProcess`` and its signals: nothing here needs a thread, and nothing is told outside the event loop.

    Slots take no arguments, since PythonQt passes as many as a slot takes, and the state is asked of the process.
    """

    def __init__(self) -> None:
        import qt
        import slicer

        self._qt, self._app = qt, slicer.app
        self._listener: Listener | None = None
        self._process = qt.QProcess()  # the same for every start: it must not be deleted in its own signal
        self._process.readyReadStandardOutput.connect(self._read_output)
        self._process.readyReadStandardError.connect(self._read_log)
        self._process.finished.connect(self._finished)
        self._process.errorOccurred.connect(self._failed)
        self._timer = qt.QTimer()
        self._timer.setInterval(round(TICK * 1000))
        self._timer.timeout.connect(self._tick)
        # Else the process would be killed when this object is destroyed, and could not remove its folders.
        self._app.aboutToQuit.connect(self._quit)

    def start(self, command: list[str], environment: dict[str, str], folder: str, listener: Listener) -> None:
        self._listener = listener
        variables = self._qt.QProcessEnvironment()
        for name, value in environment.items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        self._process.setWorkingDirectory(folder)
        self._process.start(command[0], command[1:])

    @property
    def pid(self) -> int:
        return int(self._process.processId())

    def write(self, data: bytes) -> None:
        self._process.write(data)

    def kill(self) -> None:
        self._process.kill()

    def tick(self, on: bool) -> None:
        self._timer.start() if on else self._timer.stop()

    def pump(self, seconds: float) -> None:
        self._app.processEvents()
        time.sleep(min(seconds, 0.005))

    def join(self, seconds: float) -> None:
        self._process.waitForFinished(round(seconds * 1000))

    def later(self, call: Callable[[], None]) -> None:
        self._qt.QTimer.singleShot(0, call)

    @property
    def _told(self) -> Listener:
        assert self._listener is not None  # nothing comes from a process that was not started
        return self._listener

    def _read_output(self) -> None:
        if data := self._process.readAllStandardOutput().data():
            self._told.on_output(data)

    def _read_log(self) -> None:
        if data := self._process.readAllStandardError().data():
            self._told.on_log(data)

    def _finished(self) -> None:
        self._read_log()
        self._read_output()
        code, crashed = int(self._process.exitCode()), self._process.exitStatus() == self._qt.QProcess.CrashExit
        self._told.on_exit(Exit(signal=code or 9) if crashed else Exit(code))

    def _failed(self) -> None:
        if self._process.error() == self._qt.QProcess.FailedToStart:  # every other error is followed by finished
            end = Exit(problem=str(self._process.errorString()))
            # Qt may say so while start() is still being called.
            self._qt.QTimer.singleShot(0, lambda: self._told.on_exit(end))

    def _tick(self) -> None:
        self._told.on_tick()

    def _quit(self) -> None:
        if self._listener is not None:
            self._listener.on_quit()


class PipeTransport:
    """On ``subprocess``, with threads that fill a queue; things are told while :meth:`pump` is called."""

    def __init__(self) -> None:
        self._listener: Listener | None = None
        # Bounded, so that a process that talks without end waits and does not fill the memory.
        self._events: queue.Queue[Callable[[], None]] = queue.Queue(maxsize=64)
        self._process: subprocess.Popen | None = None
        self._writes: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()  # of the latest process
        self._ticking = False
        self._later: list[Callable[[], None]] = []

    def start(self, command: list[str], environment: dict[str, str], folder: str, listener: Listener) -> None:
        self._listener = listener
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(  # noqa: S603
                command,
                bufsize=0,
                cwd=folder,
                env=environment,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            end = Exit(problem=error.strerror or str(error))
            self._events.put(lambda: listener.on_exit(end))  # there is room: nothing else is under way
            return
        self._process, self._writes = process, queue.SimpleQueue()
        threading.Thread(target=self._feed, args=(process, self._writes), daemon=True).start()
        threading.Thread(target=self._watch, args=(process, listener), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def write(self, data: bytes) -> None:
        self._writes.put(data)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def tick(self, on: bool) -> None:
        self._ticking = on

    def later(self, call: Callable[[], None]) -> None:
        self._later.append(call)

    def pump(self, seconds: float) -> None:
        due, self._later = self._later, []
        for call in due:
            call()
        self._tell(0.001 if self._later else seconds)
        if self._ticking and self._listener is not None:
            self._listener.on_tick()

    def join(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._process is not None and time.monotonic() < until:
            self._tell(TICK)

    def _tell(self, seconds: float) -> None:
        try:
            self._events.get(timeout=seconds)()
            for _ in range(self._events.qsize()):
                self._events.get_nowait()()
        except queue.Empty:
            pass

    @staticmethod
    def _feed(process: subprocess.Popen, writes: queue.SimpleQueue[bytes | None]) -> None:
        """Write what is to be written, for as long as that takes: a network may be slow, or stand still."""
        assert process.stdin is not None
        with suppress(OSError, ValueError):  # it has ended, which is about to be told
            while (data := writes.get()) is not None:
                rest = memoryview(data)
                while rest:
                    rest = rest[process.stdin.write(rest) :]

    def _watch(self, process: subprocess.Popen, listener: Listener) -> None:
        streams = ((process.stdout, listener.on_output), (process.stderr, listener.on_log))
        readers = [threading.Thread(target=self._read, args=(process, *s), daemon=True) for s in streams]
        for reader in readers:
            reader.start()
        code = process.wait()
        deadline = time.monotonic() + 0.5  # a grandchild may hold the streams open
        while any(r.is_alive() for r in readers) and (time.monotonic() < deadline or self._events.full()):
            readers[0].join(0.01)
            readers[1].join(0.01)
        end = Exit(signal=-code) if code < 0 else Exit(code)
        self._events.put(lambda: self._end(process, listener, end))

    def _read(self, process: subprocess.Popen, stream: Any, tell: Callable[[bytes], None]) -> None:
        try:
            while data := os.read(stream.fileno(), 1 << 16):
                # Words of a grandchild that outlives the process are not the next process's.
                self._events.put(partial(self._pass_on, process, data, tell))
        except (OSError, ValueError):
            pass

    def _pass_on(self, process: subprocess.Popen, data: bytes, tell: Callable[[bytes], None]) -> None:
        if process is self._process:
            tell(data)

    def _end(self, process: subprocess.Popen, listener: Listener, end: Exit) -> None:
        self._writes.put(None)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        self._process = None
        listener.on_exit(end)
