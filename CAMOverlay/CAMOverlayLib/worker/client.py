"""Slicer's side: a process that computes, and the runs that it is given.

    worker = Worker()                      # Slicer's own Python; Worker("/path/to/environment") for another one,
                                           # Worker("ssh://user@host/path/to/environment") for one elsewhere
    worker.start()                         # optional: loads the libraries before they are needed
    run = worker.explain(request, on_progress=print)
    result = run.wait()                    # Slicer stays alive meanwhile; or use on_result and on_error
    worker.stop()

Nothing here blocks, uses a thread of its own, or lets a fault of the process pass for an answer: whatever happens to
it, the run ends in one error that says what, the process is gone, and the next run starts a new one.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from typing import Any

from ..contract.errors import CAMOverlayError, Cancelled, OutputError, WorkerError, reason
from ..contract.inspection import Inspection
from ..contract.model import ModelSource
from ..contract.pieces import Pieces, Stepper
from ..contract.records import absolute, plain
from ..contract.request import STAGES, Progress, Request, Result
from ..contract.target import VolumeFile
from . import processes
from .interpreter import LIBRARY, child_environment, find_python, named_from_here
from .protocol import (
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
    ProtocolError,
    Ready,
    Report,
    Taken,
    Want,
    decode,
    encode,
)
from .remote.code import code, first_lines
from .remote.parcel import Parcel
from .remote.place import Place, place_of
from .remote.shipment import Shipment
from .transport import Exit, Transport, default_transport

GRACE = 0.6
"""Seconds that a cancelled run has to stop by itself, which keeps the process warm, before it is killed."""

LARGE = 200 << 20
"""Bytes in a folder that is not removed at once."""

BEAT = 20.0
"""Seconds between two signs of life to another machine, which has no other way to know that a connection broke."""

LOG_BYTES = 64 << 10
OFF, STARTING, LOADING, READY, ENDING = "off", "starting", "loading", "ready", "ending"


class Run:
    """One request on its way: ``waiting``, ``running``, and in the end ``done``, ``failed`` or ``cancelled``.

    Attributes:
        state: one of these words.
        progress: the last that was heard.
        value: what came out, once done.
        error: why it failed, once failed or cancelled.
    """

    def __init__(self, worker: Worker, call: Call, line: bytes, finish, on_progress, on_result, on_error) -> None:
        self.state = "waiting"
        self.progress = Progress("import", 0.0, STAGES["import"])
        self.value: Any = None
        self.error: BaseException | None = None
        self.call = call
        self.line = line  # the call as it is sent
        self.sent = self.heard = self.retry = False
        self.cancelled_at: float | None = None
        self._worker = worker
        self._finish: Callable[[dict[str, Any]], Any] = finish
        self._on_progress: Callable[[Progress], None] = on_progress
        self._on_result: Callable[[Any], None] = on_result
        self._on_error: Callable[[BaseException], None] = on_error
        self.settling = False  # the answer is there, and the run's value is being made of it
        self.prepared = True
        self.shipment: Shipment | None = None  # of a run on another machine
        self._work: Stepper | None = None

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def cancel(self) -> None:
        """Stop it; within a second it has ended as cancelled, and its folders are gone. No effect once it has ended."""
        if not self.ended and self.cancelled_at is None:
            self.cancelled_at = time.monotonic()
            self._worker._cancel(self)

    def wait(self, timeout: float | None = None) -> Any:
        """Wait until it has ended, with Slicer alive meanwhile, and return its value.

        Raises:
            CAMOverlayError: why it failed; ``Cancelled`` if it was cancelled. What ``on_progress`` raised.
            TimeoutError: it goes on after so many seconds.
        """
        self._worker.wait_for(self, "run", timeout)
        if self.error is not None:
            raise self.error
        return self.value

    # For the worker.

    def report(self, progress: Progress) -> None:
        self.progress = progress
        if self.cancelled_at is None:
            try:
                self._on_progress(progress)
            except (Exception, Cancelled) as error:  # the caller's way to end a run; a slot could not raise it  # noqa: BLE001
                self.error = error
                self.cancel()

    def prepare(self, pieces: Pieces[None]) -> None:
        """Do what has to be done before the call is sent; what it raises at once is the caller's."""
        self.prepared = False
        problems: list[BaseException] = []

        def ended(_value: None, error: BaseException | None) -> None:
            self._work, self.prepared = None, error is None
            if error is not None:
                problems.append(error)
            if not begun:
                return
            if error is None:
                self._worker._prepared(self)
            else:
                self._worker._drop(self, _named(error, "The input cannot be made ready"))

        begun = False
        self._work = Stepper(pieces, ended, self._worker._transport.later)
        self._work.step()
        if problems:
            raise problems[0]
        begun = True

    def settle(self, answer: dict[str, Any]) -> None:
        """Make the run's value of the answer: at once, or in pieces where ``finish`` returns such."""
        self.settling = True

        def ended(value: Any, error: BaseException | None) -> None:
            self._work = None
            if error is None:
                self._worker._end_run(lambda: self.succeed(value))
            else:
                self._worker._end_run(lambda: self.fail(_named(error, "The result cannot be used")))

        try:
            value = self._finish(answer)
        except Exception as error:  # noqa: BLE001
            ended(None, error)
            return
        if isinstance(value, Generator):
            self._work = Stepper(value, ended, self._worker._transport.later)
            self._work.step()
        else:
            ended(value, None)

    @property
    def at_work(self) -> bool:
        """A piece of its work is being done this very moment, further up in the stack of calls."""
        return self._work is not None and self._work.busy

    def succeed(self, value: Any) -> None:
        self.value = value
        self._end("done")
        _tell(self._on_result, self.value)

    def fail(self, error: BaseException) -> None:
        self.error = self.error or error
        self._end("cancelled" if isinstance(error, Cancelled) else "failed")
        _tell(self._on_error, self.error)

    def _end(self, state: str) -> None:
        if self._work is not None:
            self._work.stop()
            self._work = None
        if self.shipment is not None:
            self.shipment.close()
        for folder in self.call.folders:
            _remove(folder)
        self.state = state


def _remove(folder: str) -> None:
    """Remove a folder with everything in it. To free a gigabyte takes the system a tenth of a second, in which Slicer's
    loop shall not stand still; that is left to a thread, which Python waits for when it ends."""
    try:
        with os.scandir(folder) as entries:
            size = sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
    except OSError:
        size = 0
    if size < LARGE:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        threading.Thread(target=shutil.rmtree, args=(folder, True)).start()


def _named(error: BaseException, what: str) -> CAMOverlayError | Cancelled:
    """One of the package's errors, whatever was raised."""
    if isinstance(error, (CAMOverlayError, Cancelled)):
        return error
    traceback.print_exception(type(error), error, error.__traceback__)
    return WorkerError(f"{what}: {type(error).__name__}: {reason(error)}.")


def _tell(listener: Callable[[Any], None], what: Any) -> None:
    try:
        listener(what)
    except Exception:  # the caller's, and the next run must start all the same  # noqa: BLE001
        traceback.print_exc()


class Worker:
    """The process. It starts with the first run, stays warm, and is replaced when something happened to it.

    One run at a time: a further one cancels the one before.

    Args:
        python: interpreter, or folder of its environment; None takes Slicer's own. ``ssh://user@host/path`` is one on
            another machine, which is sent all that a run needs, and sends back what comes out.
        transport: how to hold the process; None takes Qt's where there is Qt.
        hang_after: seconds without a sign of life after which the process is given up.
        start_within: seconds in which a Python must have started.
        alone: it has the whole machine, as nothing else is at work beside it.
        ahead: a model that it will be asked for, with what ``operations.Operations.open_ahead`` takes: it is opened as
            soon as the libraries are there. Not on another machine, which may not have it yet.
    """

    def __init__(
        self,
        python: str | os.PathLike[str] | None = None,
        *,
        transport: Transport | None = None,
        hang_after: float = 60.0,
        start_within: float = 60.0,
        alone: bool = False,
        ahead: Mapping[str, Any] | None = None,
    ) -> None:
        self.python = python
        self.hello: Hello | None = None
        self._transport = transport or default_transport()
        self._hang_after, self._start_within = hang_after, start_within
        self._words = ["", "", "alone" if alone else "", json.dumps(ahead) if ahead else ""]  # of server.main
        self._phase = OFF
        self._messages = Messages()
        self._place: Place | None = None  # where the process is, if not on this computer
        self._hashes: dict[Any, str] = {}
        self._left: set[str] = set()  # runs that ended here before they were called for there
        self._beaten = 0.0
        self._log = bytearray()
        self._greeting = 0
        self._launched = 0  # the process that greeted, where it is not the child but the child's
        self._verdict: str | None = None  # why it is being ended
        self._run: Run | None = None
        self._next: Run | None = None
        self._numbers = itertools.count(1)
        self._silent = 0.0
        self._ticked = 0.0

    # What a caller needs.

    @property
    def python(self) -> str | os.PathLike[str] | None:
        """The interpreter as it was named. A relative path is one from the folder in which it was named."""
        return self._named_python

    @python.setter
    def python(self, python: str | os.PathLike[str] | None) -> None:
        self._named_python = python
        self._python = named_from_here(python)

    @property
    def pid(self) -> int:
        """Process id, 0 if there is no process."""
        if self._phase == OFF:
            return 0
        return self._launched or self._transport.pid

    @property
    def ready(self) -> bool:
        """The libraries are loaded, so a run begins at once."""
        return self._phase == READY

    @property
    def log(self) -> str:
        """The end of everything that the process and the libraries in it printed."""
        return self._log.decode("utf-8", "replace")

    def later(self, function: Callable[[], None]) -> None:
        """Call a function when the event loop has turned."""
        self._transport.later(function)

    def wait_for(self, run: Any, what: str, timeout: float | None) -> None:
        """Let the process be heard, and Slicer live, until something that it works on has ended: ``run.ended``.

        Raises:
            TimeoutError: it, called ``what``, goes on after so many seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        try:
            while not run.ended:
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(f"The {what} has not ended within {timeout:g} s.")
                self.pump(0.02)
        except KeyboardInterrupt:
            self.stop()
            raise

    def pump(self, seconds: float) -> None:
        """Let the process be heard, and Slicer live, for about as long."""
        self._transport.pump(seconds)

    def start(self) -> None:
        """Start the process unless it is there. Returns at once; the libraries load meanwhile.

        Raises:
            WorkerError: there is no such Python, or its name is none.
        """
        if self._phase != OFF:
            return
        place = place_of(self._python)
        python = find_python(self._python) if place is None else ""
        command = (
            place.command() if place else [python, "-m", "CAMOverlayLib.worker", str(self._hang_after), *self._words]
        )
        self._place = place
        self._phase, self.hello, self._verdict, self._messages = STARTING, None, None, Messages()
        self._log.clear()
        self._left.clear()
        self._greeting = self._launched = 0
        self._silent, self._ticked = 0.0, time.monotonic()
        self._transport.start(command, child_environment(command[0]), str(LIBRARY), self)
        if place is not None:
            self._transport.write(first_lines(self._hang_after))
            self._transport.tick(True)  # as long as it is there, since it waits for signs of life

    def call(
        self,
        operation: str,
        payload: dict[str, Any],
        *,
        folders: tuple[str, ...] = (),
        prepare: Pieces[None] | None = None,
        finish: Callable[[dict[str, Any]], Any] = lambda answer: answer,
        parcel: Parcel | None = None,
        **listeners: Callable[[Any], None],
    ) -> Run:
        """Ask for an operation; one that still runs is cancelled for it.

        Args:
            operation: see ``operations.Operations``.
            folders: belong to the run and are removed with everything in them when it ends, however it ends.
            prepare: work to do before the process is asked, in pieces; the process starts meanwhile.
            finish: makes the run's value of the answer, while the folders are still there; perhaps in pieces too.
            parcel: the same payload with its files, for a process on another machine.
            listeners: ``on_progress`` (raising from it ends the run), ``on_result`` and ``on_error``.

        Raises:
            WorkerError: there is no such Python, or the payload holds something that cannot be sent. Nothing was
                started then, and a run that is under way goes on.
            what the first piece of ``prepare`` raises.
        """
        payload = plain(payload)
        call = Call(str(next(self._numbers)), operation, payload, tuple(map(absolute, folders)))
        try:
            line = encode(call)
        except (TypeError, ValueError) as error:
            raise WorkerError(
                f"The request cannot be sent to the computation process: {reason(error)}. Give plain numbers and text."
            ) from error
        self.start()
        told = [listeners.pop(name, _nobody) for name in ("on_progress", "on_result", "on_error")]
        if listeners:
            raise TypeError(f"call() got an unexpected keyword argument '{next(iter(listeners))}'")
        run = Run(self, call, line, finish, *told)
        if self._place is not None:
            run.shipment = self._shipment(run, parcel or Parcel(payload))
        if prepare is not None:
            run.prepare(prepare)
        if self._run is None:
            self._begin(run)
        else:
            waiting, self._next = self._next, run
            if waiting is not None:
                waiting.fail(_superseded())
            self._run.cancel()
        return run

    def explain(
        self, request: Request, *, finish: Callable[[Result], Any] = lambda result: result, **options: Any
    ) -> Run:
        """Explain; the run's value is what ``finish`` makes of the :class:`Result`. Options as in :meth:`call`."""
        request = request.absolute()  # the process has another working directory

        def whole(answer: dict[str, Any]) -> Any:
            return finish(self._whole_result(answer))

        parcel = Parcel.of_request(request)
        return self.call("explain", request.to_dict(), finish=whole, parcel=parcel, **options)

    def inspect(self, source: ModelSource, **options: Any) -> Run:
        """Look at a model; the run's value is an :class:`Inspection`. Options as in :meth:`call`."""
        source = source.absolute()  # the process has another working directory
        parcel = Parcel.of_model(source)
        return self.call("inspect", {"model": source.to_dict()}, finish=Inspection.from_dict, parcel=parcel, **options)

    def stop(self) -> None:
        """End the process and whatever runs; afterwards there is none, and the next run starts a new one."""
        waiting, self._next = self._next, None
        if waiting is not None:
            waiting.fail(_superseded())
        if self._run is not None and self._run.cancelled_at is None:
            self._run.cancelled_at = time.monotonic()
        if self._run is not None and self._run.settling:
            self._cancel(self._run)
        if self._phase != OFF:
            self._kill()
            self._transport.join(2.0)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # Runs.

    def _begin(self, run: Run) -> None:
        self._run, self._silent, self._ticked = run, 0.0, time.monotonic()
        self._transport.tick(True)
        if self._phase == READY:
            run.retry = True  # the process may have died since it was last heard of
            if run.prepared:
                self._send(run)
        elif self._phase != OFF:
            run.report(run.progress)

    def _prepared(self, run: Run) -> None:
        if run is self._run and self._phase == READY and not run.sent:
            self._send(run)

    def _drop(self, run: Run, error: CAMOverlayError | Cancelled) -> None:
        """Fail a run that the process knows nothing of."""
        if run is self._next:
            self._next = None
            run.fail(error)
        elif run is self._run:
            self._end_run(lambda: run.fail(error))

    def _send(self, run: Run) -> None:
        run.sent, run.state = True, "running"
        if run.shipment is None:
            self._transport.write(run.line)
        else:
            run.shipment.start(self._hashes)

    def _shipment(self, run: Run, parcel: Parcel) -> Shipment:
        assert self._place is not None

        def failed(error: Exception) -> None:
            self._leave(run)
            self._drop(run, _named(error, "The input cannot be sent"))

        return Shipment(
            run.call,
            parcel,
            self._place.host,
            write=self._transport.write,
            later=self._transport.later,
            report=run.report,
            failed=failed,
        )

    def _leave(self, run: Run) -> None:
        """Let the far side forget a run that it was not yet called for."""
        self._left.add(run.call.run)
        self._transport.write(encode(Cancel(run.call.run)))

    def _cancel(self, run: Run) -> None:
        if run is self._next:
            self._next = None
            run.fail(_superseded())
        elif run is self._run and run.at_work:
            self._transport.later(lambda: None if run.ended else self._cancel(run))  # it was called by that work itself
        elif run is self._run and run.sent and run.shipment is not None and not run.shipment.sent:
            self._leave(run)
            self._end_run(lambda: run.fail(Cancelled("The run was cancelled; nothing was changed.")))
        elif run is self._run and (run.settling or not run.sent):
            self._end_run(lambda: run.fail(Cancelled("The run was cancelled; nothing was changed.")))
        elif run is self._run:
            self._transport.write(encode(Cancel(run.call.run)))

    def _end_run(self, end: Callable[[], None]) -> None:
        """End the current run, and begin the one that waits for it."""
        self._run = None
        self._transport.tick(self._place is not None and self._phase != OFF)
        end()
        run, self._next = self._next, None
        if run is None:
            return
        if self._run is not None:  # a callback was faster
            run.fail(_superseded())
            return
        try:
            self.start()
        except WorkerError as error:
            run.fail(error)
            return
        self._begin(run)

    # What the process says.

    def on_output(self, data: bytes) -> None:
        if self._phase == ENDING:
            return
        try:
            for message, content in self._messages.feed(data, self._understood):
                self._silent = 0.0
                self._take(message, content)
        except ProtocolError as error:
            self._give_up(f"The computation process answered with something that is not an answer: {error}")

    def _understood(self, line: bytes) -> Message | None:
        try:
            return decode(line)
        except ProtocolError:
            self._greeting += len(line)
            if self._phase != STARTING or self._greeting > LOG_BYTES:
                raise
            self.on_log(line + b"\n")  # what a launcher or an environment greets with
            return None

    def _take(self, message: Message, content: bytes) -> None:
        run = self._run
        if isinstance(message, Hello) and self._phase == STARTING:
            self.hello, self._phase = message, LOADING
            self._greet(message)
        elif isinstance(message, Ready) and self._phase == LOADING:
            self._phase = READY
            if run is not None and not run.sent and run.prepared:
                self._send(run)
        elif isinstance(message, Failure) and not message.run:
            self._give_up(f"{self._place.host}: {message.message}" if self._place else message.message)
        elif self._place is not None and isinstance(message, (Want, Found, Taken, Piece)):
            self._take_from_there(message, content)
        elif isinstance(message, (Report, Answer, Failure)) and message.run not in self._left:
            if run is None or run.settling or message.run != run.call.run:
                raise ProtocolError(f"it speaks of a run '{message.run}' that it was not asked for")
            self._take_of_run(run, message)

    def _take_of_run(self, run: Run, message: Report | Answer | Failure) -> None:
        run.heard = True
        words = run.shipment.parcel.back if run.shipment is not None else lambda value: value
        if isinstance(message, Report):
            progress = message.progress
            run.report(dataclasses.replace(progress, message=words(progress.message)))
        elif run.cancelled_at is not None:  # also where the answer and the cancel crossed
            self._end_run(lambda: run.fail(Cancelled("The run was cancelled; nothing was changed.")))
        elif isinstance(message, Failure):
            error = dataclasses.replace(message, message=words(message.message)).error()
            self._end_run(lambda: run.fail(error))
        else:
            try:
                if run.shipment is not None:
                    run.shipment.place()
            except OutputError as error:
                self._not_placed(run, error)
                return
            run.settle(words(message.value))

    def _take_from_there(self, message: Want | Found | Taken | Piece, content: bytes) -> None:
        """What another machine says of files: those of this package, and those of the run."""
        if isinstance(message, Want):
            if self._phase == STARTING and message.code == code()[0]:
                self._transport.write(code()[1])
            return
        run = self._run
        if run is None or run.shipment is None or message.run != run.call.run or run.cancelled_at is not None:
            return  # it has ended on this side
        run.heard = True
        if not isinstance(message, Piece):
            run.shipment.hear(message)
            return
        try:
            run.shipment.take(message, content)
        except OutputError as error:
            self._leave(run)
            self._not_placed(run, error)

    def _not_placed(self, run: Run, error: OutputError) -> None:
        self._end_run(lambda: run.fail(error))

    def _greet(self, hello: Hello) -> None:
        if hello.protocol != PROTOCOL:
            self._give_up(
                f"The computation process speaks version {hello.protocol} of the exchange and this program version "
                f"{PROTOCOL}: the extension was updated while Slicer ran. Restart Slicer."
            )
        elif self._place is not None:
            return  # its number is one of another machine
        elif hello.pid != self._transport.pid and processes.belongs(hello.pid, self._transport.pid):
            self._launched = hello.pid  # PythonSlicer is a launcher: the process is its child

    def on_log(self, data: bytes) -> None:
        self._log += data
        if len(self._log) > LOG_BYTES:
            del self._log[:-LOG_BYTES]

    def on_tick(self) -> None:
        now = time.monotonic()
        # Capped: if Slicer itself was busy or the computer asleep, what the process said is only not read yet.
        self._silent += min(now - self._ticked, 0.5)
        self._ticked = now
        if self._place is not None and self._phase in (LOADING, READY) and now - self._beaten > BEAT:
            self._beaten = now
            self._transport.write(encode(Beat()))
        run = self._run
        if run is None or run.settling or self._phase in (OFF, ENDING):
            return
        if run.cancelled_at is not None and now - run.cancelled_at > GRACE:
            self._kill()
        elif self._phase == STARTING and self._silent > self._start_within:
            self._give_up(
                f"'{self._interpreter()}' did not answer within {self._start_within:g} s of its start. Choose "
                "another Python."
            )
        elif self._phase != STARTING and self._silent > self._hang_after + 2:  # by then it should have ended itself
            self._give_up(self._hung())

    def on_quit(self) -> None:
        self.stop()

    def on_exit(self, end: Exit) -> None:
        rest, phase, run = self._messages.rest(), self._phase, self._run
        self._phase = OFF
        self._transport.tick(False)
        if run is None:
            return
        if run.settling and run.cancelled_at is None:
            return  # its answer is here, and needs no process any more
        if run.cancelled_at is not None:
            self._end_run(lambda: run.fail(Cancelled("The run was cancelled; nothing was changed.")))
        elif run.retry and not run.heard and self._verdict is None:
            self._again(run)
        else:
            # Only now is the log complete.
            error = self._with_log(self._verdict or self._describe(end, phase, rest))
            self._end_run(lambda: run.fail(error))

    def _again(self, run: Run) -> None:
        run.sent = run.retry = False
        run.state = "waiting"
        try:
            self.start()
        except WorkerError as error:
            failure = error  # Python forgets the other name at the end of this clause
            self._end_run(lambda: run.fail(failure))
            return
        self._begin(run)

    # Faults.

    def _give_up(self, sentence: str) -> None:
        self._verdict = sentence
        self._kill()

    def _kill(self) -> None:
        self._phase = ENDING
        child = self._transport.pid
        if self._place is not None:
            self._transport.kill()  # of ssh; the other side hears that, and ends what it started
            return
        if self._launched and processes.belongs(self._launched, child):  # asked again: numbers are given anew
            processes.kill(self._launched)
        elif self.hello is not None and self.hello.pid == child > 1:  # with whatever it started itself
            processes.kill(child)
        self._transport.kill()

    def _describe(self, end: Exit, phase: str, rest: bytes) -> str:
        if self._place is not None:
            stage = self._stage() if phase == READY else STAGES["import"] if phase == LOADING else ""
            if problem := self._place.problem(end, self.log, stage):
                return problem
        if end.problem:
            return f"'{self._interpreter()}' cannot be started: {end.problem}. Choose another Python."
        how = _how(end)
        if phase == STARTING:
            return (
                f"'{self._interpreter()}' ended {how} before it answered; it may be no Python. Choose another Python."
            )
        if phase == LOADING:
            return f"The computation process ended {how} while it loaded the libraries."
        if end.code == 1 and "\nTimeout (" in "\n" + self.log:  # it noticed by itself, and said where it was
            return self._hung()
        cut = " in the middle of an answer" if rest else ""
        return f"The computation process ended {how}{cut} ({self._stage()}). Apply starts a new one."

    def _hung(self) -> str:
        return (
            f"The computation process gave no sign of life for {self._hang_after:g} s and was ended ({self._stage()}). "
            "Apply starts a new one."
        )

    def _stage(self) -> str:
        progress = self._run.progress if self._run else Progress("import", 0.0)
        return STAGES.get(progress.stage, progress.message)

    def _interpreter(self) -> str:
        return str(self.python or find_python(None))

    def _with_log(self, sentence: str) -> WorkerError:
        lines = last_words(self.log)
        return WorkerError("\n".join([sentence, *(["The end of its log:"] if lines else []), *lines]))

    def _whole_result(self, answer: dict[str, Any]) -> Result:
        """The result, with a heatmap file that is really there in its full length.

        Raises:
            WorkerError: it is not.
        """
        try:
            result = Result.from_dict(answer)
            _check_array(result.heatmap)
        except (TypeError, ValueError, AttributeError, EOFError, OSError) as error:
            raise self._with_log(
                f"The computation process returned a result that is not whole: {reason(error)}."
            ) from None
        return result


def last_words(log: str, most: int = 10) -> list[str]:
    """The lines of a log that say what happened last.

    A crash in C++ or a hang ends in a list of calls, newest first, for every thread and the main one last; there the
    beginning says where it was.
    """
    lines = [line[:200] for line in log.splitlines() if line.strip() and not line.startswith("Extension modules:")]
    dump = max(
        (i for i, line in enumerate(lines) if line.startswith(("Fatal Python error", "Timeout ("))), default=None
    )
    if dump is None:
        return lines[-most:]
    thread = max((i for i, line in enumerate(lines) if "most recent call first" in line), default=dump)
    return lines[max(0, dump - most // 2) : dump + 1] + lines[max(thread, dump + 1) :][:most]


def _check_array(file: VolumeFile) -> None:
    import numpy as np

    np.load(file.path, mmap_mode="r", allow_pickle=False)  # mapping fails where the file is cut short


def _nobody(what: Any) -> None:
    """Nobody listens."""


def _superseded() -> Cancelled:
    return Cancelled("The run was cancelled for another one; nothing was changed.")


def _how(end: Exit) -> str:
    number = end.signal or (end.code - 128 if 128 < end.code < 160 else 0)  # a launcher passes a signal on as 128 + n
    if not number:
        return f"with exit code {end.code}"
    if number == 9:
        return "because it was killed (signal 9), as systems do when memory runs out,"
    try:
        return f"by signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"by signal {number}"
