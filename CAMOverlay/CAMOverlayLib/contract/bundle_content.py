"""Which files a bundle has and what is in them: the hash that is trusted, and the signature that tells of any change.

Everything counts: byte code, hidden files, links by where they lead and by what is there, files of any name. Neither
follows what never ends (a pipe, a device), and neither reads more than :data:`MOST_FILES` files.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from .errors import BundleError

MOST_FILES = 100_000
"""Files, folders and links in one bundle."""
CODE = (".py", ".pyw", ".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".pth", ".egg", ".whl")
"""Endings of files that Python can import, or that hold machine code."""
PROGRAMS = (".ts", ".pt2")
"""Compiled networks, which are programs too: TorchScript can write files, exported programs hold pickles and machine
code."""
SAFETENSORS = ".safetensors"
"""Weights that hold tensors and nothing that could run. They count in the hash as every file does."""

RECORDS = (b".log", b".csv")
"""Endings of files that runs write beside the bundle's own."""

Signature = tuple
"""Folder, then name, kind, link and stamp of everything in it."""


@dataclass(frozen=True)
class Entry:
    """One name in a bundle.

    Attributes:
        name: relative to the root, as the bytes that the system has (a name need not be text).
        kind: ``file``, ``folder``, ``link`` (broken, or to what was seen already) or ``other`` (a pipe, a device).
        link: where it leads, if it is a link.
        stamp: size, times, device and number of what it is or leads to; a change of content changes it.
        linked: it lies in a folder elsewhere, to which a link leads, or is such a link.
    """

    name: bytes
    kind: str
    link: bytes
    stamp: tuple
    linked: bool

    @property
    def text(self) -> str:
        return os.fsdecode(self.name)


def entries(folder: Path) -> Iterator[Entry]:
    """Everything in a folder, in an order that depends on names only.

    Raises:
        BundleError: there is more than a bundle has.
        OSError: something cannot be read.
    """
    root = os.fsencode(os.path.realpath(folder))
    if not os.path.isdir(root):  # a model in one file
        yield _entry(root, os.path.basename(root), False)
        return
    seen: set[tuple[int, int]] = set()
    waiting = [(root, b"", False)]
    count = 0
    while waiting:
        path, name, linked = waiting.pop()
        found = os.stat(path)
        if (found.st_dev, found.st_ino) in seen:
            continue
        seen.add((found.st_dev, found.st_ino))
        below = []
        for child in sorted(os.listdir(path)):
            count += 1
            if count > MOST_FILES:
                raise BundleError(f"'{folder}' holds more than {MOST_FILES} files. Give the root of a MONAI bundle.")
            entry = _entry(os.path.join(path, child), os.path.join(name, child), linked)
            yield entry
            if entry.kind == "folder":
                below.append((os.path.join(path, child), entry.name, entry.linked))
        waiting += reversed(below)


def _entry(path: bytes, name: bytes, linked: bool) -> Entry:
    found, link = os.lstat(path), b""
    if stat.S_ISLNK(found.st_mode):
        link, linked = os.readlink(path), True
        try:
            found = os.stat(path)
        except OSError:  # it leads nowhere, which may change
            return Entry(name, "link", link, (), True)
    kind = "file" if stat.S_ISREG(found.st_mode) else "folder" if stat.S_ISDIR(found.st_mode) else "other"
    # The time of the last change of the file itself cannot be set, unlike that of its content.
    file = (found.st_size, found.st_mtime_ns, found.st_ctime_ns) if kind == "file" else ()
    return Entry(name, kind, link, (*file, found.st_dev, found.st_ino, stat.S_IFMT(found.st_mode)), linked)


def signature(folder: Path) -> Signature:
    """What changes whenever anything in the bundle changes, told without reading any file."""
    return (str(folder), *(_signed(entry) for entry in entries(folder) if _counts(entry)))


def _counts(entry: Entry) -> bool:
    """A folder is what is in it: bundles make empty ones for their results."""
    return entry.kind != "folder" or bool(entry.link)


def essential(signed: Signature) -> Signature:
    """The signature without what bundles write about their own runs, which changes nothing of what they are."""
    return tuple(
        one for one in signed if isinstance(one, str) or (not one[0].endswith(RECORDS) and b".tfevents." not in one[0])
    )


def stamp(path: Path) -> Signature:
    """The essential signature: the one routine that says whether a model is still what it was.

    Raises:
        BundleError: it holds more than a model has.
        OSError: something cannot be read.
    """
    return essential(signature(path))


def _signed(entry: Entry) -> tuple:
    return (entry.name, entry.kind, entry.link, entry.stamp)


def content_hash(folder: Path) -> str:
    """SHA-256 over every file and link of a bundle, with their names.

    Raises:
        BundleError: it has too many files, or changes all the time.
        OSError: something cannot be read.
    """
    hasher = ContentHash(folder)
    for _ in hasher.steps():
        pass
    return hasher.value


class ContentHash:
    """The hash of a bundle's content in small steps, for a caller that must stay responsive meanwhile.

    Args:
        folder: the bundle's root.
        known: hashes by signature, from before; found there, nothing is read.
        copied: the hash that a copy has in which every link is replaced by what it leads to.
    """

    def __init__(
        self, folder: Path, known: MutableMapping[Signature, str] | None = None, *, copied: bool = False
    ) -> None:
        self.folder = folder
        self._copied = copied
        self.value = ""
        self.signature: Signature = ()
        self._known = {} if known is None else known

    def steps(self) -> Iterator[None]:
        """Every step takes a few milliseconds at most; ``value`` and ``signature`` are known after the last.

        What was hashed is what was there from the first step to the last: otherwise it is hashed again.
        """
        for _ in range(3):
            before = yield from self._look()
            if before not in self._known:
                value = yield from self._read(before)
                if (yield from self._look()) != before:
                    continue
                self._known[before] = value
            self.signature, self.value = before, self._known[before]
            return
        raise BundleError(f"'{self.folder}' changes while it is read. Wait until whatever writes there has finished.")

    def _look(self) -> Generator[None, None, Signature]:
        found: list = [str(self.folder)]
        for entry in entries(self.folder):
            if self._copied and entry.kind == "file":
                found.append((entry.name, entry.kind, b"", entry.stamp))
            elif not self._copied and _counts(entry):
                found.append(_signed(entry))
            yield
        return tuple(found)

    def _read(self, signed: Signature) -> Generator[None, None, str]:
        digest, root = hashlib.sha256(), os.fsencode(os.path.realpath(self.folder))
        root = root if os.path.isdir(root) else os.path.dirname(root)
        for name, kind, link, stamp in signed[1:]:
            size = stamp[0] if kind == "file" else 0
            # With every length, so that no byte can move from one file's end to the next one's name.
            name = name.replace(os.fsencode(os.sep), b"/")
            digest.update(b"%d %s%s %d %s %d\0" % (len(name), name, kind.encode(), len(link), link, size))
            yield
            if kind == "file":
                with open(os.path.join(root, name), "rb", opener=_without_waiting) as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
                        yield
        return digest.hexdigest()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe that took a file's place would wait for ever


def code_files(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files that hold code, and compiled networks; where links lead elsewhere with the place.

    Raises:
        BundleError: the folder cannot be looked through.
    """
    scripts: list[str] = []
    programs: list[str] = []
    links: list[str] = []
    try:
        for entry in entries(folder):
            ending = os.path.splitext(entry.text)[1].casefold()
            if entry.link and entry.kind != "file":
                links.append(f"{entry.text} → {os.fsdecode(entry.link)} (a link)")
            elif ending in (*CODE, *PROGRAMS):
                where = f" → {os.fsdecode(entry.link)} (a link)" if entry.link else ""
                (scripts if ending in CODE else programs).append(entry.text + where)
    except OSError as error:
        raise BundleError(f"'{folder}' cannot be read: {error.strerror or error}. Make its files readable.") from error
    return tuple(sorted([*scripts, *links])), tuple(sorted(programs))
