"""This side of a run on another machine: sends what it needs, and puts what comes back in its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...contract.bundle_content import Signature
from ...contract.errors import OutputError
from ...contract.pieces import SLICE, TURN
from ...contract.request import Progress
from ..protocol import Call, Found, Piece, ProtocolError, Seek, Taken, encode
from .names import OUT, STEPS
from .parcel import Parcel, size_of
from .stream import Arriving, parts_of, pieces

WINDOW = 4 << 20
"""Bytes that may be under way: enough for a long and fast line, and little to wait for behind."""

WAIT = object()


class Shipment:
    """One run's files, there and back.

    Args:
        call: the run's; its arguments are those of the parcel.
        write: to the far side.
        later: calls a function when the event loop has turned.
        report: called with progress.
        failed: called with what went wrong on this side.
    """

    def __init__(
        self,
        call: Call,
        parcel: Parcel,
        host: str,
        *,
        write: Callable[[bytes], None],
        later: Callable[[Callable[[], None]], None],
        report: Callable[[Progress], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.parcel = parcel
        self.sent = False
        self._call, self._host = call, host
        self._write, self._later, self._report, self._failed = write, later, report, failed
        self._known: dict[Signature, str] = {}
        self._under_way = 0
        self._there: bool | None = None
        self._work: Iterator[Any] | None = None
        self._waiting = self._busy = False
        self._arriving: dict[str, Arriving] = {}

    # There.

    def start(self, known: dict[Signature, str]) -> None:
        """Begin to send, step by step from here on.

        Args:
            known: hashes of models from before; new ones are added.
        """
        self._known, self._there, self._under_way, self.sent = known, None, 0, False
        self._work = self._steps()
        self._go_on()

    def hear(self, message: Found | Taken) -> None:
        """What the far side said of what it was sent."""
        if isinstance(message, Found):
            self._there = message.there
        else:
            self._under_way -= message.size
        if self._waiting:
            self._go_on()

    def _go_on(self) -> None:
        """Do one slice of the work, and see to it that the next one follows."""
        if self._work is None or self._busy:
            return
        until, self._waiting, self._busy = time.perf_counter() + SLICE, False, True
        try:
            for step in self._work:
                if self._work is None:  # closed by whom it told of its progress
                    return
                if step is WAIT:
                    self._waiting = True
                    return
                if step is TURN or time.perf_counter() > until:
                    self._later(self._go_on)
                    return
        except Exception as error:  # noqa: BLE001
            self._work = None
            self._failed(error)
        finally:
            self._busy = False

    def _steps(self) -> Iterator[Any]:
        run = self._call.run
        yield from self.parcel.look(self._known, self._host)
        self._write(encode(Seek(run, dict(self.parcel.payload.get("model") or {}))))
        while self._there is None:
            yield WAIT
        files = [*([] if self._there else self.parcel.model_files), *self.parcel.files]
        whole, done, told = size_of(files), 0, 0.0
        for name, path in files:
            for piece, content, count in pieces(run, name, path):
                line = encode(piece)
                while self._under_way and self._under_way + len(content) > WINDOW:
                    yield WAIT
                self._under_way += len(content)
                self._write(line + content)
                done += count
                if time.monotonic() - told > 0.1:
                    told = time.monotonic()
                    words = f"Sending to {self._host}: {done / 1e6:.0f} of {whole / 1e6:.0f} MB"
                    self._report(Progress("send", 0.0, words))
                yield
        self.sent = True
        self._write(encode(Call(run, self._call.operation, self.parcel.payload)))

    # And back.

    def take(self, piece: Piece, content: bytes) -> None:
        """Write a piece of a result into this side's folder.

        Raises:
            ProtocolError: it belongs into none.
            OutputError: it cannot be written.
        """
        where, *rest = parts_of(piece.file)
        if where not in (OUT, STEPS) or where not in self.parcel.folders or len(rest) != 1 or rest[0].startswith("."):
            raise ProtocolError(f"it sends a file '{piece.file[:80]}' that was not asked for")
        path = Path(self.parcel.folders[where], rest[0])
        try:
            if piece.file not in self._arriving:
                self._arriving[piece.file] = Arriving(path, at_once=False)
            self._arriving[piece.file].take(piece, content)
        except OSError as error:
            raise OutputError(f"'{path}' cannot be written: {error.strerror or error}. Make room there.") from error

    def place(self) -> None:
        """Put all that came back in its place.

        Raises:
            OutputError: that cannot be.
        """
        for arrived in self._arriving.values():
            try:
                arrived.place()
            except OSError as error:
                raise OutputError(f"The result cannot be put in its place: {error}. Choose another folder.") from error
        self._arriving.clear()

    def close(self) -> None:
        """Stop, and leave nothing incomplete."""
        self._work = None
        while self._arriving:
            self._arriving.popitem()[1].close()
