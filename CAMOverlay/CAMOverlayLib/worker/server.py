"""The worker's side: a process that answers calls until its input is closed, which is also how it learns that Slicer
was killed.

The main thread computes. One thread listens, so that a cancel and the end of Slicer are heard while torch is busy; one
says every second that the process is alive. Run as ``python -m CAMOverlayLib.worker``.

On another machine it is the same process; there it has a shelf for the files that come along, and :mod:`.remote.boot`
starts it.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import importlib.metadata
import importlib.util
import json
import os
import platform
import queue
import re
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from typing import Any

from ..contract import errors
from ..contract.errors import CAMOverlayError, Cancelled, DeviceError, WorkerError, causes, one_line, reason
from ..contract.request import STAGES, Progress
from . import processes
from .protocol import (
    LONGEST_LINE,
    LONGEST_MESSAGE,
    PROTOCOL,
    Answer,
    Beat,
    Call,
    Cancel,
    Failure,
    Found,
    Hello,
    Message,
    Messages,
    Piece,
    Ready,
    Report,
    Seek,
    Taken,
    encode,
)
from .remote.shelf import Shelf

NEEDED = ("numpy", "torch", "monai", "nibabel")
LONGEST_PROGRESS = 500
"""Characters of what a progress says; the name of a bundle's class may have megabytes."""
BEAT = 1.0
"""Seconds between two signs of life."""
FETCHING = "Fetching the result"
DESERTED = 300.0
"""Seconds without a word from another machine after which that is taken to be gone: it beats too, and a connection may
break without a sign."""


def main(hang_after: float = 60.0, folder: str = "", cache: str = "", alone: str = "", ahead: str = "") -> int:
    """Answer calls until the input is closed.

    Args:
        hang_after: seconds without a Python instruction anywhere in the process after which it ends itself, with
            every thread's place in the log. Slicer watches too, but may be gone.
        folder, cache: of a :class:`Shelf`, where those who ask are on another machine.
        alone: not empty where nothing else is at work that would have to go first.
        ahead: what :meth:`Operations.open_ahead` takes, as JSON; empty for nothing.
    """
    requests, answers = claim_stdio()
    channel = Channel(answers)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        channel.send(Failure("", "WorkerError", missing_packages(missing)))
        return 1
    stand_back(whole_machine=bool(alone))
    processes.lead_a_group()
    server = Server(channel, hang_after, Shelf(folder, cache) if folder else None, bool(alone), ahead)
    threading.Thread(target=server.listen, args=(requests,), daemon=True).start()
    threading.Thread(target=server.beat, daemon=True).start()
    versions = {name: version_of(name) for name in NEEDED}
    channel.send(Hello(os.getpid(), platform.python_version(), sys.executable, versions, PROTOCOL))
    if old := too_old(versions):
        channel.send(Failure("", "WorkerError", old))
        return 1
    return server.work()


def claim_stdio() -> tuple[int, int]:
    """Take the standard streams for the protocol before any library can touch them.

    What is printed from now on, also by C++ and by child processes, goes to the standard error, which is the log;
    what wants to read finds an empty input.
    """
    requests, answers = os.dup(0), os.dup(1)  # not inherited by child processes
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def stand_back(whole_machine: bool) -> None:
    """Let Slicer go first, leave Ctrl-C to it, and keep announcements for programmers out of the log."""
    if hasattr(os, "nice") and not whole_machine:
        os.nice(5)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()  # a crash in C++ leaves its place in the log
    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", DeprecationWarning)


def version_of(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # built in place, without metadata
        return ""


OLDEST = {"torch": (2, 5), "monai": (1, 4)}
"""The oldest versions that have what is used here: ``torch.OutOfMemoryError``, MONAI's transforms with ``lazy``."""


def too_old(versions: dict[str, str]) -> str:
    """A sentence about what must be newer; empty where all is new enough, or does not say how old it is."""
    for name, least in OLDEST.items():
        found = tuple(map(int, re.findall(r"\d+", versions.get(name, ""))[:2]))
        if found and found < least:
            wanted = ".".join(map(str, least))
            return (
                f"The Python {sys.executable} has {name} {versions[name]}; {wanted} or later is needed. Update it with "
                f"'{sys.executable} -m pip install --upgrade {name}', or choose another Python."
            )
    return ""


def missing_packages(missing: list[str]) -> str:
    names = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
    return (
        f"The Python {sys.executable} lacks {names}. Install what is missing with "
        f"'{sys.executable} -m pip install {' '.join(missing)}', or choose another Python."
    )


class Channel:
    """The way back to Slicer; any thread may send."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """
        Raises:
            WorkerError: it is longer than the other side listens to. Nothing is half-written then, nor where
            :func:`encode` raises.
        """
        line = encode(message)
        if len(line) > LONGEST_LINE:
            raise WorkerError(
                f"The answer is {len(line) / 1e6:.0f} MB of text where {LONGEST_LINE / 1e6:.0f} MB can be passed on. "
                "The "
                "names in the bundle's configuration may be too long."
            )
        with self._lock:
            self._write(line)

    def send_piece(self, piece: Piece, content: bytes) -> None:
        """Send a piece of a file with what is in it."""
        with self._lock:
            self._write(encode(piece) + content)

    def beat(self) -> None:
        # Slicer may be too busy to read, and a long answer then waits in the middle: that is no reason to wait too.
        if self._lock.acquire(blocking=False):
            try:
                self._write(encode(Beat()))
            finally:
                self._lock.release()

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            pass  # nobody listens any more; the listening thread hears the same and ends the process


class Server:
    """One process, one run at a time.

    Args:
        shelf: for files, where those who ask are on another machine.
        alone: take all cores.
        ahead: as of :func:`main`.
    """

    def __init__(
        self,
        channel: Channel,
        hang_after: float,
        shelf: Shelf | None = None,
        alone: bool = False,
        ahead: str = "",
    ) -> None:
        self._channel = channel
        self._hang_after = hang_after
        self._shelf, self._alone, self._ahead = shelf, alone, ahead
        self._heard = time.monotonic()
        self._calls: queue.SimpleQueue[Call | Seek] = queue.SimpleQueue()
        self._cancelled: set[str] = set()
        self._folders: tuple[str, ...] = ()
        self._running = ""
        self._asked: dict[str, Any] = {}
        self._stage = "import"
        self._reported = ("", 0.0)

    # Main thread.

    def work(self) -> int:
        from .operations import Operations

        try:
            operations = Operations(self._check, self._alone)
        except Exception as error:  # noqa: BLE001
            traceback.print_exc()
            message = (
                f"The Python {sys.executable} cannot load the libraries ({type(error).__name__}: {reason(error)}). "
            )
            short = out_of_memory(error) is not None
            message += (
                "There is not enough memory: close other programs." if short else "Repair it or choose another Python."
            )
            self._channel.send(Failure("", "WorkerError", message))
            return 1
        self._channel.send(Ready())
        if self._ahead:
            operations.open_ahead(json.loads(self._ahead))
        while True:
            call = self._calls.get()
            if isinstance(call, Seek):
                self._seek(operations, call)
                continue
            self._running, self._stage, self._asked = call.run, "import", call.payload
            try:
                value = self._answer(operations, call)
                self._clear(call.run)
                self._channel.send(Answer(call.run, value))
            except BaseException as error:  # a bundle's code may raise anything, SystemExit too  # noqa: BLE001
                self._clear(call.run)
                self._channel.send(self._told(call.run, error))
            self._running = ""

    def _clear(self, run: str) -> None:
        if self._shelf is not None:
            self._shelf.drop(run)

    def _answer(self, operations, call: Call) -> dict[str, Any]:
        """What comes out of a call; where it came from another machine, its files first."""
        shelf = self._shelf
        if shelf is None:
            self._require_fit(operations, call.payload)
            return self._operation(operations, call)(call.payload, self._report)
        self._check()
        payload = shelf.opened(call.run, call.payload)
        self._require_fit(operations, payload)
        value = self._operation(operations, call)(payload, self._report)
        whole, files = shelf.results(call.run)
        done = 0
        for piece, content, count in files:
            self._check()
            self._channel.send_piece(piece, content)
            done += count
            self._report(Progress("fetch", 0.99, f"{FETCHING}: {done / 1e6:.0f} of {whole / 1e6:.0f} MB"))
        return shelf.told(call.run, value, call.payload)

    def _seek(self, operations, seek: Seek) -> None:
        """Say whether a model is here; a process that may not run it ends before anything was sent for it."""
        assert self._shelf is not None
        there = self._shelf.has(seek.model)
        if there:
            self._require_fit(operations, self._shelf.opened_paths({"model": seek.model}))
        elif operations.has_run({"model": seek.model}):
            os._exit(0)  # one that is not here cannot be the one that has run
        self._channel.send(Found(seek.run, there))

    @staticmethod
    def _require_fit(operations, payload: dict[str, Any]) -> None:
        if not operations.fits(payload):
            # Not a word of this run was said, so Slicer's side asks a new process.
            sys.stderr.flush()
            os._exit(0)

    def _operation(self, operations, call: Call):
        self._check()
        if call.operation not in operations.names:
            raise WorkerError(f"'{call.operation}' is no operation; there are {', '.join(operations.names)}.")
        return operations.names[call.operation]

    def _check(self) -> None:
        if self._running in self._cancelled:
            raise Cancelled("The run was cancelled; nothing was changed.")

    def _report(self, progress: Progress) -> None:
        self._check()
        self._stage = progress.stage
        now = time.monotonic()
        seen = progress.stage == self._reported[0] and now - self._reported[1] < 0.05
        if seen and progress.sketch is None and progress.result is None:
            return  # more than an eye can follow only makes Slicer work
        self._reported = (progress.stage, now)
        message = one_line(progress.message, LONGEST_PROGRESS)
        if self._shelf is not None:
            message = self._shelf.told(self._running, message, self._asked)
        progress = dataclasses.replace(progress, message=message)
        self._channel.send(Report(self._running, progress))

    def _told(self, run: str, error: BaseException) -> Failure:
        """A failure, whatever the error is: one that cannot be printed must not end the process, nor one of 50 MB."""
        try:
            failure = self._failure(run, error)
        except BaseException as second:  # noqa: BLE001
            failure = Failure(
                run, "WorkerError", f"The computation failed unexpectedly: {type(error).__name__}: {reason(second)}"
            )
        text = failure.message
        if self._shelf is not None:
            text = self._shelf.told(run, text, self._asked)
        if len(text) > LONGEST_MESSAGE:
            text = text[:LONGEST_MESSAGE] + f"… ({len(text)} characters)"
        return dataclasses.replace(failure, message=text)

    def _failure(self, run: str, error: BaseException) -> Failure:
        if run in self._cancelled:  # wherever it was thrown, and whatever a library made of it
            return Failure(run, "Cancelled", "The run was cancelled; nothing was changed.")
        stage = STAGES.get(self._stage, FETCHING)
        if not isinstance(error, DeviceError) and (short := out_of_memory(error)) is not None:
            error = DeviceError(
                f"Not enough memory ({stage}): {short}. Close other programs, or crop or resample the volume."
            )
        if isinstance(error, SystemExit):
            code = "" if error.code is None else one_line(str(error.code), 100)
            error = WorkerError(
                f"The code of the model ended the program (sys.exit({code})), so there is no result. Correct its code."
            )
        if isinstance(error, (CAMOverlayError, Cancelled)):
            return self._failure_of(run, error)
        try:
            lines = "".join(traceback.format_exception(type(error), error, error.__traceback__)).strip().splitlines()
        except Exception:  # its own text fails  # noqa: BLE001
            lines = []
        lines = [line[:500] for line in lines]
        print(*lines[-200:], sep="\n", file=sys.stderr)
        return Failure(
            run,
            "WorkerError",
            f"The computation failed unexpectedly ({stage}): {type(error).__name__}: {reason(error, 1000)}\n"
            + "\n".join(lines[-8:]),
        )

    @staticmethod
    def _failure_of(run: str, error: CAMOverlayError | Cancelled) -> Failure:
        """One of the package's errors by its name."""
        kind = next(c.__name__ for c in type(error).__mro__ if getattr(errors, c.__name__, None) is c)
        return Failure(run, kind, str(error), getattr(error, "setting", ""))

    # Listening thread.

    def listen(self, fd: int) -> None:
        messages = Messages()
        try:
            while data := os.read(fd, 1 << 16):
                self._heard = time.monotonic()
                for message, content in messages.feed(data):
                    if isinstance(message, Call):
                        self._folders = message.folders
                        self._calls.put(message)
                    elif isinstance(message, Cancel):
                        self._cancelled.add(message.run)
                        if self._shelf is not None and message.run != self._running:
                            self._shelf.drop(message.run)
                    elif isinstance(message, Seek):
                        self._calls.put(message)
                    elif isinstance(message, Piece) and self._shelf is not None:
                        self._take(self._shelf, message, content)
        except Exception:  # noqa: BLE001
            traceback.print_exc()
        finally:
            self._end()

    def _take(self, shelf: Shelf, piece: Piece, content: bytes) -> None:
        if piece.run in self._cancelled:
            return
        try:
            shelf.take(piece, content)
        except CAMOverlayError as error:
            self._cancelled.add(piece.run)
            self._channel.send(self._failure_of(piece.run, error))
            return
        self._channel.send(Taken(piece.run, piece.size))

    def _end(self) -> None:
        """Slicer has closed the stream or is no more: leave nothing behind, and do not wait for what is computing."""
        for _ in range(5):  # the main thread may be writing into the folder this very moment
            folders = (*self._folders, self._shelf.folder) if self._shelf is not None else self._folders
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
            if not any(os.path.exists(folder) for folder in folders):
                break
        processes.end_group()
        os._exit(0)

    # Beating thread.

    def beat(self) -> None:
        while True:
            # Ends the process from C++, so also when a library holds the interpreter's lock for ever.
            faulthandler.dump_traceback_later(self._hang_after, exit=True)
            if self._shelf is not None and time.monotonic() - self._heard > DESERTED:
                self._end()
            self._channel.beat()
            time.sleep(BEAT)


def out_of_memory(error: BaseException | None) -> str | None:
    """What an exception, or what caused it, says of a lack of memory; None if it is about something else."""
    found = None
    for one in causes(error, context=True):  # the cause says it best; what libraries wrap around it also quotes it
        text = reason(one) if reason(one) != type(one).__name__ else ""
        if isinstance(one, MemoryError) or "allocate memory" in text or "failed to map segment" in text:
            found = text.rpartition("DefaultCPUAllocator: ")[2].rstrip(".") or "the system gave no more"
    return found
