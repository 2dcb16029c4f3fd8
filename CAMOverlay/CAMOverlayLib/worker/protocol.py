"""What Slicer and the worker say to each other: small records, one JSON object a line.

Slicer → worker: :class:`Call` and :class:`Cancel`; closing the stream means "end". Worker → Slicer: :class:`Hello`,
:class:`Ready`, :class:`Beat`, :class:`Report`, and for every call one :class:`Answer` or one :class:`Failure`.

Between two machines files take the same way: a :class:`Piece` is followed by that many bytes. There a run begins with a
:class:`Seek`, which is answered by :class:`Found`; every piece is answered by :class:`Taken`, so that no more is under
way than a cancel can wait for, and the side that asks beats too.

A line is plain ASCII, so it survives any locale, and file names that are not UTF-8 survive the line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..contract import errors
from ..contract.errors import CAMOverlayError, Cancelled, WorkerError, one_line
from ..contract.records import JsonRecord
from ..contract.request import Progress

PROTOCOL = 1
"""Version of these messages. The worker's files may be newer than the code that a running Slicer has in memory."""

LONGEST_MESSAGE = 20_000
"""Characters of a failure: an exception of a bundle may hold megabytes, and nobody reads more."""

LONGEST_LINE = 16 << 20
"""Bytes. Far above any answer, since arrays never come this way, and far below what would hurt Slicer."""


LONGEST_PIECE = 1 << 20
"""Bytes that follow a :class:`Piece` at most."""


@dataclass(frozen=True)
class Call(JsonRecord):
    """Do something.

    Attributes:
        run: name of the run; everything said about it carries this name.
        operation: a key of ``operations.Operations.names``.
        payload: its arguments.
        folders: belong to this run; the worker removes them if Slicer is gone.
    """

    run: str
    operation: str
    payload: dict[str, Any] = field(default_factory=dict)
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cancel(JsonRecord):
    """Stop the run as soon as you can; it then ends with a Failure of the kind Cancelled."""

    run: str


@dataclass(frozen=True)
class Hello(JsonRecord):
    """The process has started: who it is, the versions of the packages that it will load, and of its messages."""

    pid: int
    python: str
    executable: str
    versions: dict[str, str] = field(default_factory=dict)
    protocol: int = 1


@dataclass(frozen=True)
class Ready(JsonRecord):
    """The libraries are loaded; calls are answered from now on."""


@dataclass(frozen=True)
class Beat(JsonRecord):
    """The process is alive, whatever else it does."""


@dataclass(frozen=True)
class Report(JsonRecord):
    """How far a run is."""

    run: str
    progress: Progress


@dataclass(frozen=True)
class Answer(JsonRecord):
    """A run is done, and this is what came out."""

    run: str
    value: dict[str, Any]


@dataclass(frozen=True)
class Failure(JsonRecord):
    """A run ended by an error, named as in :mod:`CAMOverlayLib.contract.errors`, with the setting that would mend it.
    Without a
    run: the worker itself cannot work."""

    run: str
    kind: str
    message: str
    setting: str = ""

    def error(self) -> CAMOverlayError | Cancelled:
        kind = getattr(errors, self.kind, None)
        if kind is Cancelled:
            return Cancelled(self.message)
        known = isinstance(kind, type) and issubclass(kind, CAMOverlayError)
        return (kind if known else WorkerError)(self.message, setting=self.setting)  # type: ignore[misc]


@dataclass(frozen=True)
class Want(JsonRecord):
    """From the other machine: the package's files of this hash are not there; they are to be sent as they are."""

    code: str


@dataclass(frozen=True)
class Seek(JsonRecord):
    """To the other machine, before anything of a run is sent there: is this model there?

    Attributes:
        model: a :class:`CAMOverlayLib.contract.model.ModelSource`; none where the run needs no model.
    """

    run: str
    model: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found(JsonRecord):
    """Whether it is; only what is not there needs to be sent."""

    run: str
    there: bool


@dataclass(frozen=True)
class Piece(JsonRecord):
    """A piece of a file; its content follows the line.

    Attributes:
        run: to which it belongs.
        file: name, with ``/`` between folders.
        size: bytes that follow, compressed.
        length: bytes of the whole file.
        last: the file ends with it.
    """

    run: str
    file: str
    size: int
    length: int
    last: bool = False

    def _problem(self) -> str:
        if 0 <= self.size <= LONGEST_PIECE and self.length >= 0:
            return ""
        return f"it brings {self.size} bytes of {self.length}"


@dataclass(frozen=True)
class Taken(JsonRecord):
    """So many bytes of pieces of a run have arrived."""

    run: str
    size: int


Message = Call | Cancel | Hello | Ready | Beat | Report | Answer | Failure | Want | Seek | Found | Piece | Taken

_TYPES: dict[str, type[JsonRecord]] = {
    cls.__name__.lower(): cls
    for cls in (Call, Cancel, Hello, Ready, Beat, Report, Answer, Failure, Want, Seek, Found, Piece, Taken)
}


class ProtocolError(Exception):
    """A line that is not a message; says in words what it is instead."""


def encode(message: Message) -> bytes:
    """A message as one line.

    Raises:
        ValueError, TypeError: it contains something that JSON cannot say, such as NaN. Nothing is half-written then.
    """
    try:
        body = {"type": type(message).__name__.lower(), **message.to_dict()}
        return json.dumps(body, allow_nan=False).encode("ascii") + b"\n"
    except RecursionError:
        raise ValueError("it is nested too deeply, or contains itself") from None


def decode(line: bytes) -> Message:
    """A line as a message.

    Raises:
        ProtocolError: it is none.
    """
    try:
        body = json.loads(line, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):  # of bytes that are no text as well
        raise ProtocolError(f"{excerpt(line)!r} is not JSON") from None
    kind = body.get("type") if isinstance(body, dict) else None
    cls = _TYPES.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ProtocolError(f"{excerpt(line)!r} is no message that is known here")
    try:
        return cls.from_dict(body)  # type: ignore[return-value]
    except (ValueError, CAMOverlayError) as error:
        raise ProtocolError(
            f"{excerpt(line)!r} is not a whole '{kind}' message ({one_line(str(error), 200)})"
        ) from None


def _finite(text: str) -> float:
    """A number as JSON has it: NaN and infinities, 1e400 among them, could not be passed on."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no finite number")
    return number


def excerpt(line: bytes, most: int = 80) -> str:
    """The beginning of a line for a person to read."""
    text = line[: 8 * most].decode("utf-8", "replace").strip()
    text = "".join(c if c.isprintable() else "·" for c in text)
    return text if len(text) <= most else text[:most] + "…"


class Lines:
    """Cuts a stream that arrives in pieces into lines, and into runs of bytes between them where such are announced."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._buffer = bytearray()
        self._start = self._searched = 0  # where what was not given out begins, and up to where no line ends
        self._wanted = 0

    def expect(self, size: int) -> None:
        """What comes next are so many bytes, more than none, whatever is in them."""
        self._wanted = size

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Every line that is complete now, without its end, and all bytes that were expected; empty lines are left out.

        Raises:
            ProtocolError: a line without end that is longer than any message.
        """
        self._buffer += data
        while (item := self._next()) is not None:
            if item:
                yield item
        del self._buffer[: self._start]
        self._searched -= self._start
        self._start = 0
        if not self._wanted and len(self._buffer) > self._longest:
            beginning = excerpt(self._take())
            raise ProtocolError(f"{beginning!r} begins a line of more than {self._longest >> 20} MiB")

    def _next(self) -> bytes | None:
        """The next line or run of bytes, empty for an empty line; None where none is complete."""
        if self._wanted:
            end = self._start + self._wanted
            if len(self._buffer) < end:
                return None
            item, self._wanted = bytes(self._buffer[self._start : end]), 0
            self._start = self._searched = end
            return item
        end = self._buffer.find(b"\n", max(self._searched, self._start))
        if end < 0:
            self._searched = len(self._buffer)
            return None
        item = bytes(self._buffer[self._start : end]).strip()
        self._start = self._searched = end + 1
        return item

    def rest(self) -> bytes:
        """What came after the last end of a line."""
        return self._take().strip()

    def _take(self) -> bytes:
        rest, self._buffer = bytes(self._buffer[self._start :]), bytearray()
        self._start = self._searched = self._wanted = 0
        return rest


class Messages:
    """A stream as messages, each with the bytes that follow it."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._piece: Piece | None = None

    def feed(
        self, data: bytes, understand: Callable[[bytes], Message | None] = decode
    ) -> Iterator[tuple[Message, bytes]]:
        """Every message that is complete now.

        Args:
            understand: a line as a message; None where it is to be left out.

        Raises:
            ProtocolError: as of :func:`decode` and :class:`Lines`.
        """
        for item in self._lines.feed(data):
            if self._piece is not None:
                piece, self._piece = self._piece, None
                yield piece, item
                continue
            message = understand(item)
            if isinstance(message, Piece) and message.size:
                self._piece = message
                self._lines.expect(message.size)
            elif message is not None:
                yield message, b""

    def rest(self) -> bytes:
        """What came after the last whole message."""
        return self._lines.rest()
