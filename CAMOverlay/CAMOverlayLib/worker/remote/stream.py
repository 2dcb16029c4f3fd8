"""Files on their way through the stream of messages: compressed, in pieces, complete or absent where they arrive."""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..protocol import LONGEST_PIECE, Piece, ProtocolError

BLOCK = 256 << 10
"""Bytes that are read at once: a few milliseconds of compressing."""

LEVEL = 1
"""Voxels get little smaller by trying harder, and a network is faster than that."""


def pieces(run: str, name: str, path: str | os.PathLike[str]) -> Iterator[tuple[Piece, bytes, int]]:
    """A file as messages with their content, and how many bytes of it they bring.

    Args:
        name: what it is called on the other side.

    Raises:
        OSError: it cannot be read.
    """
    packer, length = zlib.compressobj(LEVEL), os.stat(path).st_size
    read = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            read += len(block)
            if content := packer.compress(block):
                yield Piece(run, name, len(content), length), content, read
                read = 0
    content = packer.flush()
    yield Piece(run, name, len(content), length, last=True), content, read


class Arriving:
    """A file that arrives in pieces: hidden beside its place until the last one is there.

    Args:
        path: its place.
        at_once: it goes there with the last piece; else where :meth:`place` is called.
    """

    def __init__(self, path: Path, at_once: bool = True) -> None:
        self._path, self._at_once = path, at_once
        self._hidden = path.with_name(f".cam-overlay-{path.name}.part")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._hidden, "wb")  # noqa: SIM115
        self._unpacker = zlib.decompressobj()
        self._length = 0

    def take(self, piece: Piece, content: bytes) -> bool:
        """Write a piece; returns whether it was the last one.

        Raises:
            ProtocolError: it is not what was announced.
            OSError: it cannot be written.
        """
        try:
            data = self._unpacker.decompress(content, piece.length - self._length + 1)
        except zlib.error as error:
            raise ProtocolError(f"a piece of '{piece.file}' is damaged: {error}") from None
        self._length += len(data)
        self._file.write(data)
        whole = self._unpacker.eof and self._length == piece.length
        if self._length > piece.length or (piece.last and not whole):
            raise ProtocolError(f"'{piece.file}' has {self._length} bytes of the {piece.length} that were announced")
        if piece.last:
            self._file.close()
            if self._at_once:
                self.place()
        return piece.last

    def place(self) -> None:
        """Put the complete file in its place. Raises OSError where that cannot be."""
        os.replace(self._hidden, self._path)

    def close(self) -> None:
        """Leave nothing of it, unless it is complete."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._hidden.unlink()


def parts_of(name: str) -> tuple[str, ...]:
    """A name on the way as the parts of a path.

    Raises:
        ProtocolError: it leads anywhere but down.
    """
    parts = tuple(name.split("/"))
    if any(part in ("", ".", "..") or "\0" in part or os.sep in part for part in parts):
        raise ProtocolError(f"'{name[:80]}' is no name of a file that may be sent")
    return parts


assert LONGEST_PIECE > BLOCK + (BLOCK >> 3)  # what cannot be compressed grows a little
