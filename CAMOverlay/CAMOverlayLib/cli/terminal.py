"""A command and the terminal, pipe or batch queue around it: how it ends, and what it says there.

Whatever happens ends in an exit code and at most one line: signals clean up as Ctrl-C does, a reader that went away
ends the command quietly, and no encoding or closed stream costs a result that was computed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..contract.errors import CAMOverlayError, causes, one_line, reason, sentence

PIPE_CLOSED = 128 + 13
"""Exit code where whoever read the output went away: that of a program that SIGPIPE ended."""

DEBUG = "CAM_OVERLAY_DEBUG"
"""Environment variable: 1 shows where an unexpected error arose."""

OPTIONS = {
    "trust": "Say so with --trust.",
    "device": "Choose it with --device.",
    "configs": "Name one with --config.",
    "target": "Choose with --target.",
    "layer": "Choose with --layer.",
    "method": "Choose with --method.",
    "inverse": "Choose with --inverse.",
    "slices": "Choose with --slices.",
    "amp": "Leave out --amp.",
    "findings_threshold": "Choose with --threshold.",
    "channel_shares": "Leave out --channel-shares.",
}
"""What a field of a request is called here."""


class Terminated(KeyboardInterrupt):
    """A signal asked for the end; what cleans up after Ctrl-C cleans up after it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def guarded(command: Callable[[], None]) -> int:
    """Run a command; returns the exit code: 0, 2 after one line that says what was wrong, or 128 + the signal."""
    try:
        with _signals():
            command()
            _flush(sys.stdout)
    except CAMOverlayError as error:
        return _failed(in_options(error), error)
    except KeyboardInterrupt as error:
        say_error(getattr(error, "words", "interrupted; nothing was written."))
        return 128 + (error.number if isinstance(error, Terminated) else int(signal.SIGINT))
    except BrokenPipeError:
        _drop(sys.stdout)
        return PIPE_CLOSED
    except SystemExit as error:
        code = "" if error.code is None else one_line(str(error.code), 100)
        return _failed(
            f"The code of the model ended the program (sys.exit({code})), so there is no result. Correct its code.",
            error,
        )
    except OSError as error:
        from .output import told

        if not error.filename and _printing(error):
            _drop(sys.stdout)
            return _failed(
                f"What was found cannot be printed: {error.strerror or error}. Redirect it elsewhere.", error
            )
        return _failed(str(told(error)), error)
    except MemoryError as error:
        return _failed("Not enough memory. Crop or resample the volume, or close other programs.", error)
    except Exception as error:  # noqa: BLE001
        return _failed(
            f"Unexpected failure: {type(error).__name__}: {reason(error)}. Set {DEBUG}=1 to see where, and report it.",
            error,
        )
    return 0


def in_options(error: CAMOverlayError) -> str:
    """An error's sentence with the option of the command line that would help."""
    remedy = OPTIONS.get(error.setting, "")
    text = " ".join(str(error).split())
    named = remedy and next(word for word in remedy.split() if word.startswith("--")).rstrip(".,") in text
    return text if not remedy or named else f"{text} {remedy}"


def say_error(message: str) -> None:
    """One line on the standard error, if there is anybody to read it."""
    with contextlib.suppress(OSError, ValueError):
        print(f"cam-overlay: error: {sentence(' '.join(message.split()))}", file=sys.stderr, flush=True)


def open_streams() -> None:
    """Make both streams writable whatever they are: closed ones lead nowhere, and any character has a spelling."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:  # first, so that no file that is opened later gets the number of a stream
            with contextlib.suppress(OSError):
                os.fstat(number)
                continue
            stream = open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")


def _failed(message: str, error: BaseException) -> int:
    say_error(message)
    if os.environ.get(DEBUG) == "1":
        with contextlib.suppress(OSError, ValueError):
            for cause in causes(error):
                traceback.print_exception(type(cause), cause, cause.__traceback__, chain=False)
    return 2


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does. Who ignores them, as nohup does, goes on ignoring them."""

    def end(number: int, frame: Any) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)  # nothing ends the cleaning up
        raise Terminated(number)

    before: dict[int, Any] = {}
    try:
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                before[number] = signal.signal(number, end)
    except ValueError:  # not the main thread: signals are the business of whoever has it
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _flush(stream: Any) -> None:
    if stream is not None and not stream.closed:
        stream.flush()


def _printing(error: BaseException) -> bool:
    """Whether an error arose in a ``print`` of the commands themselves, or when what they printed left."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return place is not None and Path(place.tb_frame.f_code.co_filename).name in (
        "main.py",
        "cohort.py",
        "compare.py",
        "findings.py",
        Path(__file__).name,
    )


def _drop(stream: Any) -> None:
    """Lead a stream nowhere, so that the interpreter does not complain about it at its end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
